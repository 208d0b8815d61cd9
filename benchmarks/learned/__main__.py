"""Whether something learned, between the passes of `refine` or at its end, gains over `refine` alone.

python benchmarks/learned train coarse --seed 1 --minutes 3 --output coarse_1.pt
python benchmarks/learned measure *_1.pt *_2.pt *_3.pt --output benchmarks/results/learned.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))


def main() -> None:
    from measure import measure
    from others import low_dose, others, star
    from tables import show
    from training import KINDS_OF_STAGE, train

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train")
    one.add_argument("stage", choices=KINDS_OF_STAGE)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--minutes", type=float, default=3.0, help="of processor time")
    one.add_argument("--output", type=Path, required=True)
    one.set_defaults(run=train)
    for name, task in (("measure", measure), ("low-dose", low_dose), ("star", star), ("others", others)):
        two = commands.add_parser(name, help=(task.__doc__ or "").splitlines()[0])
        two.add_argument("weights", type=Path, nargs="*" if name == "others" else "+")
        if name == "others":
            two.add_argument("--ptychi-python", help="interpreter that has Pty-Chi")
        two.add_argument("--quick", action="store_true", help="one tiny scan, to see that everything runs")
        two.add_argument("--output", type=Path, required=True, help="record that is added to")
        two.set_defaults(run=task)
    three = commands.add_parser("tables", help="print the tables of a record")
    three.add_argument("record", type=Path)
    three.set_defaults(run=show)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.run(arguments)


if __name__ == "__main__":
    main()
