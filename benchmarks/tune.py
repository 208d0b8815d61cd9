"""What ``tune`` finds for scans with faults and without, and what it does to the error against the truth.

    python benchmarks/tune.py --output benchmarks/results/tune.json

Every scan is refined with the defaults, with what `tune` finds within the budget, and with the settings that
are known to answer its fault: without one, the best of a few weights of smoothness. All are compared with the
truth.
Seconds of the budget are those of the processor, on one thread, so that other work on the machine does not
count. What the record holds already is kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from bench_record import error_of, write_record

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.refine import refine
from ptycho_torch.trials import tune

BUDGET_S = 60.0
WEIGHTS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
"""Of smoothness, among which the best by the truth is known for scans without another fault."""
SMOOTH = ({}, *({"smoothness": weight} for weight in WEIGHTS))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A scan of the natural scene, and settings that answer its fault."""

    faults: Faults = field(default_factory=Faults)
    scan: Mapping[str, Any] = field(default_factory=dict)
    blur: float = 0.0
    known: tuple[Mapping[str, Any], ...] = ({},)

    def make(self, size: Mapping[str, Any]) -> Scan:
        """The scan, of whose probe the first mode is stated, blurred by a Gaussian of ``blur`` px."""
        scan = simulate_scene(
            **{"scene": "natural", "photons": 1e5, "seed": 5, **size, **self.scan}, faults=self.faults
        )
        probe = scan.probe[:1]
        if self.blur:
            from scipy.ndimage import gaussian_filter

            blurred = gaussian_filter(probe.real, (0, self.blur, self.blur)) + 1j * gaussian_filter(
                probe.imag, (0, self.blur, self.blur)
            )
            probe = blurred.astype(probe.dtype)
        return replace(scan, probe=probe)


CASES = {
    "clean": Case(known=SMOOTH),
    "dose, 20 % rms": Case(faults=Faults(dose_rms=0.2), known=({"refine_dose": True},)),
    "background, 2 counts": Case(faults=Faults(background=2.0), known=({"refine_background": "smooth"},)),
    "probe blurred by 2 px": Case(blur=2.0, known=({"refine_probe": True},)),
    "few counts, lines": Case(
        scan={"scene": "lines", "photons": 500},
        known=SMOOTH,
    ),
    "positions, 1.5 px rms": Case(faults=Faults(position_error_px=1.5), known=({"refine_positions": True},)),
    "two modes, one stated": Case(
        scan={"mode_powers": (0.7, 0.3)}, known=({"refine_probe": True, "probe_modes": 2},)
    ),
    "clean, 10⁶ photons": Case(scan={"photons": 1e6, "seed": 6}, known=SMOOTH),
    "clean, lines, 10⁴ photons": Case(scan={"scene": "lines", "photons": 1e4, "seed": 7}, known=SMOOTH),
}


def row_of(case: Case, size: Mapping[str, Any], *, budget_s: float, trials: int | None) -> dict[str, Any]:
    """What was found, and the errors of the whole scan."""
    scan = case.make(size)
    began = time.process_time()
    tuning = tune(scan, budget_s=budget_s, trials=trials, clock=time.process_time)
    seconds = time.process_time() - began
    plain = error_of(scan, refine(scan).object)
    known = {
        json.dumps(one): error_of(scan, refine(scan, **one).object) if one else plain for one in case.known
    }
    best = min(known, key=known.__getitem__)
    states = [trial.state for trial in tuning.trials]
    return {
        "flags": tuning.flags,
        "gain": None if tuning.gain is None else tuning.gain.share,
        "plain": plain,
        "tuned": error_of(scan, refine(scan, **tuning.settings).object) if tuning.settings else plain,
        "known": known[best],
        "known_settings": json.loads(best),
        "ended": tuning.ended,
        "trials": {state: states.count(state) for state in sorted(set(states))},
        "processor_s": seconds,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two tiny scans, to see that everything runs")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    side = 6 if quick else 10
    size: dict[str, Any] = {"N": 32, "grid": (side, side), "step_px": 4.0, "jitter_px": 1.0}
    kept = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    found: dict[str, Any] = dict(kept.get("cases", {}))
    for name, case in list(CASES.items())[: 2 if quick else None]:
        if name not in found:
            found[name] = row_of(case, size, budget_s=BUDGET_S, trials=4 if quick else None)
            print(name, json.dumps(found[name]), flush=True)
            write_record(arguments.output, {"size": size, "budget_s": BUDGET_S, "cases": found})


if __name__ == "__main__":
    main()
