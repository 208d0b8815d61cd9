"""What all figures look like, and the pieces they are drawn from."""

from __future__ import annotations

import math
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.atomic import atomic_write
from ptycho_torch.errors import DataError, ShapeError, fault
from ptycho_torch.metrics.levelling import plane_of
from ptycho_torch.metrics.region import lit_pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


__all__ = [
    "AMPLITUDE_MAP",
    "COLOURS",
    "CYCLIC_MAP",
    "DIFFERENCE_MAP",
    "PHASE_MAP",
    "SIGMA_MAP",
    "UNCOVERED",
    "add_colorbar",
    "checked_image",
    "covered_area",
    "covered_pixels",
    "extent_of",
    "length_unit",
    "levelled_phase",
    "new_figure",
    "phase_style",
    "plain_axes",
    "show_image",
    "value_limits",
    "write_figure",
]

_DPI = 160
_MARGIN_PX = 4
AMPLITUDE_MAP = "cividis"
PHASE_MAP = "magma"
CYCLIC_MAP = "twilight"
DIFFERENCE_MAP = "PuOr_r"
SIGMA_MAP = "viridis"
UNCOVERED = "0.85"
# Okabe and Ito's palette: distinguishable with every common colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def new_figure(width_in: float, height_in: float, *, single_image: bool = False) -> Figure:
    """Figure on a canvas of its own; sizes in inches.

    One image of a fixed aspect beside its colour bar needs ``single_image``: the usual layout takes several
    passes until it leaves the labels room.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout: Any = "compressed" if single_image else "constrained"
    figure = Figure(figsize=(width_in, height_in), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure as PNG, complete or not at all."""
    with atomic_write(path) as stream:
        figure.savefig(stream, format="png", dpi=_DPI)


def checked_image(name: str, image: NDArray[Any], shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """The image as an array ``(height, width)``, of a given shape if one is stated.

    Raises
    ------
    ShapeError
        When it is not.
    """
    image = np.asarray(image)
    if image.ndim != 2 or 0 in image.shape:
        raise ShapeError(name, "(height, width)", image.shape)
    if shape is not None and image.shape != shape:
        raise ShapeError(name, f"the shape {shape} of the object", image.shape)
    return image


def value_limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Range without the wildest half percent at either end, never empty."""
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    if high - low <= 1e-9 * max(abs(high), 1.0):
        middle, reach = (low + high) / 2, 0.05 * max(abs(high), 1.0)
        return middle - reach, middle + reach
    return low, high


def phase_style(values: NDArray[np.float64]) -> tuple[str, tuple[float, float]]:
    """Colour map and range of phases; rad."""
    low, high = value_limits(values)
    if high - low > 1.6 * math.pi:
        return CYCLIC_MAP, (-math.pi, math.pi)
    return PHASE_MAP, (low, high)


def levelled_phase(image: NDArray[np.complexfloating], covered: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Phase against the plane wave that fits best: diffraction knows neither constant nor ramp."""
    wave, _, _ = plane_of(image, covered)
    return np.asarray(np.angle(image * wave.conj()), dtype=np.float64)


def show_image(
    axes: Axes,
    values: NDArray[np.float64],
    covered: NDArray[np.bool_],
    cmap: str,
    limits: tuple[float, float],
    extent: tuple[float, float, float, float],
) -> AxesImage:
    """Draw an image whose uncovered pixels are grey; ``extent`` as Matplotlib has it."""
    from matplotlib import colormaps

    colours = colormaps[cmap].with_extremes(bad=UNCOVERED)
    picture = np.ma.masked_array(values, mask=~covered)
    image = axes.imshow(
        picture, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent, interpolation="nearest"
    )
    axes.tick_params(labelsize=8, length=3, width=0.6)
    for spine in axes.spines.values():
        spine.set_linewidth(0.6)
    return image


def add_colorbar(figure: Figure, image: ScalarMappable, axes: Any, label: str) -> None:
    """Colour bar with its label beside one or several axes."""
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, extend="both", extendfrac=0.02)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8, length=3, width=0.6)
    bar.outline.set_linewidth(0.6)  # type: ignore[operator]


def length_unit(pixel_size_m: float | None, span_px: float) -> tuple[float, str]:
    """Length of a pixel in the unit of the axes, and that unit."""
    if pixel_size_m is None:
        return 1.0, "px"
    if not (math.isfinite(pixel_size_m) and pixel_size_m > 0):
        raise DataError(fault("pixel_size", f"expected a positive length in metres, got {pixel_size_m}"))
    return (pixel_size_m * 1e6, "µm") if pixel_size_m * span_px >= 1e-6 else (pixel_size_m * 1e9, "nm")


def extent_of(
    rows: slice,
    columns: slice,
    shape: tuple[int, ...],
    origin: NDArray[np.float64],
    pixel_size_m: float | None,
) -> tuple[tuple[float, float, float, float], str]:
    """Coordinates of the edges of a part of an array, as Matplotlib has them, and their unit.

    ``shape`` is that of the part: slices may reach beyond the array.
    """
    height, width = shape
    scale, unit = length_unit(pixel_size_m, max(height, width))
    top, left = (np.array([rows.start, columns.start]) - origin - 0.5) * scale
    return (left, left + width * scale, top + height * scale, top), unit


def plain_axes(axes: Axes) -> None:
    """Axes of a curve: no box, a light grid."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, length=3)
    axes.grid(alpha=0.25, linewidth=0.5)


def covered_pixels(weight: NDArray[np.floating] | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels with at least a tenth of the median positive weight; all without weights."""
    if weight is None:
        return np.ones(shape, dtype=bool)
    weight = checked_image("weight", weight, shape)
    return lit_pixels(weight, shape)


def covered_area(covered: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns around the covered pixels, with a margin; everything where none is covered."""
    seen = covered if covered.any() else np.ones_like(covered)
    lines = (np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0)))
    rows, columns = (
        slice(max(0, int(line[0]) - _MARGIN_PX), int(line[-1]) + 1 + _MARGIN_PX) for line in lines
    )
    return rows, columns
