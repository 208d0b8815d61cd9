"""Kill commands at random moments, let another command follow, and look at what is there.

Half of the kills come after a random time, up to that of a whole run; the other half just before a random one
of the steps that the command takes on the disk, because most of the time of a run nothing happens there.
"""

from __future__ import annotations

import random
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from look import broken_files, leftovers
from material import CPU, SCANS, make_material, training_of
from warm import command, copy_of, counting_steps, killed_at_step, run

__all__ = ["COMMANDS", "cases", "run_case", "summary"]

COMMANDS = ("train", "infer", "refine", "convert", "simulate", "evaluate")
_LATER_S = 1.15
_SETTINGS = ("resolved_config.json", "incomplete-train/resolved_config.json")


@dataclass(frozen=True)
class Scene:
    """A folder with older results, the command that is killed there, and those that may follow.

    Attributes
    ----------
    before
        Commands that have left something in the folder.
    killed
        The command that is killed.
    after
        Commands one of which follows, each of which has to succeed.
    kept
        Files that are there in the end whatever happens: results that were complete before.
    made
        Files that the command leaves.
    """

    before: tuple[tuple[str, ...], ...]
    killed: tuple[str, ...]
    after: tuple[tuple[str, ...], ...]
    kept: tuple[str, ...]
    made: tuple[str, ...]


_MAIN = {"train": "wts.h5.zip", "infer": "reconstruction.npz", "refine": "reconstruction.npz"}
_MAIN["evaluate"] = "metrics.json"


def scenes_of(name: str, material: Path, out: Path) -> list[Scene]:
    """What is tried with a command; ``out`` is the folder of the run."""
    words = _words(material, out)
    again = (*words[name], "--overwrite")
    if name in ("convert", "simulate"):
        found = []
        for kind, file in SCANS.items():
            target = (*words[name][:-1], str(out / file), "--format", kind)
            made = (f"{file}/diffraction.h5", f"{file}/product.h5") if kind == "ptychodus" else (file,)
            over = (*target, "--overwrite")
            found += [Scene((), target, (over,), (), made), Scene((target,), over, (over,), made, made)]
        return found
    main = _MAIN[name]
    fresh = Scene((), words[name], (again,), (), (main,))
    older = Scene((words[name],), again, (again,), (main,), (main,))
    retrain = (*words["train"], "--overwrite")
    if name == "train":
        resume = ("train", "--resume", "--output-dir", str(out), *CPU)
        longer = (*words["train"], "--resume", "--nepochs", "3")
        return [
            Scene((), words[name], (resume, again), (), (main,)),
            Scene((words[name],), again, (again, words["refine"], words["evaluate"]), (main,), (main,)),
            Scene((words[name],), longer, (resume, longer), (main,), (main,)),
        ]
    kept = (main, _MAIN["train"])
    return [fresh, older, Scene((words["train"], words[name]), again, (again, retrain), kept, kept)]


def _words(material: Path, out: Path) -> dict[str, tuple[str, ...]]:
    scan, to = str(material / SCANS["npz"]), ("--output-dir", str(out))
    return {
        "train": tuple(training_of(material / SCANS["npz"], out, epochs=2)),
        "infer": ("infer", "--model-path", str(material / "model"), "--test-data", scan, *to, *CPU),
        "refine": ("refine", "--data", scan, "--refine-epochs", "2", *to, *CPU),
        "evaluate": ("evaluate", str(material / "result" / "reconstruction.npz"), scan, *to),
        "convert": ("convert", str(material / SCANS["cxi"]), "TARGET"),
        "simulate": ("simulate", "--N", "32", "--grid", "6,6", "--step", "4", "--output", "TARGET"),
    }


def cases(count: int) -> Iterator[tuple[str, int]]:
    """Command and number of every case; ``count`` for each command."""
    for number in range(count):
        for name in COMMANDS:
            yield name, number


class Prepared:
    """Scenes that were played once without a kill: what is there before, steps and seconds."""

    def __init__(self, work: Path) -> None:
        self.material = work / "material"
        self.folder = work / "scenes"
        self.out = work / "run"
        self.known: dict[tuple[str, int], tuple[Scene, Path, int, float]] = {}
        make_material(self.material)

    def scene(self, name: str, number: int) -> tuple[Scene, Path, int, float]:
        scenes = scenes_of(name, self.material, self.out)
        key = (name, number % len(scenes))
        if key not in self.known:
            scene = scenes[key[1]]
            before = self.folder / f"{name}-{key[1]}"
            before.mkdir(parents=True, exist_ok=True)
            copy_of(before, self.out)
            for words in scene.before:
                _require(words)
            copy_of(self.out, before)
            ended = run(counting_steps(self.out, command(list(scene.killed))))
            if ended.answer is None or ended.answer[1] != 0:
                raise SystemExit(f"{' '.join(scene.killed)}\n{ended.said}")
            self.known[key] = (scene, before, ended.answer[0], ended.wall_s)
        return self.known[key]


def _require(words: tuple[str, ...]) -> None:
    ended = run(command(list(words)))
    if ended.answer != 0:
        raise SystemExit(f"{' '.join(words)}\n{ended.said}")


def run_case(prepared: Prepared, name: str, number: int, seed: int) -> dict[str, Any]:
    """Kill, look, follow, look."""
    dice = random.Random(f"{seed} {name} {number}")
    scene, before, steps, seconds = prepared.scene(name, number // 2)
    out = copy_of(before, prepared.out)
    work = command(list(scene.killed))
    if number % 2:
        moment = f"before step {(step := dice.randint(1, steps))} of {steps}"
        killed = run(killed_at_step(out, step, work))
    else:
        after = dice.uniform(0.0, _LATER_S * seconds)
        moment = f"after {after:.3f} of {seconds:.3f} s"
        killed = run(work, kill_after_s=after)
    record: dict[str, Any] = {
        "command": " ".join(
            scene.killed[:1] + tuple(w for w in scene.killed if w in ("--overwrite", "--resume"))
        ),
        "beside": len(scene.before),
        "moment": moment,
        "killed": killed.code == -signal.SIGKILL,
        "broken": broken_files(out),
        "left": leftovers(out),
    }
    faults = [f"broken after the kill: {text}" for text in record["broken"]]
    if not record["killed"] and killed.answer != 0:
        faults.append(f"ended by itself: {killed.said[-400:]}")
    follower = dice.choice(scene.after)
    if "--resume" in follower and not any((out / name).exists() for name in _SETTINGS):
        # Nothing was begun that could be gone on with.
        follower = scene.after[-1]
    record["follower"] = " ".join(w for w in follower if not w.startswith("/"))
    followed = run(command(list(follower)))
    if followed.code or followed.answer != 0:
        faults.append(f"the follower failed: {followed.said[-600:]}")
    lost = [file for file in scene.kept if not (out / file).exists()]
    unmade = [] if follower[0] != scene.killed[0] else [f for f in scene.made if not (out / f).exists()]
    record["left_in_the_end"] = leftovers(out)
    faults += [f"lost: {file}" for file in {*lost, *unmade}]
    faults += [f"broken in the end: {text}" for text in broken_files(out)]
    faults += [
        f"left in the end: {text}" for text in _not_to_be_left(record["left_in_the_end"], scene, follower)
    ]
    return {**record, "faults": faults}


def _not_to_be_left(left: list[str], scene: Scene, follower: tuple[str, ...]) -> list[str]:
    """What should be gone: all but the working folder of a command after which another one came.

    It may hold a training that can be resumed, or results that could not be put in their places.
    """
    stays = "" if follower[0] == scene.killed[0] else f"incomplete-{scene.killed[0]}"
    return [text for text in left if text != stays]


def prepare() -> Prepared:
    """Make the material."""
    return Prepared(Path(tempfile.gettempdir()))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of all cases, by command."""
    found: dict[str, Any] = {}
    for name in COMMANDS:
        mine = [row for row in rows if row["case"][0] == name]
        counted = Counter(
            before_its_end=sum(row["killed"] for row in mine),
            corrupt_files=sum(len(row["broken"]) for row in mine),
            kills_that_left_something=sum(bool(row["left"]) for row in mine),
            left_after_the_next_run=sum(bool(row["left_in_the_end"]) for row in mine),
            results_lost=sum(text.startswith("lost") for row in mine for text in row["faults"]),
            faults=sum(len(row["faults"]) for row in mine),
        )
        found[name] = {"kills": len(mine), **counted}
    return found
