"""Damage files in many ways and watch what the packages do with them.

Every case takes one sound file, changes it in one way, and gives it to what reads such files: functions of
the packages, and one or two commands. They may succeed, or refuse with an error that the documentation names.
Anything else is a fault: another exception, a process that dies, more than 20 s of processor time or 2 GB of
memory, a payload that is executed, a file that is written or changed by a command that refuses.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from kinds import KINDS, Kind
from look import fingerprint
from material import make_material
from warm import MEMORY_BYTES, copy_of, run

__all__ = ["SECONDS", "cases", "judge", "prepare", "run_case", "summary"]

SECONDS = 20.0
"""Processor time that one reader or command may take."""

_WALL_S = 600.0


def cases(count: int) -> Iterator[tuple[str, int]]:
    """Kind and number of every case, ``count`` in all, shared out over the kinds."""
    whole = sum(kind.share for kind in KINDS.values())
    wanted = {name: max(1, round(kind.share * count / whole)) for name, kind in KINDS.items()}
    for number in range(max(wanted.values())):
        for name, most in wanted.items():
            if number < most:
                yield name, number


def prepare() -> Path:
    """Make the material; returns its folder."""
    material = Path(tempfile.gettempdir()) / "material"
    make_material(material)
    return material


def run_case(material: Path, name: str, number: int, seed: int) -> dict[str, Any]:
    """Damage a file, and let a fork of this process read it."""
    kind = KINDS[name]
    dice = random.Random(f"{seed} {name} {number}")
    mutation = kind.mutations[number % len(kind.mutations)]
    with tempfile.TemporaryDirectory() as temporary:
        place, trap = Path(temporary) / "case", Path(temporary) / "executed"
        place.mkdir()
        original = material / kind.original
        copy = copy_of(original, place / original.name)
        file = copy / kind.file if kind.file else copy
        damaged = run(lambda: _damage(file, mutation, dice, trap))
        if damaged.answer is None:
            return {"mutation": mutation.__name__, "answers": ["not damaged"], "faults": []}
        ended = run(lambda: judge(kind, material, place, file, number, trap), limited=True, wall_s=_WALL_S)
    faults, answers = ended.answer or ([], [])
    faults = list(faults)
    if ended.answer is None:
        faults.append(f"died with {ended.code} after {ended.wall_s:.0f} s: {ended.said[-600:]}")
    if ended.memory_bytes > MEMORY_BYTES:
        faults.append(f"took {ended.memory_bytes / 1e9:.1f} GB")
    if "written where it was started" in ended.said:
        faults.append(ended.said[-200:])
    return {
        "mutation": mutation.__name__,
        "answers": answers,
        "cpu_s": round(ended.cpu_s, 2),
        "memory_mb": round(ended.memory_bytes / 1e6),
        "faults": faults,
    }


def _damage(file: Path, mutation: Callable[..., bytes], dice: random.Random, trap: Path) -> bool:
    # In a fork, because the HDF5 library may fail badly on what it is asked to write.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file.write_bytes(mutation(file.read_bytes(), dice, trap))
    return True


def judge(
    kind: Kind, material: Path, place: Path, file: Path, number: int, trap: Path
) -> tuple[list[str], list[str]]:
    """What should not have happened, and what each reader and command answered."""
    faults: list[str] = []
    answers: list[str] = []
    before = fingerprint(place)
    for reader in kind.readers():
        answer, found = _watched(reader.__name__, partial(reader, file))
        answers.append(answer)
        faults += found
    if fingerprint(place) != before:
        faults.append("a reader wrote something")
    for words in kind.commands(material, place, file, number):
        before = fingerprint(place)
        answer, found = _watched(words[0], partial(_run_command, words))
        answers.append(answer)
        faults += found
        now = fingerprint(place)
        if "refused" in answer and now != before:
            changed = sorted(name for name in {*now, *before} if now.get(name) != before.get(name))
            faults.append(f"{words[0]} refused and changed {', '.join(changed[:5])}")
    if kind.compares:
        faults += _contradictions(answers)
    if trap.exists():
        faults.append("a payload was executed")
    return faults, answers


def _contradictions(answers: list[str]) -> list[str]:
    """A scan that `inspect` finds sound and another command refuses, and the reverse."""
    said = dict(answer.split(": ", 1) for answer in answers if ": " in answer)
    sound = said.pop("inspect", None)
    return [
        f"inspect {sound}, {name} {said[name]}"
        for name in ("infer", "refine")
        if name in said and sound is not None and ("refused" in said[name]) != ("refused" in sound)
    ]


class _Refused(Exception):
    """A command has ended with another code than 0, and said why."""


def _documented() -> tuple[type[BaseException], ...]:
    from ptycho_torch.errors import BundleError, ConfigError, DataError, ShapeError
    from ptycho_torch.workflows import TrainingFailed
    from ptycho_torch.workflows.runs.leaving import ResultsIncomplete
    from ptycho_torch_cli.console import UsageError

    named = (BundleError, ConfigError, DataError, ShapeError, FileNotFoundError, UsageError)
    # Of a refinement whose objective is no number any more.
    return (*named, TrainingFailed, FloatingPointError, ResultsIncomplete, _Refused)


def _watched(name: str, work: Callable[[], Any]) -> tuple[str, list[str]]:
    """``NAME: read`` or ``NAME: refused``, and what should not have happened."""
    answer, faults = "read", []
    started = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except _documented():
        answer = "refused"
    except BaseException as error:  # noqa: BLE001  whatever it is, it is what is looked for
        answer = "failed"
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.name} in {Path(where.filename).name}, line {where.lineno}"
        faults.append(f"{name}: {type(error).__name__}: {str(error)[:200]} ({place})")
    took = time.process_time() - started
    if took > SECONDS:
        faults.append(f"{name}: took {took:.0f} s")
    return f"{name}: {answer}", faults


def _run_command(words: list[str]) -> None:
    """Run a command; what it would have turned into a line and an exit code is raised here."""
    from ptycho_torch_cli.__main__ import main

    raised: list[BaseException | None] = []

    def seen() -> str:
        raised.append(sys.exception())
        return ""

    usual = traceback.format_exc
    traceback.format_exc = seen  # type: ignore[assignment]
    try:
        code = main(words)
    finally:
        traceback.format_exc = usual
    if raised and raised[-1] is not None:
        raise raised[-1]
    if code:
        raise _Refused(code)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of all cases, by kind."""
    found: dict[str, Any] = {}
    for name in KINDS:
        mine = [row for row in rows if row["case"][0] == name]
        answers = Counter(answer for row in mine for answer in row["answers"])
        found[name] = {
            "cases": len(mine),
            "refused": sum(any("refused" in answer for answer in row["answers"]) for row in mine),
            "answers": dict(sorted(answers.items())),
            "faults": sum(len(row["faults"]) for row in mine),
            "most_cpu_s": max((row.get("cpu_s", 0.0) for row in mine), default=0.0),
            "most_memory_mb": max((row.get("memory_mb", 0) for row in mine), default=0),
        }
    return found
