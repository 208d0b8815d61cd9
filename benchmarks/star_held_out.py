"""The measured star: forward residual of frames that were held out, of ours and of the reference's object.

    python benchmarks/star_held_out.py --output star_held_out.json

Every eighth frame is held out, the others are refined from a flat start with a probe of several modes. The
reference had seen all frames. Residuals scale each frame to its measured total (`per_frame_dose=True`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from bench_record import write_record

from ptycho_torch.data.formats.npz import load_scan
from ptycho_torch.metrics import compare
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import forward_residual, refine

DATA = Path(__file__).resolve().parents[1] / "data"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--modes", type=int, default=3)
    parser.add_argument("--offset", type=int, default=0, help="first frame that is held out")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    scan = load_scan(DATA / "siemens_star_128.npz")
    with np.load(DATA / "siemens_star_reference.npz") as archive:
        known, origin = archive["object"], archive["origin"]
    reference = StitchedObject(object=known, weight=np.ones(known.shape, np.float32), origin=origin)
    held = np.arange(scan.n_frames) % 8 == arguments.offset
    unseen, seen = scan.take(np.flatnonzero(held)), scan.take(np.flatnonzero(~held))
    cpu = time.process_time()
    found = refine(
        seen,
        epochs=arguments.epochs,
        refine_probe=True,
        probe_modes=arguments.modes,
        likelihood="amplitude",
    )
    row = {
        "epochs": arguments.epochs,
        "modes": arguments.modes,
        "offset": arguments.offset,
        "cpu_s": time.process_time() - cpu,
        "held_out": forward_residual(unseen, found.object, found.probe, per_frame_dose=True),
        "held_out_reference": forward_residual(unseen, reference, per_frame_dose=True),
        "phase_correlation": compare(
            found.object.object,
            known,
            weight=found.object.weight,
            origin=found.object.origin,
            truth_origin=origin,
            frc=False,
        ).scores.phase_correlation,
    }
    print(row)
    write_record(arguments.output, row)


if __name__ == "__main__":
    main()
