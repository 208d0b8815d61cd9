"""What ``inspect --deep`` advises for scans with faults and without, and what the advice does to the error.

    python benchmarks/advice.py --output benchmarks/results/advice.json

Every scan is refined as a plain one and with the flags that are advised; both are compared with the truth.
Scans without a fault differ in scene, seed and photons: any advice there is a
false one. What the record holds already is kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_record import error_of, write_record

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.refine import refine
from ptycho_torch.trials import try_unknowns

SCENES = ("lines", "natural", "random_field")
CLEAN = {1: (1e3, 1e6), 2: (1e4, 1e9)}
"""Photons per frame by seed."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault, and which unknowns may answer it."""

    faults: Faults = field(default_factory=Faults)
    answers: tuple[frozenset[str], ...]
    scan: dict[str, Any] = field(default_factory=dict)


DOSE, BACKGROUND, POSITIONS = "refine_dose", "refine_background", "refine_positions"
CASES = {
    "dose, 20 % rms": Case(faults=Faults(dose_rms=0.2), answers=(frozenset({DOSE}),)),
    "background, 2 counts": Case(faults=Faults(background=2.0), answers=(frozenset({BACKGROUND}),)),
    "positions, 1.5 px rms": Case(faults=Faults(position_error_px=1.5), answers=(frozenset({POSITIONS}),)),
    "two modes, one stated": Case(
        answers=(frozenset({"refine_probe", "probe_modes"}),), scan={"mode_powers": (0.7, 0.3)}
    ),
    "geometry, 3 % and 1 degree": Case(
        faults=Faults(scan_stretch_y=0.03, scan_stretch_x=0.03, scan_rotation_deg=1.0),
        answers=(frozenset({"refine_geometry"}),),
    ),
    "drift, 4 px rms": Case(faults=Faults(drift_px=4.0), answers=(frozenset({"refine_drift"}),)),
    "probe that drifts, 0.5 rad": Case(
        faults=Faults(probe_drift=0.5), answers=(frozenset({"refine_probe", "probe_variation"}),)
    ),
    "dose and positions": Case(
        faults=Faults(dose_rms=0.2, position_error_px=1.5), answers=(frozenset({DOSE, POSITIONS}),)
    ),
}


def row_of(scan: Scan, answers: tuple[frozenset[str], ...]) -> dict[str, Any]:
    """Advice, whether it holds what answers the fault, and the errors."""
    began = time.process_time()
    trial = try_unknowns(scan)
    seconds = time.process_time() - began
    plain = error_of(scan, refine(scan).object)
    return {
        "flags": trial.flags,
        "gain": trial.gain,
        "answers": any(wanted <= set(trial.settings) for wanted in answers),
        "plain": plain,
        "advised": error_of(scan, refine(scan, **trial.settings).object) if trial.settings else plain,
        "processor_s": seconds,
        "unknowns": {one.name: one.gain for one in trial.candidates},
    }


def cases(size: dict[str, Any]) -> Iterator[tuple[str, str, Callable[[], Scan], tuple[frozenset[str], ...]]]:
    """Kind, name, what makes the scan, and what answers its fault."""
    for seed, doses in CLEAN.items():
        for scene, photons in itertools.product(SCENES, doses):
            make = partial(simulate_scene, scene, photons=photons, seed=seed, **size)
            yield "clean", f"{scene}, {photons:.0e} photons, seed {seed}", make, ()
    for name, case in CASES.items():
        yield "faults", name, partial(faulty, case, size), case.answers


def faulty(case: Case, size: dict[str, Any]) -> Scan:
    """A scan with a fault, of whose modes the first is stated."""
    scan = simulate_scene("natural", photons=1e5, seed=4, faults=case.faults, **size, **case.scan)
    return replace(scan, probe=scan.probe[:1])


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two tiny scans, to see that everything runs")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    side = 6 if arguments.quick else 10
    size: dict[str, Any] = {"N": 32, "grid": (side, side), "step_px": 4.0, "jitter_px": 1.0}
    kept = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    found: dict[str, Any] = {kind: kept.get(kind, {}) for kind in ("clean", "faults")}
    for kind, name, scan, answers in list(cases(size))[:: 12 if arguments.quick else 1]:
        if name not in found[kind]:
            found[kind][name] = row_of(scan(), answers)
            print(name, json.dumps(found[kind][name]), flush=True)
            write_record(arguments.output, {"size": size, **found})


if __name__ == "__main__":
    main()
