"""Runs that had no part in choosing the threshold of the verdict: other objects, probes, paths and faults.

`verdict.py` makes the runs that the verdict was built with; nothing is taken from there but the way a run is
made and judged. The record is added to, so that a run that was stopped goes on:

    python benchmarks/verdict_held_out.py --out benchmarks/results/verdict_held_out.json

The first series was looked at while the verdict was built. `--series 2` makes another one of the same kinds,
with other seeds, probes, sizes, steps, scenes and doses, which was made once, when all was fixed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from verdict import measured

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.scenes import OBJECTS, object_shape
from ptycho_torch.data.simulation.simulate import simulate_scan

Positions = np.ndarray


def zone_plate(size: int, outer: float = 0.2, inner: float = 0.08, defocus: float = 30.0) -> np.ndarray:
    """Focus of a lens with a central stop, a way behind it."""
    f = np.fft.fftfreq(size)
    radius = np.hypot(f[:, None], f[None])
    pupil = (radius < outer) & (radius > inner)
    wave = pupil * np.exp(-1j * np.pi * defocus * (f[:, None] ** 2 * 1.1 + f[None] ** 2 * 0.9))
    return np.fft.fftshift(np.fft.ifft2(wave))[None]


def gaussian(size: int, width: float = 4.0, curvature: float = 0.02) -> np.ndarray:
    """A beam without edges."""
    y, x = np.indices((size, size)) - size // 2
    return (np.exp(-(y**2 + x**2) / (2 * width**2)) * np.exp(1j * curvature * (y**2 + 0.6 * x**2)))[None]


def pinhole(size: int, radius: float = 6.0) -> np.ndarray:
    """A disk with rings."""
    y, x = np.indices((size, size)) - size // 2
    disk = 1 / (1 + np.exp((np.hypot(y, x) - radius) / 0.6))
    return (disk * np.exp(0.03j * (y**2 + x**2)))[None]


PROBES: dict[str, Callable[..., np.ndarray]] = {
    "zone plate": zone_plate,
    "gaussian": gaussian,
    "pinhole": pinhole,
}


def spiral(count: int, step: float) -> Positions:
    """Fermat's spiral."""
    k = np.arange(1, count + 1)
    radius, angle = 0.57 * step * np.sqrt(k), k * np.pi * (3 - np.sqrt(5))
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def raster(count: int, step: float, jitter: float = 0.25) -> Positions:
    """Row by row, every second one backwards."""
    side = round(count**0.5)
    grid = np.indices((side, side)).astype(float)
    grid[1, 1::2] = grid[1, 1::2, ::-1]
    return (grid.reshape(2, -1).T + np.random.default_rng(side).uniform(-jitter, jitter, (side**2, 2))) * step


USUAL: dict[str, Any] = {"scene": "natural", "probe": "zone plate", "size": 48, "step": 4.0, "seeds": 0}
BASES = (("", "lines", 1e5, 0.0), (", few counts", "random_field", 800, 0.02))
OTHER: dict[str, Any] = {"scene": "random_field", "probe": "gaussian", "size": 40, "step": 3.0, "seeds": 5000}
OTHER_BASES = (("", "natural", 3e4, 0.0), (", few counts", "lines", 2000, 0.01))


def made(
    *,
    scene: str | None = None,
    probe: str | None = None,
    size: int | None = None,
    count: int = 64,
    step: float | None = None,
    path: Callable[[int, float], Positions] = raster,
    photons: float = 3e4,
    strength: float = 1.0,
    seed: int = 100,
    **optics: float,
) -> Scan:
    """A scan with its truth; ``strength`` is a power of the object."""
    scene, probe = scene or USUAL["scene"], probe or USUAL["probe"]
    size, step, seed = size or USUAL["size"], step or USUAL["step"], seed + USUAL["seeds"]
    positions = path(count, step)
    positions = positions - positions.min(axis=0) + size // 2 + 2
    shape = tuple(side + 4 for side in object_shape(positions, size))
    image = OBJECTS[scene](shape, seed=seed)
    image = np.abs(image) ** strength * np.exp(1j * strength * np.angle(image))
    return simulate_scan(image, PROBES[probe](size, **optics), positions, photons=photons, seed=seed + 1)


Run = tuple[str, Callable[[], Scan], dict[str, Any]]


def right() -> Iterator[Run]:
    """Nothing is wrong with these, though some are poor."""
    for number, scene in enumerate(("lines", "natural", "random_field")):
        for probe in PROBES:
            name = f"{scene}, {probe}"
            yield name, lambda s=scene, p=probe, n=number: made(scene=s, probe=p, seed=110 + n), {}
    for size in (33, 40, 57, 72, 90):
        yield f"{size} px", lambda n=size: made(size=n, scene="lines", seed=120), {}
    for count in (9, 16, 25):
        yield f"{count} frames", lambda n=count: made(count=n, scene="lines", seed=121), {}
    for step in (6.0, 8.0, 10.0):
        yield f"step {step:g} px", lambda d=step: made(step=d, scene="natural", seed=122), {}
    yield "pinhole, step 9 px", lambda: made(probe="pinhole", step=9.0, scene="lines", seed=123), {}
    for photons in (200, 1000, 1e4, 1e6, 1e8):
        smooth = {"smoothness": min(0.3, 10 / photons)} if photons < 1e4 else {}
        yield f"{photons:g} counts", lambda p=photons: made(photons=p, scene="random_field", seed=124), smooth
    for photons in (2e3, 1e6):
        name = f"weak object, {photons:g} counts"
        yield (
            name,
            lambda p=photons: made(photons=p, strength=0.15, seed=125),
            {"smoothness": 0.03 * (photons < 1e4)},
        )
    yield "spiral", lambda: made(path=spiral, scene="lines", seed=126), {}
    yield "spiral, likelihood of amplitudes", lambda: made(path=spiral, seed=127), {"likelihood": "amplitude"}
    yield "line scan", lambda: made(path=lambda n, d: spiral(n, d) * [0, 1.5], seed=128), {}
    yield "almost empty object", lambda: _patch_of(made(scene="lines", seed=129)), {}
    yield "background of 5 %", lambda: _background(made(seed=130), 0.05), {}
    yield "positions off by 0.5 px", lambda: _moved(made(seed=131), 0.5), {}
    yield "positions off by 1 px, refined", lambda: _moved(made(seed=132), 1.0), {"refine_positions": True}
    yield "dose up and down by 20 %", lambda: _uneven(made(seed=133), 0.2), {}
    yield "no light at a masked stop", lambda: _stopped(made(photons=1e6, seed=134)), {}
    yield "divided by the largest count", lambda: made(seed=137).scaled(1e-4), {}
    yield (
        "ten units per count",
        lambda: _counts(made(photons=2e3, seed=138), lambda f: 10 * f),
        {"smoothness": 0.02},
    )
    yield "vacuum, 200 counts", lambda: made(strength=0.0, photons=200, seed=135), {}
    yield "vacuum, 1e6 counts", lambda: made(strength=0.0, photons=1e6, seed=136), {}


def _patch_of(scan: Scan) -> Scan:
    """Vacuum but for one corner."""
    image = np.ones_like(scan.object_truth)
    side = len(image) // 2
    image[:side, :side] = scan.object_truth[:side, :side]
    return simulate_scan(image, scan.probe, scan.positions, photons=3e4, seed=1)


def _counts(scan: Scan, change: Callable[[np.ndarray], np.ndarray]) -> Scan:
    return replace(scan, diffraction=change(np.asarray(scan.diffraction).astype(np.int64)))


def _background(scan: Scan, share: float) -> Scan:
    level = share * float(scan.counts_per_frame().mean()) / scan.N**2
    return _counts(scan, lambda f: f + np.random.default_rng(0).poisson(level, f.shape))


def _moved(scan: Scan, by: float) -> Scan:
    shift = np.random.default_rng(0).normal(0, by, scan.positions.shape)
    return replace(scan, positions=scan.positions + shift)


def _uneven(scan: Scan, by: float) -> Scan:
    factor = np.random.default_rng(0).uniform(1 - by, 1, (scan.n_frames, 1, 1))
    return _counts(scan, lambda f: np.random.default_rng(1).binomial(f, factor))


def _stopped(scan: Scan) -> Scan:
    stop = np.hypot(*(np.indices((scan.N, scan.N)) - scan.N // 2)) < 3
    return replace(_counts(scan, lambda f: np.where(stop, 0, f)), bad_pixels=stop)


Change = Callable[[Scan], Scan]


def _turned(scan: Scan, degrees: float) -> Scan:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    middle = scan.positions.mean(axis=0)
    return replace(scan, positions=(scan.positions - middle) @ np.array([[c, s], [-s, c]]) + middle)


def _rows_backwards(scan: Scan) -> Scan:
    """Every second row read in the wrong direction."""
    side = round(scan.n_frames**0.5)
    order = np.arange(side**2).reshape(side, side)
    order[1::2] = order[1::2, ::-1]
    return replace(scan, positions=scan.positions[order.ravel()])


def _other_probe(scan: Scan, probe: np.ndarray) -> Scan:
    return replace(scan, probe=probe.astype(np.complex64))


def _scaled(scan: Scan, factor: float) -> Scan:
    middle = scan.positions.mean(axis=0)
    return replace(scan, positions=(scan.positions - middle) * factor + middle)


def _delayed(scan: Scan, share: float) -> Scan:
    """Positions that lag behind by a share of a step."""
    later = np.roll(scan.positions, -1, axis=0)
    later[-1] = scan.positions[-1]
    return replace(scan, positions=scan.positions * (1 - share) + later * share)


def _jumped(scan: Scan, *by: float, at: float = 0.5) -> Scan:
    """All frames after a share of the scan lie elsewhere than stated."""
    later = np.arange(scan.n_frames)[:, None] >= at * scan.n_frames
    return replace(scan, positions=scan.positions + np.where(later, by, 0.0))


def _drifted(scan: Scan, *by: float, power: float = 1.0) -> Scan:
    share = np.linspace(0, 1, scan.n_frames)[:, None] ** power
    return replace(scan, positions=scan.positions + share * by)


def _sheared(scan: Scan, by: float) -> Scan:
    middle = scan.positions.mean(axis=0)
    return replace(scan, positions=(scan.positions - middle) @ np.array([[1, by], [0, 1]]) + middle)


def _shifted(scan: Scan, *by: int) -> Scan:
    return _counts(scan, lambda f: np.roll(f, by, axis=(1, 2)))


def _hot(scan: Scan, count: int) -> Scan:
    where = np.random.default_rng(3).integers(0, scan.N, (2, count))

    def change(frames: np.ndarray) -> np.ndarray:
        frames[:, where[0], where[1]] = 30 * frames.max()
        return frames

    return _counts(scan, change)


def _half_elsewhere(scan: Scan) -> Scan:
    """Half of the frames were taken of another part of the sample."""
    other = made(scene="lines", seed=199)
    frames = np.asarray(scan.diffraction).astype(np.int64)
    frames[1::2] = np.asarray(other.diffraction)[1::2]
    return replace(scan, diffraction=frames)


WRONG: dict[str, Change] = {
    "scan turned by 90 degrees": lambda s: _turned(s, 90),
    "scan turned by 25 degrees": lambda s: _turned(s, 25),
    "every second row backwards": _rows_backwards,
    "frames in reverse order": lambda s: replace(s, positions=s.positions[::-1].copy()),
    "off by two frames": lambda s: replace(s, positions=np.roll(s.positions, 2, axis=0)),
    "off by one frame": lambda s: replace(s, positions=np.roll(s.positions, 1, axis=0)),
    "positions lag by 80 % of a step": lambda s: _delayed(s, 0.8),
    "positions 1.3 times": lambda s: _scaled(s, 1.3),
    "positions 0.7 times": lambda s: _scaled(s, 0.7),
    "positions off by 4 px": lambda s: _moved(s, 4.0),
    "frames turned by 90 degrees": lambda s: _counts(s, lambda f: np.rot90(f, axes=(1, 2))),
    "frames off centre by 6 px": lambda s: _shifted(s, 6, -5),
    "frames in corner order": lambda s: _counts(s, lambda f: np.fft.ifftshift(f, axes=(1, 2))),
    "probe of another defocus": lambda s: _other_probe(s, zone_plate(s.N, defocus=-60.0)),
    "probe of half the width": lambda s: _other_probe(s, zone_plate(s.N, outer=0.4, inner=0.16, defocus=8.0)),
    "probe in corner order": lambda s: _other_probe(s, np.fft.ifftshift(s.probe, axes=(1, 2))),
    "background of 200 %": lambda s: _background(s, 2.0),
    "thirty hot pixels": lambda s: _hot(s, 30),
    "half of the frames of another sample": _half_elsewhere,
    "counts modulo 64": lambda s: _counts(s, lambda f: f % 64),
    "positions 1.1 times": lambda s: _scaled(s, 1.1),
    "positions 0.92 times": lambda s: _scaled(s, 0.92),
    "positions jump by 2 px": lambda s: _jumped(s, 0, 2),
    "positions jump by 4 px": lambda s: _jumped(s, 3, 3),
    "positions jump by 8 px": lambda s: _jumped(s, -3, 7),
    "positions jump by 6 px, late": lambda s: _jumped(s, 0, 6, at=0.8),
    "positions drift by 4 px": lambda s: _drifted(s, 0, 4),
    "positions drift by 8 px": lambda s: _drifted(s, 6, -6),
    "positions drift by 12 px, later faster": lambda s: _drifted(s, 0, 12, power=2),
    "scan sheared by 0.1": lambda s: _sheared(s, 0.1),
    "scan turned by 8 degrees": lambda s: _turned(s, 8),
    "divided by the largest count, turned by 90 degrees": lambda s: _turned(s.scaled(1e-4), 90),
    "divided by the largest count, off by one frame": lambda s: replace(
        s.scaled(1e-4), positions=np.roll(s.positions, 1, axis=0)
    ),
}


def wrong() -> Iterator[Run]:
    """Each fault on two scans, of many and of few counts."""
    for base, scene, photons, smooth in (
        ("", "lines", 1e5, 0.0),
        (", 800 counts", "random_field", 800, 0.02),
    ):
        for name, change in WRONG.items():
            make = lambda c=change, s=scene, p=photons: c(made(scene=s, photons=p, seed=150))  # noqa: E731
            yield name + base, make, {"smoothness": smooth}


def main() -> None:
    """Make what is not in the record yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--series", type=int, default=1, choices=(1, 2))
    args = parser.parse_args()
    if args.series == 2:
        USUAL.update(OTHER)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    done = {(row["kind"], row["name"]) for row in rows}
    for kind, runs in (("right", right()), ("wrong", wrong())):
        for name, make, settings in runs:
            if (kind, name) in done:
                continue
            start = time.process_time()
            rows.append(measured(kind, name, make(), settings) | {"seconds": time.process_time() - start})
            args.out.write_text(json.dumps(rows, indent=1) + "\n")
            print(json.dumps(rows[-1]), flush=True)


if __name__ == "__main__":
    main()
