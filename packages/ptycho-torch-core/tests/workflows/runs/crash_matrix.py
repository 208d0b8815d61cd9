"""Every command killed at every step it takes on the disk, then every other command in the same folder.

Usage: crash_matrix.py FOLDER prints, as JSON, how many kills and how many followers there were, and every
follower that lost or mixed something. The commands are stand-ins that write small files through the real
`RunDirectory`; a kill is a real SIGKILL of a forked process, just before one of its steps. Files hold the
command and the generation of the run that wrote them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from ptycho_config import ConfigError
from ptycho_torch.workflows.runs.directory import RunDirectory
from ptycho_torch.workflows.runs.publishing import pending
from ptycho_torch.workflows.runs.record import read_record

NAMES = {
    "train": ("resolved_config.json", "checkpoints", "weights", "report.html"),
    "infer": ("object", "metrics", "resolved_config.json", "report.html"),
    "refine": ("object", "metrics", "resolved_config.json"),
    "evaluate": ("metrics", "frc"),
}
FOLDERS = ("checkpoints",)
MINE = {"notes.txt": "mine", "thesis/chapter": "mine"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Command:
    name: str
    overwrite: bool = False
    resume: bool = False

    def __str__(self) -> str:
        return f"{self.name}{' --overwrite' * self.overwrite}{' --resume' * self.resume}"

    def __call__(self, folder: Path, generation: str) -> None:
        names = NAMES[self.name]
        if self.resume:
            run = RunDirectory.resume(folder, self.name, names)
        else:
            resumable = self.name == "train"
            run = RunDirectory.check(folder, self.name, names, overwrite=self.overwrite, resumable=resumable)
        with run.at_work() as work:
            if self.resume:
                run.begin()
            for name in names:
                place = work / name
                if name in FOLDERS:
                    place.mkdir(exist_ok=True)
                    place /= "last"
                replacement = place.with_name(f".{place.name}.{os.getpid()}-00000000.tmp")
                replacement.write_text(f"{self.name} {generation}")
                os.replace(replacement, place)
            run.publish()


ALL = [
    *(Command(name, overwrite) for name in NAMES for overwrite in (False, True)),
    Command("train", resume=True),
]
# What lies there, what is killed. A train beside an infer is always the first of the two.
SCENES = [
    ((), Command("train")),
    ((), Command("infer")),
    (("train",), Command("train", overwrite=True)),
    (("train",), Command("train", resume=True)),
    (("train",), Command("infer")),
    (("train", "infer"), Command("train", overwrite=True)),
    (("train", "infer"), Command("infer", overwrite=True)),
    (("train", "refine"), Command("refine", overwrite=True)),
    (("refine",), Command("refine", overwrite=True)),
    (("infer",), Command("infer", overwrite=True)),
    (("train", "evaluate"), Command("evaluate", overwrite=True)),
    (("train", "evaluate"), Command("train", overwrite=True)),
]


def kill_at_step(folder: Path, number: int) -> None:
    """Kill this process before it changes the folder for the given time."""
    steps = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal steps
        changes = event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate")
        opens = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & WRITES)
        if (changes or opens) and str(arguments[0]).startswith(str(folder)):
            steps += 1
            if steps == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def killed(folder: Path, command: Command, number: int) -> bool:
    """Run a command in a process that dies at a step; False if the command had fewer steps."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            kill_at_step(folder, number)
            command(folder, "new")
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise AssertionError(f"{command} failed by itself at step {number}")
    return os.WIFSIGNALED(status)


def state(folder: Path) -> dict[str, str]:
    """All files; numbers of processes and times do not count."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.endswith(".tmp"):
            name = name.rpartition("-")[0].rpartition(".")[0]
        is_text = path.is_file() and path.name != ".run.lock"
        found[name] = path.read_text() if is_text else ""
    return found


def generations(folder: Path, command: str) -> set[str] | None:
    """Generations of the results of a complete run; None if there is none."""
    record = read_record(folder, command)
    if record is None or not record.complete:
        return None
    texts = {
        (folder / final / "last" if name in FOLDERS else folder / final).read_text()
        for name, final in record.names.items()
    }
    assert set(record.names) == set(NAMES[command])
    return texts


def is_written(folder: Path, command: str, generation: str) -> bool:
    """Whether a run has ended, even if its results are not all in their places."""
    if any(record.command == command for _, record in pending(folder)):
        return True
    return generations(folder, command) == {f"{command} {generation}"}


def judge(before: Path, after: Path, scene: tuple[str, ...], first: Command, then: Command) -> list[str]:
    """What a follower lost or mixed."""
    faults = []
    refused = False
    try:
        then(after, "next")
    except ConfigError:
        refused = True
    allowed = {name: {"old"} for name in scene}
    if is_written(before, first.name, "new"):
        allowed[first.name] = {"new"}
    if not refused:
        allowed[then.name] = {"next"}
    extended = first.resume and not is_written(before, first.name, "new") and then.name != "train"
    for name, expected in allowed.items():
        if name == "train" and (extended or (first.resume and refused)):
            # Going on in its place: whole files, some of them newer.
            texts = {(after / "weights").read_text(), (after / "checkpoints" / "last").read_text()}
            if not texts <= {"train old", "train new"}:
                faults.append(f"train holds {sorted(texts)}")
            continue
        found = generations(after, name)
        if found != {f"{name} {generation}" for generation in expected}:
            faults.append(f"{name} is {found}, not {sorted(expected)}")
    content = state(after)
    faults += [f"{name} is gone" for name, text in MINE.items() if content.get(name) != text]
    if not refused:
        faults += [f"{name} stays" for name in content if ".tmp" in name or "replaced" in name]
        faults += [f"{name} stays" for name in content if name.startswith(f"incomplete-{then.name}")]
    if ".run.lock" in content and not refused:
        faults.append("the lock stays")
    if then.overwrite and refused and then.name == first.name:
        faults.append("cannot be done again")
    return faults


def prepare(folder: Path, scene: tuple[str, ...]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, text in MINE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    for name in scene:
        Command(name)(folder, "old")


def main(root: Path) -> None:
    # Processes are killed here, not the machine.
    os.fsync = lambda descriptor: None
    report = {"kills": 0, "followers": 0, "faults": []}
    for scene, first in SCENES:
        seen: list[dict[str, str]] = []
        number = 1
        while True:
            prepare(root / "run", scene)
            if not killed(root / "run", first, number):
                break
            report["kills"] += 1
            now = state(root / "run")
            if now not in seen:
                seen.append(now)
                for then in ALL:
                    shutil.rmtree(root / "after", ignore_errors=True)
                    shutil.copytree(root / "run", root / "after")
                    report["followers"] += 1
                    for fault in judge(root / "run", root / "after", scene, first, then):
                        cell = f"{' '.join(scene) or 'nothing'}, {first} killed at step {number}, {then}"
                        report["faults"].append(f"{cell}: {fault}")
            number += 1
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
