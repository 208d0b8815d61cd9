"""Draw the pictures of the README and of the page on conventions, with the package itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.metrics import align
from ptycho_torch.physics import Bilinear, calibrate, illumination
from ptycho_torch.reassembly import canvas_for, stitch
from ptycho_torch.refine import refine

__all__ = ["main"]

HERE = Path(__file__).resolve().parent / "images"
DATA = HERE.parents[1] / "data"
CHOSEN = 24


def _scan() -> Scan:
    return simulate_scene("lines", N=32, grid=(7, 7), step_px=6.0, photons=1e5, seed=4)


def _save(figure: Figure, name: str) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(HERE / name, dpi=90, metadata={"Software": None})


def draw_coordinates(scan: Scan) -> Figure:
    """The object with all positions and one patch, that patch, and its frame."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    whole, patch, frame = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    y, x = scan.positions[CHOSEN]
    n = scan.N
    whole.imshow(np.angle(scan.object_truth), cmap="gray")
    whole.plot(scan.positions[:, 1], scan.positions[:, 0], ".", color="tab:orange", markersize=4)
    corner = (x - n // 2 - 0.5, y - n // 2 - 0.5)
    whole.add_patch(Rectangle(corner, n, n, fill=False, edgecolor="tab:red", linewidth=2))
    whole.plot([x], [y], "o", color="tab:red")
    whole.set(
        title=f"object and positions, one at [y, x] = [{y:.1f}, {x:.1f}]",
        xlabel="x, column (px)",
        ylabel="y, row (px)",
    )
    origin = torch.from_numpy(scan.object_truth_origin)
    truth = torch.from_numpy(scan.object_truth)
    position = torch.from_numpy(scan.positions[CHOSEN : CHOSEN + 1])
    cut = Bilinear(position, n, truth.shape, origin=origin).cut(truth)[0].numpy()
    light = illumination(torch.from_numpy(scan.probe)).sqrt().numpy()
    patch.imshow(np.angle(cut), cmap="gray", alpha=np.clip(0.25 + light / light.max(), 0, 1))
    patch.plot([n // 2], [n // 2], "o", color="tab:red")
    patch.set(
        title="its patch where the probe lights it",
        xlabel=f"column c; red: [{n // 2}, {n // 2}]",
        ylabel="row r",
    )
    frame.imshow(np.log1p(scan.diffraction[CHOSEN]), cmap="magma")
    frame.plot([n // 2], [n // 2], "o", markerfacecolor="none", markeredgecolor="white", markersize=14)
    frame.set(title="its frame, log counts", xlabel=f"zero frequency at [{n // 2}, {n // 2}]")
    return figure


def draw_coverage(scan: Scan) -> Figure:
    """Stitched true patches and the weight map with the border of the well-covered region."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    positions = torch.from_numpy(scan.positions)
    truth = torch.from_numpy(scan.object_truth)
    patches = Bilinear(positions, scan.N, truth.shape).cut(truth)
    mean_counts = float(scan.counts_per_frame().mean())
    weight = illumination(calibrate(torch.from_numpy(scan.probe), mean_counts).probe)
    result = stitch(lambda _: [(patches, positions)], canvas_for(scan.positions, scan.N), weight)
    low = -result.origin - 0.5
    height, width = result.object.shape
    extent = (low[1], low[1] + width, low[0] + height, low[0])
    left.imshow(np.angle(result.object), cmap="gray", extent=extent)
    left.set(title="stitched phase", xlabel="x (px)", ylabel="y (px)")
    image = right.imshow(result.weight, cmap="viridis", extent=extent)
    share = 0.1 * float(np.median(result.weight[result.weight > 0]))
    for axes, colour in ((left, "tab:red"), (right, "white")):
        axes.contour(
            np.linspace(extent[0] + 0.5, extent[1] - 0.5, width),
            np.linspace(extent[3] + 0.5, extent[2] - 0.5, height),
            result.weight,
            levels=[share],
            colors=colour,
        )
    right.set(title="weight; line: 10 % of the median", xlabel="x (px)")
    figure.colorbar(image, ax=right)
    return figure


def draw_star(epochs: int = 30) -> Figure:
    """Phase of the measured star, refined against all frames."""
    scan = open_scan(DATA / "siemens_star_128.npz")
    found = refine(scan, epochs=epochs, likelihood="amplitude").object
    covered = found.weight > 0.1 * np.median(found.weight[found.weight > 0])
    rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
    inner = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    image, covered = found.object[inner].astype(np.complex128), covered[inner]
    # Diffraction knows neither a constant phase nor a ramp: they are taken out.
    wave = align(np.ones_like(image), image, covered, max_shift_px=0).aligned
    phase = np.where(covered, np.angle(image * np.exp(-1j * np.angle(wave))), np.nan)
    figure = Figure(figsize=(6, 5.2), layout="constrained")
    axes = figure.subplots()
    low, high = np.nanpercentile(phase, (0.5, 99.5))
    shown = axes.imshow(phase, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set(xlabel="x (px)", ylabel="y (px)")
    figure.colorbar(shown, label="phase (rad)")
    return figure


def main(star_epochs: int = 30) -> None:
    """Write all pictures."""
    HERE.mkdir(exist_ok=True)
    _save(draw_star(star_epochs), "siemens_star.png")
    scan = _scan()
    _save(draw_coordinates(scan), "coordinates.png")
    _save(draw_coverage(scan), "coverage.png")


if __name__ == "__main__":
    main()
