"""Objects and scans that learned stages are trained and measured on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from slow_phases import dead_leaves, object_of, photograph, stated
from slow_phases import scan_of as scan_with_fault

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.scenes import OBJECTS, defocused_probe, object_shape, raster_positions
from ptycho_torch.data.simulation.simulate import simulate_scan

N = 64
SEEN = ("lines", "natural", "random_field", "grains", "fractal")
UNSEEN = ("leaves", "layout", "camera", "coffee", "chelsea")
MEASURED = ("lines", "natural", "random_field", *UNSEEN)
OTHER_PROBES = ("flat-phase probe", "three modes", "128 px")
SIDES = {6: 16, 12: 12, 16: 10, 22: 8}


def grains(shape: tuple[int, int], seed: int) -> npt.NDArray[np.complex64]:
    """Cells of Voronoi, each of one amplitude and one phase."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(20, 120))
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    nearest = cKDTree(rng.random((count, 2)) * shape).query(np.stack([rows.ravel(), columns.ravel()], 1))[1]
    values = rng.uniform(0.5, 1, count) * np.exp(1j * rng.uniform(-1.2, 1.2, count))
    return values[nearest].reshape(shape).astype(np.complex64)


def fractal(shape: tuple[int, int], seed: int) -> npt.NDArray[np.complex64]:
    """Amplitude and phase whose spectra fall as a power of the frequency."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    frequency[0, 0] = 1 / max(shape)
    power = rng.uniform(1.2, 2.2)

    def field() -> npt.NDArray[np.float64]:
        image = np.fft.ifft2(np.fft.fft2(rng.normal(size=shape)) / frequency**power).real
        return np.asarray((image - image.mean()) / image.std())

    phase = rng.uniform(0.2, 1.0) * field()
    return ((0.75 + 0.25 * np.tanh(field())) * np.exp(1j * phase)).astype(np.complex64)


def layout(shape: tuple[int, int], seed: int) -> npt.NDArray[np.complex64]:
    """Wires and pads of one metal, upright and across, as on a chip."""
    rng = np.random.default_rng(seed)
    metal = np.zeros(shape, bool)
    for _ in range(round(shape[0] * shape[1] / 500)):
        long, thin = int(rng.integers(10, 80)), int(rng.integers(2, 7))
        height, width = (long, thin) if rng.random() < 0.5 else (thin, long)
        top, left = int(rng.integers(-height, shape[0])), int(rng.integers(-width, shape[1]))
        metal[max(0, top) : top + height, max(0, left) : left + width] = True
    return np.where(metal, 0.8 * np.exp(1.1j), 1).astype(np.complex64)


MAKERS = {"grains": grains, "fractal": fractal, "leaves": dead_leaves, "layout": layout}


def truth_of(kind: str, shape: tuple[int, int], seed: int) -> npt.NDArray[np.complex64]:
    """An object of a kind."""
    if kind in MAKERS:
        return MAKERS[kind](shape, seed + 5)
    return object_of(kind, shape, seed + 5) if kind in OBJECTS else photograph(kind, shape, seed)


def scan_of(
    kind: str, step_px: int, photons: float, seed: int, fault: str = "none", side: int | None = None
) -> Scan:
    """Scan of a square raster with a jitter of 1.5 px, as a user has it who does not know of the fault."""
    side = SIDES[step_px] if side is None else side
    if fault in OTHER_PROBES:
        return scan_with_fault(kind, step_px, photons, seed, fault, side)
    positions = raster_positions(
        (side, side), step_px=float(step_px), jitter_px=1.5, start_px=(38, 38), seed=seed
    )
    shape = object_shape(positions, N)
    # With room for positions that are stated wrongly.
    truth = truth_of(kind, (shape[0] + 8, shape[1] + 8), seed)
    scan = simulate_scan(truth, defocused_probe(N), positions, photons=photons, seed=seed + 1)
    return stated(scan, fault, seed)
