"""Let every command that writes work on disks that are too small for it, and again when there is room.

The disk is a file system in memory of its own (tmpfs), which root can mount. How much a command needs at most
is measured on a disk with room enough; the sizes are from nothing to all of that.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from look import broken_files, leftovers
from material import CPU, SCANS, make_material, training_of
from warm import command, copy_of, enlarge_disk, run, small_disk

__all__ = ["LEVELS", "cases", "prepare", "run_case", "summary"]

LEVELS = 10
_ROOM = 64 << 20
_LOOK_EVERY_S = 0.002


def commands(material: Path, disk: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Name -> command, and how it is done again once there is room."""
    scan, to = str(material / SCANS["npz"]), ["--output-dir", str(disk / "out")]
    model = str(material / "model")
    train = training_of(material / SCANS["npz"], disk / "out", epochs=2)
    found = {
        "train": train,
        "infer": ["infer", "--model-path", model, "--test-data", scan, *to, *CPU],
        "refine": ["refine", "--data", scan, "--refine-epochs", "2", *to, *CPU],
        "evaluate": ["evaluate", str(material / "result" / "reconstruction.npz"), scan, *to],
        "inspect --plot": ["inspect", scan, "--plot", str(disk / "scan.png")],
    }
    for kind, name in SCANS.items():
        source = str(material / SCANS["cxi" if kind == "npz" else "npz"])
        found[f"convert {kind}"] = ["convert", source, str(disk / name), "--format", kind]
        scene = ["--N", "32", "--grid", "12,12", "--format", kind]
        found[f"simulate {kind}"] = ["simulate", "--output", str(disk / name), *scene]
    again = {name: (words, [*words, "--overwrite"]) for name, words in found.items()}
    again["train --overwrite"] = ([*train, "--overwrite"],) * 2
    again["train --resume"] = ([*train, "--resume", "--nepochs", "4"],) * 2
    again["infer --overwrite"] = ([*found["infer"], "--overwrite"],) * 2
    return again


def cases(levels: int) -> Iterator[tuple[str, int]]:
    """Command and level of every case."""
    names = commands(Path(), Path())
    for level in range(levels):
        for name in names:
            yield name, level


class Prepared:
    """What each command needs."""

    def __init__(self, work: Path) -> None:
        self.material, self.disk, self.before = work / "material", work / "disk", work / "before"
        make_material(self.material)
        self.disk.mkdir(exist_ok=True)
        self.commands = commands(self.material, self.disk)
        self.needs: dict[str, tuple[int, int]] = {}

    def older(self, name: str) -> Path | None:
        """Results that are on the disk before: of the command without its last word."""
        if name not in ("train --overwrite", "train --resume", "infer --overwrite"):
            return None
        kept = self.before / name
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            _require(self.commands[name.split()[0]][0])
            shutil.move(self.disk / "out", kept)
        return kept

    def need(self, name: str) -> tuple[int, int]:
        """Bytes on the disk before, and at most while the command works."""
        if name not in self.needs:
            older = self.older(name)
            with small_disk(self.disk, _ROOM):
                if older is not None:
                    copy_of(older, self.disk / "out")
                first = _used(self.disk)
                watch = _Highest(self.disk)
                with watch:
                    _require(self.commands[name][0])
            self.needs[name] = (first, watch.highest)
        return self.needs[name]


class _Highest:
    """The most that was used of a disk while a block ran."""

    def __init__(self, disk: Path) -> None:
        self.disk, self.highest, self._over = disk, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._over.is_set():
            self.highest = max(self.highest, _used(self.disk))
            time.sleep(_LOOK_EVERY_S)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.highest = max(self.highest, _used(self.disk))


def _used(disk: Path) -> int:
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _require(words: list[str]) -> None:
    ended = run(command(words))
    if ended.answer != 0:
        raise SystemExit(f"{' '.join(words)}\n{ended.said}")


def prepare() -> Prepared:
    """Make the material."""
    return Prepared(Path(tempfile.gettempdir()))


def run_case(prepared: Prepared, name: str, level: int, seed: int) -> dict[str, Any]:
    """Fill the disk, work, look, make room, work again, look."""
    first, most = prepared.need(name)
    words, again = prepared.commands[name]
    older = prepared.older(name)
    room = first + 4096 + (most - first) * level // LEVELS
    faults: list[str] = []
    with small_disk(prepared.disk, room):
        if older is not None:
            copy_of(older, prepared.disk / "out")
        ended = run(command(words))
        faults += _faults_of(ended.code, ended.answer, ended.said)
        faults += [f"broken: {text}" for text in broken_files(prepared.disk)]
        faults += [f"left: {text}" for text in leftovers(prepared.disk) if text.endswith((".tmp", ".lock"))]
        main = {"train": "wts.h5.zip", "infer": "reconstruction.npz"}.get(name.split()[0])
        if older is not None and main and not (prepared.disk / "out" / main).exists():
            faults.append(f"lost: {main}")
        enlarge_disk(prepared.disk, _ROOM)
        resumes = name == "train" and (prepared.disk / "out" / "resolved_config.json").exists()
        second = run(command([*words, "--resume"] if resumes else again))
        if second.answer != 0:
            faults.append(f"again: {second.said[-500:]}")
        faults += [f"broken in the end: {text}" for text in broken_files(prepared.disk)]
        faults += [f"left in the end: {text}" for text in leftovers(prepared.disk)]
    return {
        "room_bytes": room,
        "refused": ended.answer != 0,
        "said": ended.said.strip().splitlines()[-1:] if ended.answer != 0 else [],
        "faults": faults,
    }


def _faults_of(code: int, answer: Any, said: str) -> list[str]:
    if code < 0:
        return [f"died with signal {-code}: {said[-300:]}"]
    if answer is None:
        return [f"an exception: {said[-600:]}"]
    if answer == 0:
        return []
    faults = []
    if "Traceback" in said:
        faults.append(f"a traceback: {said[-600:]}")
    last = "\n".join(said.strip().splitlines()[-3:])
    if "MB" not in last or "free" not in last:
        faults.append(f"does not say what was needed and free: {last[-400:]}")
    return faults


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of all cases, by command."""
    found: dict[str, Any] = {}
    for name in commands(Path(), Path()):
        mine = [row for row in rows if row["case"][0] == name]
        found[name] = {
            "disks": len(mine),
            "refused": sum(row["refused"] for row in mine),
            "died": sum(text.startswith("died") for row in mine for text in row["faults"]),
            "faults": sum(len(row["faults"]) for row in mine),
        }
    return found
