"""Figures people look at, written as PNG files.

Every figure is drawn on a canvas of its own: nothing touches the state of ``matplotlib.pyplot``, so these
functions may run beside a notebook, on a machine without a display and in several threads. Matplotlib is
imported when a figure is drawn. Amplitudes and narrow phases use perceptually uniform, colour-blind safe
maps; a phase that fills most of the circle gets a cyclic one. Pixels without coverage are grey.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.atomic import atomic_write
from ptycho_torch.errors import DataError, ShapeError
from ptycho_torch.metrics.alignment import align

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from ptycho_torch.metrics.report import MetricReport

__all__ = ["save_comparison_figure", "save_frc_figure", "save_object_figures", "save_training_figure"]

_DPI = 160
_AMPLITUDE_MAP = "cividis"
_PHASE_MAP = "magma"
_CYCLIC_MAP = "twilight"
_DIFFERENCE_MAP = "PuOr_r"
_UNCOVERED = "0.85"
# Okabe and Ito's palette: distinguishable with every common colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARGIN_PX = 4
_SHOWN_SHARE = 0.1


def _new_figure(width_in: float, height_in: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _write(figure: Figure, path: str | PathLike[str]) -> None:
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=_DPI)


def _checked(name: str, image: NDArray[Any], shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    image = np.asarray(image)
    if image.ndim != 2 or 0 in image.shape:
        raise ShapeError(name, "(height, width)", image.shape)
    if shape is not None and image.shape != shape:
        raise ShapeError(name, f"the shape {shape} of the object", image.shape)
    return image


def _limits(values: NDArray[np.float64], share: float = 0.5) -> tuple[float, float]:
    """Range without the wildest half percent at either end, never empty."""
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, [share, 100 - share]))
    if high - low <= 1e-9 * max(abs(high), 1.0):
        middle, reach = (low + high) / 2, 0.05 * max(abs(high), 1.0)
        return middle - reach, middle + reach
    return low, high


def _phase_style(values: NDArray[np.float64]) -> tuple[str, tuple[float, float]]:
    low, high = _limits(values)
    if high - low > 1.6 * math.pi:
        return _CYCLIC_MAP, (-math.pi, math.pi)
    return _PHASE_MAP, (low, high)


def _levelled_phase(image: NDArray[np.complexfloating], covered: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Phase against the plane wave that fits best: diffraction knows neither constant nor ramp."""
    if not np.any(image[covered]):
        return np.zeros(image.shape)
    wave = align(np.ones_like(image), image, covered, max_shift_px=0).aligned
    return np.asarray(np.angle(image * np.exp(-1j * np.angle(wave))), dtype=np.float64)


def _show(
    axes: Axes,
    values: NDArray[np.float64],
    covered: NDArray[np.bool_],
    cmap: str,
    limits: tuple[float, float],
    extent: tuple[float, float, float, float],
) -> AxesImage:
    from matplotlib import colormaps

    colours = colormaps[cmap].with_extremes(bad=_UNCOVERED)
    picture = np.ma.masked_array(values, mask=~covered)
    image = axes.imshow(
        picture, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent, interpolation="nearest"
    )
    axes.tick_params(labelsize=8, length=3, width=0.6)
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)
    return image


def _colorbar(figure: Figure, image: AxesImage, axes: Any, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, extend="both", extendfrac=0.02)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8, length=3, width=0.6)
    bar.outline.set_linewidth(0.6)  # type: ignore[operator]


def _length_unit(pixel_size_m: float | None, span_px: float) -> tuple[float, str]:
    """Length of a pixel in the unit of the axes, and that unit."""
    if pixel_size_m is None:
        return 1.0, "px"
    if not (math.isfinite(pixel_size_m) and pixel_size_m > 0):
        raise DataError(f"pixel_size: expected a positive length in metres, got {pixel_size_m}")
    return (pixel_size_m * 1e6, "µm") if pixel_size_m * span_px >= 1e-6 else (pixel_size_m * 1e9, "nm")


def _coverage(weight: NDArray[np.floating] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if weight is None:
        return np.ones(shape, dtype=bool)
    weight = _checked("weight", weight, shape)
    positive = weight[weight > 0]
    if positive.size == 0:
        return np.zeros(shape, dtype=bool)
    return np.asarray(weight > _SHOWN_SHARE * np.median(positive))


def save_object_figures(
    directory: str | PathLike[str],
    obj: NDArray[np.complexfloating],
    weight: NDArray[np.floating] | None = None,
    origin: Sequence[float] | NDArray[np.floating] | None = None,
    *,
    pixel_size: float | None = None,
) -> None:
    """Write ``amplitude.png`` and ``phase.png`` of a stitched object.

    The field is cut to the covered area. The phase is shown against the plane wave that fits it best, because
    constant and ramp are free in diffraction; the array itself keeps them.

    Parameters
    ----------
    directory
        Existing directory.
    obj
        (height, width) complex.
    weight
        (height, width) real: coverage; pixels below a tenth of its positive median are grey. None: all
        covered.
    origin
        [y, x], px: array index = coordinate + origin; the axes show coordinates. None: zeros.
    pixel_size
        Length of an object pixel, m. None: axes in px.

    Raises
    ------
    ShapeError
        When the arrays do not fit together.
    DataError
        When ``pixel_size`` is not a positive length, or the object is not finite where it is covered.
    """
    obj = _checked("object", obj)
    covered = _coverage(weight, obj.shape)
    if not np.isfinite(obj[covered]).all():
        raise DataError("object: expected finite values where it is covered, got NaN or inf")
    start = np.zeros(2) if origin is None else np.asarray(origin, dtype=np.float64)
    if start.shape != (2,):
        raise ShapeError("origin", "two numbers [y, x]", start.shape)
    seen = covered if covered.any() else np.ones_like(covered)
    lines = (np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0)))
    rows, columns = (
        slice(max(0, int(line[0]) - _MARGIN_PX), int(line[-1]) + 1 + _MARGIN_PX) for line in lines
    )
    corner = np.array([rows.start, columns.start]) - start
    field, covered = obj[rows, columns].astype(np.complex128), covered[rows, columns]
    scale, unit = _length_unit(pixel_size, max(field.shape))
    top, left = (corner - 0.5) * scale
    extent = (left, left + field.shape[1] * scale, top + field.shape[0] * scale, top)

    amplitude = np.abs(np.where(covered, field, 0))
    phase = _levelled_phase(np.where(covered, field, 0), covered)
    phase_map, phase_limits = _phase_style(phase[covered])
    for name, values, cmap, limits, label in (
        ("amplitude", amplitude, _AMPLITUDE_MAP, _limits(amplitude[covered]), "amplitude"),
        ("phase", phase, phase_map, phase_limits, "phase, constant and ramp removed (rad)"),
    ):
        figure = _new_figure(6.0, float(np.clip(5.0 * field.shape[0] / field.shape[1] + 0.3, 2.0, 12.0)))
        axes = figure.subplots()
        image = _show(axes, values, covered, cmap, limits, extent)
        axes.set_xlabel(f"x ({unit})", fontsize=9)
        axes.set_ylabel(f"y ({unit})", fontsize=9)
        _colorbar(figure, image, axes, label)
        _write(figure, Path(directory) / f"{name}.png")


def save_comparison_figure(path: str | PathLike[str], report: MetricReport) -> None:
    """Draw reconstruction, truth and their difference, amplitude above phase.

    Reconstruction and truth share one colour scale, that of the truth; the difference has one that is
    symmetric about zero. Pixels outside the scored region are grey.

    Parameters
    ----------
    path
        PNG file to write; its directory exists.
    report
        Result of :func:`ptycho_torch.metrics.compare`.
    """
    mask, (top, left) = report.mask, (c - 0.5 for c in report.corner)
    extent = (left, left + mask.shape[1], top + mask.shape[0], top)
    images, scores = (report.reconstruction, report.truth), report.scores
    amplitudes, phases = [np.abs(z) for z in images], [np.angle(z) for z in images]
    phase_map, phase_limits = _phase_style(phases[1][mask])
    rows = (
        (
            "amplitude",
            "",
            amplitudes,
            amplitudes[0] - amplitudes[1],
            _AMPLITUDE_MAP,
            _limits(amplitudes[1][mask]),
        ),
        ("phase", " rad", phases, np.angle(np.exp(1j * (phases[0] - phases[1]))), phase_map, phase_limits),
    )
    figure = _new_figure(11.0, float(np.clip(7.0 * mask.shape[0] / mask.shape[1], 3.0, 16.0)))
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    for line, (part, unit, pair, difference, cmap, limits) in zip(grid, rows, strict=True):
        label = f" ({unit.strip()})" if unit else ""
        for axes, values in zip(line[:2], pair, strict=True):
            shown = _show(axes, values, mask, cmap, limits, extent)
        _colorbar(figure, shown, line[1], f"{part}{label}")
        reach = max(float(np.percentile(np.abs(difference[mask]), 99.5)), 1e-6)
        shown = _show(line[2], difference, mask, _DIFFERENCE_MAP, (-reach, reach), extent)
        _colorbar(figure, shown, line[2], f"{part} difference{label}")
        correlation, similarity = (getattr(scores, f"{part}_{name}") for name in ("correlation", "ssim"))
        line[0].set_title(f"reconstruction: correlation {correlation:.3f}, SSIM {similarity:.3f}", fontsize=9)
        line[1].set_title("truth", fontsize=9)
        error = getattr(scores, f"{part}_mae")
        line[2].set_title(f"difference: mean absolute {error:.3f}{unit}", fontsize=9)
        line[0].set_ylabel("y (px)", fontsize=9)
    for axes in grid[1]:
        axes.set_xlabel("x (px)", fontsize=9)
    _write(figure, path)


def _plain_axes(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, length=3)
    axes.grid(alpha=0.25, linewidth=0.5)


def save_frc_figure(path: str | PathLike[str], report: MetricReport) -> None:
    """Draw the Fourier ring correlation with both thresholds and where they are crossed.

    Parameters
    ----------
    path
        PNG file to write; its directory exists.
    report
        Result of :func:`ptycho_torch.metrics.compare` with ``frc=True``.

    Raises
    ------
    DataError
        When the report holds no curve.
    """
    curve = report.frc
    if curve is None:
        raise DataError("report: expected a Fourier ring correlation, got none; call compare with frc=True")
    figure = _new_figure(6.0, 4.0)
    axes = figure.subplots()
    axes.plot(
        curve.frequency, curve.correlation, color=_COLOURS[0], linewidth=1.6, label="reconstruction to truth"
    )
    axes.axhline(0.5, color="0.4", linewidth=1.0, linestyle="--", label=_crossing("0.5", curve.crossing_half))
    bit = _crossing("1-bit", curve.crossing_1bit)
    axes.plot(
        curve.frequency, curve.threshold_1bit, color=_COLOURS[1], linewidth=1.0, linestyle=":", label=bit
    )
    for crossing, level in ((curve.crossing_half, 0.5), (curve.crossing_1bit, None)):
        if 0 < crossing < 0.5:
            height = np.interp(crossing, curve.frequency, curve.threshold_1bit) if level is None else level
            axes.plot(crossing, height, "o", color=_COLOURS[0], markersize=5)
    axes.set_xlim(0, 0.5)
    axes.set_ylim(min(-0.05, float(curve.correlation.min()) - 0.05), 1.05)
    axes.set_xlabel("spatial frequency (cycles/px)", fontsize=9)
    axes.set_ylabel("Fourier ring correlation", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="best")
    _plain_axes(axes)
    _write(figure, path)


def _crossing(name: str, frequency: float) -> str:
    if frequency <= 0:
        return f"{name} threshold, nothing above it"
    if frequency >= 0.5:
        return f"{name} threshold, never crossed"
    return f"{name} threshold, crossed at a period of {1 / frequency:.1f} px"


def save_training_figure(
    path: str | PathLike[str],
    history: Mapping[str, Sequence[float]],
    examples: NDArray[np.complexfloating] | None = None,
) -> None:
    """Draw the loss over the epochs and what the network has learned to see.

    Parameters
    ----------
    path
        PNG file to write; its directory exists.
    history
        One curve per name, one value per epoch, NaN where an epoch has none. ``epoch``, where given, numbers
        the epochs; otherwise they count from 1. The loss axis is logarithmic when all values are positive and
        span a decade.
    examples
        (height, width) complex: an object; or (n, height, width): patches, of which the first four are shown.

    Raises
    ------
    DataError
        When there is no curve.
    ShapeError
        When a curve has another length than ``epoch``, or ``examples`` another rank.
    """
    curves = {
        name: np.asarray(values, dtype=np.float64) for name, values in history.items() if name != "epoch"
    }
    if not curves:
        raise DataError("history: expected at least one curve besides 'epoch', got none")
    stack = np.zeros((0, 1, 1), complex) if examples is None else np.asarray(examples)
    stack = stack[None] if stack.ndim == 2 else stack[:4]
    if stack.ndim != 3:
        raise ShapeError("examples", "(height, width) or (n, height, width)", stack.shape)
    figure = _new_figure(5.0 + 2.6 * len(stack), 4.0 if len(stack) < 2 else 4.6)
    if len(stack):
        parts: Any = figure.subfigures(1, 2, width_ratios=(4.4, 2.6 * len(stack) + 0.4))
        _draw_examples(parts[1], stack)
        axes = parts[0].subplots()
    else:
        axes = figure.subplots()
    _draw_losses(axes, curves, history.get("epoch"))
    _write(figure, path)


def _draw_losses(
    axes: Axes, curves: Mapping[str, NDArray[np.float64]], epochs: Sequence[float] | None
) -> None:
    from matplotlib.ticker import MaxNLocator

    seen: list[float] = []
    for (name, values), colour in zip(curves.items(), _COLOURS * len(curves), strict=False):
        numbers = np.arange(1, len(values) + 1) if epochs is None else np.asarray(epochs, dtype=np.float64)
        if numbers.shape != values.shape:
            raise ShapeError(f"history[{name!r}]", f"{numbers.shape} as epoch", values.shape)
        known = np.isfinite(values)
        marker = "o" if known.sum() < 30 else ""
        axes.plot(
            numbers[known],
            values[known],
            marker=marker,
            markersize=3,
            linewidth=1.4,
            color=colour,
            label=name,
        )
        seen.extend(values[known].tolist())
    if seen and min(seen) > 0 and max(seen) > 10 * min(seen):
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch", fontsize=9)
    axes.set_ylabel("loss", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    _plain_axes(axes)


def _draw_examples(figure: Any, stack: NDArray[np.complexfloating]) -> None:
    everywhere = np.ones(stack.shape[1:], dtype=bool)
    stack = np.where(np.isfinite(stack), stack, 0).astype(np.complex128)
    amplitudes = np.abs(stack)
    phases = np.stack([_levelled_phase(image, everywhere) for image in stack])
    grid = figure.subplots(2, len(stack), squeeze=False)
    extent = (-0.5, stack.shape[2] - 0.5, stack.shape[1] - 0.5, -0.5)
    phase_map, phase_limits = _phase_style(phases)
    for line, values, cmap, limits, label in (
        (grid[0], amplitudes, _AMPLITUDE_MAP, _limits(amplitudes), "amplitude"),
        (grid[1], phases, phase_map, phase_limits, "phase (rad)"),
    ):
        for axes, picture in zip(line, values, strict=True):
            shown = _show(axes, picture, everywhere, cmap, limits, extent)
            axes.set_xticks([])
            axes.set_yticks([])
        _colorbar(figure, shown, line, label)
