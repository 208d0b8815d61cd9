"""A reconstruction beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from ptycho_torch.errors import DataError, fault
from ptycho_torch.plotting import style

if TYPE_CHECKING:
    from ptycho_torch.metrics.frc import FrcCurve
    from ptycho_torch.metrics.report import MetricReport


__all__ = ["save_comparison_figure", "save_frc_figure", "save_resolution_figure"]


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
    phase_map, phase_limits = style.phase_style(phases[1][mask])
    rows = (
        (
            "amplitude",
            "",
            amplitudes,
            amplitudes[0] - amplitudes[1],
            style.AMPLITUDE_MAP,
            style.value_limits(amplitudes[1][mask]),
        ),
        ("phase", " rad", phases, np.angle(np.exp(1j * (phases[0] - phases[1]))), phase_map, phase_limits),
    )
    figure = style.new_figure(11.0, float(np.clip(7.0 * mask.shape[0] / mask.shape[1], 3.0, 16.0)))
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    for line, (part, unit, pair, difference, cmap, limits) in zip(grid, rows, strict=True):
        label = f" ({unit.strip()})" if unit else ""
        for axes, values in zip(line[:2], pair, strict=True):
            shown = style.show_image(axes, values, mask, cmap, limits, extent)
        style.add_colorbar(figure, shown, line[1], f"{part}{label}")
        reach = max(float(np.percentile(np.abs(difference[mask]), 99.5)), 1e-6)
        shown = style.show_image(line[2], difference, mask, style.DIFFERENCE_MAP, (-reach, reach), extent)
        style.add_colorbar(figure, shown, line[2], f"{part} difference{label}")
        correlation, similarity = (getattr(scores, f"{part}_{name}") for name in ("correlation", "ssim"))
        line[0].set_title(f"reconstruction: correlation {correlation:.3f}, SSIM {similarity:.3f}", fontsize=9)
        line[1].set_title("truth", fontsize=9)
        error = getattr(scores, f"{part}_mae")
        line[2].set_title(f"difference: mean absolute {error:.3f}{unit}", fontsize=9)
        line[0].set_ylabel("y (px)", fontsize=9)
    for axes in grid[1]:
        axes.set_xlabel("x (px)", fontsize=9)
    style.write_figure(figure, path)


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
        raise DataError(
            fault("report", "expected a Fourier ring correlation, got none; call compare with frc=True")
        )
    _save_curve(path, curve, "reconstruction to truth", bits=("1-bit",))


def save_resolution_figure(path: str | PathLike[str], curve: FrcCurve) -> None:
    """Draw the ring correlation of two independent solutions, with the thresholds of their resolution.

    Parameters
    ----------
    path
        PNG file to write; its directory exists.
    curve
        From :func:`ptycho_torch.metrics.fourier_ring_correlation`.
    """
    _save_curve(path, curve, "two solutions of half of the counts", bits=("1-bit", "half-bit"))


def _save_curve(path: str | PathLike[str], curve: FrcCurve, name: str, *, bits: Sequence[str]) -> None:
    figure = style.new_figure(6.0, 4.0)
    axes = figure.subplots()
    # A curve that stays above a threshold is given its last ring for a crossing.
    end = min(float(curve.frequency[-1]), 0.5)
    axes.plot(curve.frequency, curve.correlation, color=style.COLOURS[0], linewidth=1.6, label=name)
    half = _crossing("0.5", curve.crossing_half, end)
    axes.axhline(0.5, color="0.4", linewidth=1.0, linestyle="--", label=half)
    every = {
        "1-bit": (curve.threshold_1bit, curve.crossing_1bit, style.COLOURS[1]),
        "half-bit": (curve.threshold_half_bit, curve.crossing_half_bit, style.COLOURS[2]),
    }
    marks = [(curve.crossing_half, 0.5)]
    for bit in bits:
        threshold, crossing, colour = every[bit]
        label = _crossing(bit, crossing, end)
        axes.plot(curve.frequency, threshold, color=colour, linewidth=1.0, linestyle=":", label=label)
        marks.append((crossing, float(np.interp(crossing, curve.frequency, threshold))))
    for crossing, height in marks:
        if 0 < crossing < end:
            axes.plot(crossing, height, "o", color=style.COLOURS[0], markersize=5)
    axes.set_xlim(0, 0.5)
    axes.set_ylim(min(-0.05, float(curve.correlation.min()) - 0.05), 1.05)
    axes.set_xlabel("spatial frequency (cycles/px)", fontsize=9)
    axes.set_ylabel("Fourier ring correlation", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="best")
    style.plain_axes(axes)
    style.write_figure(figure, path)


def _crossing(name: str, frequency: float, end: float) -> str:
    if frequency <= 0:
        return f"{name} threshold, nothing above it"
    if frequency >= end:
        return f"{name} threshold, never crossed"
    return f"{name} threshold, crossed at a period of {1 / frequency:.1f} px"
