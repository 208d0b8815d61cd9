"""One page about a scan before anything is reconstructed from it."""

from __future__ import annotations

import textwrap
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import ScanGeometry
from ptycho_torch.data.summary import PositionStatistics, ScanSummary
from ptycho_torch.diagnosis.statistics import FrameStatistics
from ptycho_torch.errors import DataError, fault
from ptycho_torch.plotting import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["frames_per_pixel", "save_scan_figure"]

_COUNTS_MAP = "viridis"
_MOST_CELLS = 768
_MOST_POINTS = 20_000
_LIT_SHARE = 0.01
_NOTE_WIDTH = 150
_MARGIN_PX = 2.0


def frames_per_pixel(
    positions: NDArray[np.float64], diameter: float, *, margin_px: float = 0.0
) -> tuple[NDArray[np.float64], tuple[float, float, float, float]]:
    """How many frames see each place: those whose probe, a disk of this diameter, covers it.

    Parameters
    ----------
    positions
        (n, 2) float64 ``[y, x]``; px.
    diameter
        Of the probe; px.
    margin_px
        Shown around the positions beyond half a probe.

    Returns
    -------
    counts, extent
        (height, width) on cells of one pixel, or of more where the scan is wider than 768 px; and
        (left, right, bottom, top) of the array in px.
    """
    from scipy.signal import fftconvolve

    reach = diameter / 2 + margin_px
    low, high = positions.min(axis=0) - reach, positions.max(axis=0) + reach
    cell = max(1.0, float((high - low).max()) / _MOST_CELLS)
    shape = np.maximum(np.ceil((high - low) / cell).astype(int), 1)
    index = np.minimum(((positions - low) / cell).astype(int), shape - 1)
    hits = np.zeros(shape)
    np.add.at(hits, (index[:, 0], index[:, 1]), 1.0)
    half = max(int(np.ceil(diameter / 2 / cell)), 1)
    y, x = np.mgrid[-half : half + 1, -half : half + 1] * cell
    disk = (np.hypot(y, x) <= max(diameter / 2, cell / 2)).astype(np.float64)
    counts = np.rint(np.maximum(fftconvolve(hits, disk, mode="same"), 0))
    (top, left), (height, width) = low, shape * cell
    return counts, (float(left), float(left + width), float(top + height), float(top))


def save_scan_figure(
    path: str | PathLike[str], scan: Scan, frames: FrameStatistics, summary: ScanSummary
) -> None:
    """Draw scan map, coverage, mean frame, photon statistics and probe on one page.

    Parameters
    ----------
    path
        PNG file to write; its directory exists.
    scan, frames, summary
        From :func:`ptycho_torch.data.summary.examine_scan`.

    Raises
    ------
    DataError
        When the summary is that of a file that is refused.
    """
    where = summary.positions
    if where is None:
        raise DataError(
            fault("summary", "expected that of a sound scan, got one without positions"), summary.source
        )
    figure = style.new_figure(13.0, 8.6)
    grid = figure.subplots(2, 3)
    _draw_map(figure, grid[0, 0], scan, frames, where)
    _draw_coverage(figure, grid[0, 1], scan, where)
    _draw_mean_frame(figure, grid[0, 2], scan, frames)
    _draw_counts(grid[1, 0], frames)
    _draw_probe(figure, grid[1, 1], grid[1, 2], scan)
    figure.suptitle(_title(scan, summary), fontsize=12, fontweight="bold")
    if summary.notes:
        lines = [line for note in summary.notes for line in textwrap.wrap(f"• {note}", _NOTE_WIDTH)]
        figure.supxlabel("\n".join(lines), fontsize=9, x=0.01, ha="left", color="#8a3b00")
    style.write_figure(figure, path)


def _title(scan: Scan, summary: ScanSummary) -> str:
    name = "scan in memory" if summary.source is None else summary.source.name
    parts = [f"{name}: {scan.n_frames} frames of {scan.N} × {scan.N} px"]
    try:
        pixel_m = ScanGeometry.from_entries(scan.metadata, scan.N).object_pixel_m
    except DataError:
        pass
    else:
        length, unit = style.length_unit(pixel_m[1], 1.0)
        parts.append(f"object pixel {length:.4g} {unit}")
    # Text between two dollar signs would be taken for mathematics.
    return ", ".join(parts).replace("$", r"\$")


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)


def _draw_map(
    figure: Figure, axes: Axes, scan: Scan, frames: FrameStatistics, where: PositionStatistics
) -> None:
    from matplotlib.patches import Circle

    shown = slice(None, None, max(1, scan.n_frames // _MOST_POINTS))
    y, x = scan.positions[shown].T
    if len(y) <= 2000:
        axes.plot(x, y, color="0.8", linewidth=0.6, zorder=1)
    size = float(np.clip(9000 / max(len(y), 1), 1.5, 26))
    points = axes.scatter(x, y, c=frames.totals[shown], s=size, cmap=_COUNTS_MAP, linewidths=0, zorder=2)
    centre = scan.positions[np.argmin(np.hypot(*(scan.positions - scan.positions.mean(axis=0)).T))]
    axes.add_patch(
        Circle(
            (float(centre[1]), float(centre[0])),
            where.probe_diameter / 2,
            fill=False,
            color=style.COLOURS[1],
            linewidth=1.4,
            zorder=3,
        )
    )
    # The same frame as the coverage beside it.
    reach = where.probe_diameter / 2 + _MARGIN_PX
    axes.set_xlim(where.x_min - reach, where.x_max + reach)
    axes.set_ylim(where.y_max + reach, where.y_min - reach)
    axes.set_aspect("equal")
    _label(axes, "scan map and probe diameter", "x (px)", "y (px)")
    axes.tick_params(labelsize=8, length=3, width=0.6)
    style.add_colorbar(figure, points, axes, "counts per frame")


def _draw_coverage(figure: Figure, axes: Axes, scan: Scan, where: PositionStatistics) -> None:
    counts, extent = frames_per_pixel(scan.positions, where.probe_diameter, margin_px=_MARGIN_PX)
    seen = counts > 0
    image = style.show_image(
        axes, counts, seen, style.AMPLITUDE_MAP, (0.0, max(float(counts.max()), 1.0)), extent
    )
    overlap = "" if np.isnan(where.overlap) else f", overlap {where.overlap:.0%}"
    _label(axes, f"coverage: median {np.median(counts[seen]):.0f} frames{overlap}", "x (px)", "y (px)")
    style.add_colorbar(figure, image, axes, "frames that see a place")


def _draw_mean_frame(figure: Figure, axes: Axes, scan: Scan, frames: FrameStatistics) -> None:
    from matplotlib.colors import LogNorm

    measured = np.ones((scan.N, scan.N), dtype=bool) if scan.bad_pixels is None else ~scan.bad_pixels
    positive = frames.mean[measured & (frames.mean > 0)]
    top = float(positive.max()) if positive.size else 1.0
    low = max(float(positive.min()) if positive.size else 0.1, top * 1e-7)
    half = scan.N // 2
    extent = (-half - 0.5, scan.N - half - 0.5, scan.N - half - 0.5, -half - 0.5)
    values = np.maximum(frames.mean, low)
    image = style.show_image(axes, values, measured, _COUNTS_MAP, (low, top), extent)
    image.set_norm(LogNorm(low, max(top, low * 1.01)))
    _label(axes, "mean frame, from the zero frequency", "column (detector px)", "row (detector px)")
    style.add_colorbar(figure, image, axes, "counts per frame and pixel")


def _draw_counts(axes: Axes, frames: FrameStatistics) -> None:
    totals = frames.totals
    number = np.arange(len(totals))
    step = max(1, len(totals) // _MOST_POINTS)
    axes.plot(number[::step], totals[::step], ".", markersize=2.5, color=style.COLOURS[0], alpha=0.7)
    mean = float(totals.mean())
    axes.plot([0, len(totals)], [mean, mean], color=style.COLOURS[1], linewidth=1.2)
    style.plain_axes(axes)
    peak, zeros = frames.highest.max(), frames.n_zeros.sum() / (frames.mean.size * len(totals))
    title = (
        f"counts: mean {mean:.4g}, standard deviation {_share(totals.std(), mean)}\n"
        f"brightest pixel {peak:.4g}, {zeros:.0%} of pixels empty"
    )
    _label(axes, title, "frame", "counts per frame")
    # The distribution stands inside the axes, so that the panels of the column stay aligned.
    ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= len(totals)]
    axes.set_xlim(-0.03 * len(totals), 1.28 * len(totals))
    axes.set_xticks(ticks)
    beside = axes.inset_axes((0.82, 0.0, 0.18, 1.0), sharey=axes)
    bins = int(np.clip(len(totals) // 8, 5, 60))
    beside.hist(totals, bins=bins, orientation="horizontal", color=style.COLOURS[0], alpha=0.7)
    beside.set_facecolor("none")
    beside.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    for side in ("top", "right", "left"):
        beside.spines[side].set_visible(False)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole > 0 else "n/a"


def _draw_probe(figure: Figure, left: Axes, right: Axes, scan: Scan) -> None:
    powers = (np.abs(scan.probe) ** 2).sum(axis=(1, 2), dtype=np.float64)
    first = int(np.argmax(powers))
    mode = scan.probe[first].astype(np.complex128)
    amplitude = np.abs(mode)
    lit = amplitude**2 > _LIT_SHARE * amplitude.max() ** 2
    half = scan.N // 2
    extent = (-half - 0.5, scan.N - half - 0.5, scan.N - half - 0.5, -half - 0.5)
    everywhere: NDArray[Any] = np.ones_like(lit)
    name = "probe"
    if scan.n_modes > 1:
        name = f"probe, strongest of {scan.n_modes} modes ({powers[first] / powers.sum():.0%})"
    shown = style.show_image(
        left, amplitude, everywhere, style.AMPLITUDE_MAP, (0.0, float(amplitude.max())), extent
    )
    _label(left, name, "x (px)", "y (px)")
    style.add_colorbar(figure, shown, left, "amplitude")
    # Its ramp and curvature say where the probe sits and how far from focus; only the constant is free.
    phase = np.angle(mode * np.conj((mode * amplitude).sum()))
    cmap, limits = style.phase_style(phase[lit])
    shown = style.show_image(right, phase, lit, cmap, limits, extent)
    _label(right, "its phase, where it is lit", "x (px)", "y (px)")
    style.add_colorbar(figure, shown, right, "phase (rad)")
