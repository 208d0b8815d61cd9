"""Right and wrong refinements, and what the verdict says of each.

Every run is a scan with known truth, right or with one thing wrong, refined as `ptycho-torch refine` does.
A run is to be questioned where its error is above 0.9 of that of an empty object; a right one below that is
not. Run in pieces, each appends to the record:

    python benchmarks/verdict.py --out benchmarks/results/verdict.json --part 0/4
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptycho_config import RefineConfig
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scan
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.metrics import compare
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import refine
from ptycho_torch.refine.held_out import judge

EPOCHS = 40


def _smooth(side: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    k = np.fft.fftfreq(side)
    low = np.exp(-2 * (np.pi * sigma) ** 2 * (k[:, None] ** 2 + k[None] ** 2))
    values = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * low).real
    return values / values.std()


def _probe(size: int, radius: float = 0.15, defocus: float = 40.0) -> np.ndarray:
    k = np.fft.fftfreq(size)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    phase = np.exp(1j * np.pi * defocus * (1.3 * kx**2 + 0.8 * ky**2 + 0.3 * kx * ky))
    probe = np.fft.fftshift(np.fft.ifft2((np.hypot(ky, kx) < radius) * phase))
    return (probe / np.linalg.norm(probe))[None]


def made(
    *,
    size: int = 64,
    grid: int = 11,
    step: float = 6.0,
    photons: float = 1e5,
    phase: float = 0.35,
    absorb: float = 0.06,
    seed: int = 0,
    bars: bool = False,
) -> Scan:
    """A scan with its truth."""
    rng = np.random.default_rng(seed)
    positions = np.indices((grid, grid)).reshape(2, -1).T * step + rng.uniform(-1.5, 1.5, (grid**2, 2))
    positions += size // 2 + 4 - positions.min(axis=0)
    side = int(positions.max()) + size // 2 + 6
    image = np.exp(1j * phase * _smooth(side, 3, rng) - absorb * np.abs(_smooth(side, 2.5, rng)))
    if bars:
        lines = (np.arange(side) // 6) % 2
        image = np.exp(1j * 0.8 * np.add.outer(lines, lines)) * (1 - 0.2 * lines)
    return simulate_scan(image.astype(np.complex64), _probe(size), positions, photons=photons, seed=seed)


def right() -> Iterator[tuple[str, Scan, dict[str, Any]]]:
    """Right runs."""
    for photons in (50, 500, 5e3, 1e5, 1e7):
        for smoothness in (0.0, 0.03) if photons < 1e4 else (0.0,):
            name = f"{photons:g} counts, smoothness {smoothness:g}"
            yield name, made(photons=photons, seed=1), {"smoothness": smoothness}
    yield "50 counts, smoothness 0.3", made(photons=50, seed=1), {"smoothness": 0.3}
    for photons in (500, 1e5, 1e7):
        yield f"vacuum, {photons:g} counts", made(phase=0, absorb=0, photons=photons), {}
        yield (
            f"strong phase, {photons:g} counts",
            made(phase=1.0, photons=photons),
            {"smoothness": 0.01 * (photons < 1e3)},
        )
    for size, grid, step in ((32, 9, 4.0), (48, 8, 5.0), (63, 8, 6.0), (100, 9, 5.0), (128, 9, 5.0)):
        yield f"{size} px", made(size=size, grid=grid, step=step), {}
    for step in (3.0, 8.0):
        yield f"step {step:g} px", made(step=step, grid=9), {}
    yield "bars", made(bars=True), {}
    yield "absorbing", made(phase=0.05, absorb=0.5), {}
    yield "weak", made(phase=0.1, absorb=0.02, photons=1e6), {}
    yield "few frames", made(grid=6), {}
    yield "amplitude likelihood", made(), {"likelihood": "amplitude"}
    yield "probe refined", made(seed=4), {"refine_probe": True}
    for seed in (5, 6, 7):
        yield f"seed {seed}", made(seed=seed), {}


Change = Callable[[Scan, np.random.Generator], Scan]


def _frames(scan: Scan, change: Callable[[np.ndarray], np.ndarray]) -> Scan:
    return replace(scan, diffraction=change(np.asarray(scan.diffraction).astype(np.int64).copy()))


def _set(where: Any, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(frames: np.ndarray) -> np.ndarray:
        frames[where] = value
        return frames

    return change


def _brighter(frames: np.ndarray) -> np.ndarray:
    frames[len(frames) // 2 :] *= 2
    return frames


def _mirrored(positions: np.ndarray, axis: int) -> np.ndarray:
    turned = positions.copy()
    turned[:, axis] = 2 * positions[:, axis].mean() - positions[:, axis]
    return turned


def wrong() -> Iterator[tuple[str, Change]]:
    """Changes that spoil a scan."""
    yield (
        "x negated",
        lambda s, r: replace(s, positions=s.positions * [1, -1] + [0, 2 * s.positions[:, 1].mean()]),
    )
    yield (
        "y negated",
        lambda s, r: replace(s, positions=s.positions * [-1, 1] + [2 * s.positions[:, 0].mean(), 0]),
    )
    yield "both negated", lambda s, r: replace(s, positions=2 * s.positions.mean(axis=0) - s.positions)
    yield "axes swapped", lambda s, r: replace(s, positions=s.positions[:, ::-1].copy())
    yield "frames transposed", lambda s, r: _frames(s, lambda f: f.transpose(0, 2, 1))
    yield "frames flipped", lambda s, r: _frames(s, lambda f: f[:, ::-1])
    yield "off by one frame", lambda s, r: replace(s, positions=np.roll(s.positions, 1, axis=0))
    yield "positions shuffled", lambda s, r: replace(s, positions=r.permutation(s.positions))
    yield "positions 1.5 times", lambda s, r: replace(s, positions=s.positions * 1.5)
    yield "positions halved", lambda s, r: replace(s, positions=s.positions * 0.5)
    yield "probe conjugated", lambda s, r: replace(s, probe=s.probe.conj())
    yield "probe real", lambda s, r: replace(s, probe=np.abs(s.probe).astype(np.complex64))
    yield "gap of zeros", lambda s, r: _frames(s, _set(np.s_[:, s.N // 2 - 2 : s.N // 2 + 2], 0))
    yield "gap of large values", lambda s, r: _frames(s, _set(np.s_[:, 18:22], 65535))
    yield "one enormous value", lambda s, r: _frames(s, _set(np.s_[40, 10, 20], 10**6))
    yield "clipped", lambda s, r: _frames(s, lambda f: np.minimum(f, max(2, f.max() // 50)))
    yield "wrapped", lambda s, r: _frames(s, lambda f: f % max(2, int(f.max()) // 3))
    yield (
        "background of 5 %",
        lambda s, r: _frames(s, lambda f: f + r.poisson(0.05 * f.sum((1, 2)).mean() / f[0].size, f.shape)),
    )
    yield (
        "doses of 30 to 100 %",
        lambda s, r: _frames(s, lambda f: r.binomial(f, r.uniform(0.3, 1, (len(f), 1, 1)))),
    )
    yield "twice the dose from the middle on", lambda s, r: _frames(s, _brighter)
    yield "probe transposed", lambda s, r: replace(s, probe=s.probe.transpose(0, 2, 1))
    yield "roots as counts", lambda s, r: _frames(s, lambda f: np.rint(np.sqrt(f)))
    yield "squares as counts", lambda s, r: _frames(s, lambda f: f**2)
    yield (
        "mask of the other polarity",
        lambda s, r: replace(
            _frames(s, _set((slice(None), np.hypot(*(np.indices((s.N, s.N)) - s.N // 2)) < s.N // 4), 0)),
            bad_pixels=np.hypot(*(np.indices((s.N, s.N)) - s.N // 2)) < s.N // 4,
        ),
    )


def runs() -> Iterator[tuple[str, str, Scan, dict[str, Any]]]:
    """All runs: kind, name, scan, settings. Faults are left in, as ``clean="off"`` leaves them."""
    for name, scan, settings in right():
        yield "right", name, scan, settings
    for base, arguments in (("", {"seed": 2}), (", 500 counts", {"photons": 500, "seed": 3})):
        for name, change in wrong():
            scan = made(**arguments)
            settings = {"smoothness": 0.03} if arguments.get("photons") else {}
            yield "wrong", name + base, change(scan, np.random.default_rng(0)), settings


def error_of(made_object: StitchedObject, truth: Scan) -> float | None:
    """Complex error of an object where it is well lit: by a tenth of what half of the light lies above.

    Rims that hardly any light reached hold noise of any size, which would decide alone.
    """
    weight = made_object.weight
    values = np.sort(weight, axis=None)[::-1].astype(np.float64)
    half = values[np.searchsorted(np.cumsum(values), 0.5 * values.sum())]
    for diameter in (probe_diameter(truth.probe), None):
        try:
            report = compare(
                made_object.object,
                truth.object_truth,
                weight=np.where(weight > 0.1 * half, weight, 0),
                origin=made_object.origin,
                truth_origin=truth.object_truth_origin,
                probe_diameter=diameter,
            )
        except ValueError:
            continue
        return float(report.scores.to_dict()["complex_nrmse"])
    return None


def measured(kind: str, name: str, scan: Scan, settings: dict[str, Any]) -> dict[str, Any]:
    """Refine, judge, and compare with the truth."""
    config = RefineConfig(refine_epochs=EPOCHS, **settings)
    result = refine(scan, config=config)
    found = judge(
        replace(scan, positions=result.positions),
        result.object,
        result.probe,
        config=config,
        sub_pixel=result.sub_pixel,
    )
    empty = replace(result.object, object=np.ones_like(result.object.object))
    errors = error_of(result.object, scan), error_of(empty, scan)
    row: dict[str, Any] = {"kind": kind, "name": name, "error": errors[0], "error_of_empty": errors[1]}
    return row | found.to_dict()


def main() -> None:
    """Run a part of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", default="0/1", help="which part of how many")
    args = parser.parse_args()
    number, count = (int(value) for value in args.part.split("/"))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    done = {(row["kind"], row["name"]) for row in rows}
    for place, run in enumerate(runs()):
        if place % count == number and run[:2] not in done:
            rows.append(measured(*run))
            print(json.dumps(rows[-1]), flush=True)
            args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
