"""Attack the commands: kills, damaged files, full disks; count what should not happen.

    nice -n 19 python benchmarks/resilience kills --count 50 --progress kills.jsonl --json kills.json
    nice -n 19 python benchmarks/resilience mutations --count 1500
    nice -n 19 python benchmarks/resilience disks --count 10

Every case is decided by the seed, its name and its number. Each is written to the file of progress when it is
done; the same command goes on with the others.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", MPLBACKEND="Agg")
sys.path.append(str(Path(__file__).resolve().parents[1]))

_COUNTS = {"kills": 50, "mutations": 1500, "disks": 10}


def main() -> int:
    """Run, print a table, write JSON; 1 if there was a fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=_COUNTS)
    parser.add_argument(
        "--count", type=int, help="kills of each command, mutations in all, sizes of the disk"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="name of a command or kind")
    parser.add_argument("--number", type=int, help="one case of it")
    parser.add_argument("--progress", type=Path, help="lines of JSON, one for each case that is done")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    # Thousands of small files are written, which a file system in memory does several times as fast.
    fast = Path("/dev/shm")
    root = Path(tempfile.mkdtemp(prefix="resilience-", dir=fast if os.access(fast, os.W_OK) else None))
    tempfile.tempdir = str(root)
    try:
        rows, found = _run(args)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    for name, counts in found.items():
        print(f"{name:22} {json.dumps(counts)}")
    for row in rows:
        for fault in row["faults"]:
            print(row["case"], row.get("mutation", row.get("moment", "")), fault)
    faults = sum(len(row["faults"]) for row in rows)
    print(f"{len(rows)} cases, {faults} faults")
    return int(bool(faults))


def _run(args: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from importlib import import_module

    from warm import warm_up

    warm_up()
    part = import_module(args.part)
    count = args.count or _COUNTS[args.part]
    rows = []
    if args.progress is not None and args.progress.exists():
        rows = [json.loads(line) for line in args.progress.read_text().splitlines()]
    done = {tuple(row["case"]) for row in rows}
    prepared = part.prepare()
    with contextlib.ExitStack() as stack:
        stream = None
        if args.progress is not None:
            stream = stack.enter_context(args.progress.open("a"))
        for case in part.cases(count):
            wanted = args.only in (None, case[0]) and args.number in (None, case[1])
            if case in done or not wanted:
                continue
            row = {"case": case, **part.run_case(prepared, *case, args.seed)}
            rows.append(row)
            if stream is not None:
                stream.write(json.dumps(row) + "\n")
                stream.flush()
    found = part.summary(rows)
    if args.json is not None:
        from bench_record import write_record

        faults = [[*row["case"], fault] for row in rows for fault in row["faults"]]
        write_record(args.json, {"seed": args.seed, "cases": len(rows), "counts": found, "faults": faults})
    return rows, found


if __name__ == "__main__":
    sys.exit(main())
