"""What a fault of the experiment costs, what of it fitting gets back, and what fitting costs without it.

    python benchmarks/unknowns.py --output benchmarks/results/unknowns.json

Every scan is simulated twice from the same seeds, with the fault and without it, and refined with the unknown
and without it: four runs. The last case has all faults at once. Beside a background that is fitted, the error
with the true one given is recorded.
``--only`` takes some of the cases and keeps what the record holds of the others.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from bench_record import error_of, write_record

from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.refine import refine

SCENES = ("lines", "natural", "random_field")
SEED = 11


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault, and the settings that fit it."""

    faults: Faults
    settings: dict[str, Any]
    others: dict[str, Any] = field(default_factory=dict)
    photons: tuple[float, ...] = (1e4, 1e6)
    epochs: int = 200
    scan: dict[str, Any] = field(default_factory=dict)


STRETCHED = {"scan_stretch_y": 0.03, "scan_stretch_x": 0.03, "scan_rotation_deg": 1.0}
LARGER = {"N": 64, "grid": (12, 12), "step_px": 8.0, "jitter_px": 1.5}

CASES = {
    "dose, 20 % rms": Case(faults=Faults(dose_rms=0.2), settings={"refine_dose": True}),
    "dose, fading by 57 %": Case(faults=Faults(dose_fading=0.57), settings={"refine_dose": True}),
    **{
        f"background, {likelihood}": Case(
            faults=Faults(background=2.0),
            settings={"refine_background": "smooth"},
            others={"likelihood": likelihood},
            photons=(1e5, 1e6),
            epochs=60,
        )
        for likelihood in ("poisson", "amplitude")
    },
    **{
        f"probe, {likelihood}": Case(
            faults=Faults(probe_drift=0.5),
            settings={"probe_variation": 2},
            others={"likelihood": likelihood, "refine_probe": True},
            epochs=120,
        )
        for likelihood in ("poisson", "amplitude")
    },
    **{
        f"probe, weights {name}": Case(
            faults=Faults(probe_drift=0.5),
            settings={"probe_variation": 2, "probe_variation_smooth": smooth},
            others={"refine_probe": True},
            photons=(1e3,),
            epochs=120,
        )
        for name, smooth in (("free", 0.0), ("smoothed", 10.0))
    },
    "dose beside a fitted probe": Case(
        faults=Faults(dose_rms=0.2),
        settings={"refine_dose": True},
        others={"likelihood": "amplitude", "refine_probe": True},
        photons=(1e6,),
        epochs=60,
        scan=LARGER,
    ),
    "a probe that drifts, positions 1 px beside": Case(
        faults=Faults(probe_drift=0.5, position_error_px=1.0),
        settings={"probe_variation": 2, "refine_positions": True},
        others={"refine_probe": True},
        photons=(1e6,),
        epochs=120,
    ),
    "geometry, 3 % and 1 degree": Case(
        faults=Faults(**STRETCHED),
        settings={"refine_geometry": True},
        photons=(1e6,),
        epochs=60,
        scan=LARGER,
    ),
    "drift, 5 px rms": Case(
        faults=Faults(drift_px=5.0),
        settings={"refine_drift": True},
        photons=(1e6,),
        epochs=60,
        scan=LARGER,
    ),
}


EVERYTHING = Case(
    faults=Faults(dose_rms=0.2, background=2.0, probe_drift=0.5, position_error_px=4.0, **STRETCHED),
    settings={
        "refine_dose": True,
        "refine_background": "smooth",
        "refine_geometry": True,
        "refine_positions": True,
        "position_search_px": 12.0,
        "refine_probe": True,
        "probe_variation": 2,
    },
    # What the background hides is noise to everything else: amplitudes and a little smoothness lose less.
    others={"likelihood": "amplitude", "smoothness": 0.003},
    photons=(1e6,),
    epochs=60,
    scan={**LARGER, "mode_powers": (0.8, 0.2)},
)
CASES["everything at once, two modes"] = EVERYTHING


def judged(clean: float, fitted_clean: float, faulty: float, fitted: float) -> dict[str, float]:
    """The four errors, the share of the loss that fitting gets back, and what it costs on a clean scan."""
    return {
        "clean": clean,
        "fitted_clean": fitted_clean,
        "faulty": faulty,
        "fitted": fitted,
        "regained": (faulty - fitted) / (faulty - clean),
        "cost": fitted_clean / clean - 1,
    }


def four_runs(case: Case, scene: str, photons: float, size: dict[str, Any]) -> dict[str, float]:
    """Errors of one case; all runs have the same number of epochs."""
    epochs = min(case.epochs, size["epochs"])
    errors: list[float] = []
    seconds: list[float] = []
    for faults in (Faults(), case.faults):
        sizes = size["scan"] if size["is_quick"] else {**size["scan"], **case.scan}
        scan = simulate_scene(scene, photons=photons, seed=SEED, faults=faults, **sizes)
        for settings in ({}, case.settings):
            began = time.process_time()
            result = refine(scan, epochs=epochs, **case.others, **settings)
            seconds.append((time.process_time() - began) / result.n_epochs)
            errors.append(error_of(scan, result.object))
    row = {**judged(*errors), "epoch_ratio": (seconds[1] + seconds[3]) / (seconds[0] + seconds[2])}
    if set(case.settings) == {"refine_background"}:
        known = refine(scan, epochs=epochs, dark=case.faults.dark_frame(scan.N), **case.others)
        row["known"] = error_of(scan, known.object)
        row["regained_of_known"] = (row["faulty"] - row["fitted"]) / (row["faulty"] - row["known"])
    return row


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--quick", action="store_true", help="one tiny scan, to see that everything runs")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    side, epochs, scenes = (6, 4, SCENES[:1]) if arguments.quick else (12, 200, SCENES)
    size = {"scan": {"N": 32, "grid": (side, side), "step_px": 4.0, "jitter_px": 1.0}, "epochs": epochs}
    size["is_quick"] = arguments.quick
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    cases: dict[str, dict[str, Any]] = record.get("cases", {})
    for name in arguments.only:
        rows = cases[name] = {}
        for scene in scenes:
            for photons in CASES[name].photons[: 1 if arguments.quick else None]:
                row = rows[f"{scene}, {photons:g} photons"] = four_runs(CASES[name], scene, photons, size)
                shown = {key: round(value, 4) for key, value in row.items()}
                print(name, scene, f"{photons:g}", shown, flush=True)
        write_record(arguments.output, {"size": size, "cases": cases})


if __name__ == "__main__":
    main()
