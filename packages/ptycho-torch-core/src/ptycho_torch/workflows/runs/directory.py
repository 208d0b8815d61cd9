"""The folder of a run: never overwritten by accident, never left half replaced.

Runs of several commands may share an output directory. Each leaves a record there that says what it wrote;
who writes, replaces or removes anything looks at the records and at nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_config import ConfigError, Problem, load_config
from ptycho_torch.html_report import REPORT_NAME
from ptycho_torch.outputs import output_problems
from ptycho_torch.workflows.runs.leaving import ResultsIncomplete
from ptycho_torch.workflows.runs.lock import held_lock, require_nobody_at_work
from ptycho_torch.workflows.runs.place import (
    disk_errors_explained,
    make_folders,
    remove_empty_folders,
    require_place,
)
from ptycho_torch.workflows.runs.publishing import (
    clear_unfinished,
    finish_publishing,
    open_staging,
    pending,
    remove_staging,
    require_own_staging,
    staging_of,
)
from ptycho_torch.workflows.runs.record import RunRecord, read_record, read_records

__all__ = ["RESOLVED_NAME", "TRIALS", "RunDirectory", "resolved_config"]

RESOLVED_NAME = "resolved_config.json"
"""Settings of a run, the first file that it writes."""

TRIALS = "trials.json"
"""Every trial of a search of settings."""

# Every command writes these. Where another command has the name, that of the command is added.
_OF_EVERY_COMMAND = (RESOLVED_NAME, REPORT_NAME)


@dataclass(frozen=True, kw_only=True)
class RunDirectory:
    """An output directory, the command that writes there, and the names it writes.

    A run writes into the subfolder ``incomplete-<command>`` and puts its results in place when all are
    complete. A run that can be resumed writes directly where nothing of it is there yet. Putting results in
    place that was interrupted is finished by whoever comes next.

    Attributes
    ----------
    path
        Output directory.
    command
        ``train``, ``infer``, ``refine``, ``tune`` or ``evaluate``.
    names
        Files and folders the run may write.
    work
        Where the run writes until it is complete.
    overwrite
        Replace older results of the same command.
    resumable
        Whether an interrupted run is kept to be resumed.
    resumed
        Whether this is one that goes on.
    writes
        False in processes that compute beside the one that writes.
    """

    path: Path
    command: str
    names: tuple[str, ...]
    work: Path
    overwrite: bool = False
    resumable: bool = False
    resumed: bool = False
    writes: bool = True

    @classmethod
    def check(
        cls,
        path: Path,
        command: str,
        names: Sequence[str],
        *,
        overwrite: bool,
        resumable: bool = False,
        inputs: Sequence[Any] = (),
    ) -> RunDirectory:
        """Decide where a run may write; finishes what a killed run was putting in place, and writes no more.

        Parameters
        ----------
        path, command, names, overwrite, resumable
            As in the class.
        inputs
            What the run reads; what is no path counts for nothing.

        Raises
        ------
        ConfigError
            If one of the names is that of an input, if the directory holds results of this command and
            ``overwrite`` is off, if it holds one of the
            names and no run of this command wrote it, if another run is at work there, if the path is a
            file, or if it cannot be written.
        """
        _settle(path, command)
        work = _decide(path, command, names, overwrite=overwrite, resumable=resumable)
        read = [item for item in inputs if isinstance(item, str | os.PathLike)]
        written = _targets(names, command, path, resumable=resumable).values()
        problems = [item for name in written for item in output_problems("output_dir", path / name, read)]
        if problems:
            raise ConfigError(problems)
        return cls(
            path=path,
            command=command,
            names=tuple(names),
            work=work,
            overwrite=overwrite,
            resumable=resumable,
        )

    @classmethod
    def resume(cls, path: Path, command: str, names: Sequence[str], *, writes: bool = True) -> RunDirectory:
        """Find the run to go on with; finishes what a killed run was putting in place, and writes no more.

        Parameters
        ----------
        path, command, names
            As for :meth:`check`.
        writes
            False in processes that compute beside the one that writes.

        Raises
        ------
        ConfigError
            If there is no run of the command, another run is at work there, or the directory cannot be
            written.
        """
        if writes:
            _settle(path, command)
        found = _interrupted(path, command)
        if found is None:
            hint = "leave resume away to start one"
            expected = f"the directory of a run of {command}, with its {RESOLVED_NAME}, to resume"
            raise ConfigError(Problem("output_dir", str(path), expected, hint))
        return cls(
            path=path,
            command=command,
            names=tuple(names),
            work=found,
            resumable=True,
            resumed=True,
            writes=writes,
        )

    @classmethod
    def beside(cls, path: Path, command: str, names: Sequence[str]) -> RunDirectory:
        """The directory in a process that computes beside the one that writes."""
        # What lies there may be what the first process has just written.
        return cls(path=path, command=command, names=tuple(names), work=path, writes=False)

    @contextmanager
    def at_work(self) -> Iterator[Path]:
        """Hold the lock of the directory, with the working folder ready; yields the working folder.

        A run that fails leaves nothing there, unless it can be resumed or had made results.

        Raises
        ------
        ConfigError
            If another run is at work there, or was since :meth:`check`, or the folder cannot be made.
        OSError
            If the disk is full or write-protected.
        """
        if not self.writes:
            yield self.work
            return
        made = make_folders(self.path)
        try:
            with (
                disk_errors_explained(self.path, resumable=self.resumable),
                held_lock(self.path, self.command),
            ):
                self._open()
                try:
                    yield self.work
                except ResultsIncomplete:
                    # What could be written is worth keeping, here if it was not put in place.
                    raise
                except BaseException:
                    if not self.resumable and not pending(self.path):
                        remove_staging(self.path, self.command)
                    raise
        finally:
            remove_empty_folders(made)

    def _open(self) -> None:
        finish_publishing(self.path)
        if self.resumed:
            work = _interrupted(self.path, self.command)
        else:
            work = _decide(
                self.path, self.command, self.names, overwrite=self.overwrite, resumable=self.resumable
            )
        if work != self.work:
            expected = "a directory that no other run has changed since this one was started"
            raise ConfigError(Problem("output_dir", str(self.path), expected, "start it again"))
        clear_unfinished(self.path)
        if self.resumed:
            if self.work == self.path:
                # Of a run that was killed before it wrote its settings: there is nothing to resume.
                remove_staging(self.path, self.command)
            return
        if self.work == self.path:
            self.begin()
        else:
            open_staging(self.path, self._record(self.names))

    def begin(self) -> None:
        """Record that the run is at work, and that what it wrote before is not complete."""
        if self.writes:
            self._record(self.names).write(self.work)

    def _record(self, names: Sequence[str], made_from: str = "", *, complete: bool = False) -> RunRecord:
        if self.work == self.path:
            targets = {name: name for name in names}
        else:
            targets = _targets(names, self.command, self.path, resumable=self.resumable)
        return RunRecord(command=self.command, names=targets, complete=complete, made_from=made_from)

    def is_complete(self, made_from: str) -> bool:
        """Whether everything was written, from this checkpoint, and is still there."""
        record = read_record(self.work, self.command)
        if record is None or not record.complete or record.made_from != made_from:
            return False
        return all((self.work / name).exists() for name in record.names)

    def publish(self, made_from: str = "") -> tuple[Path, ...]:
        """Put complete results in place and return their paths, in the order of ``names``.

        Results of the older run that this run has no counterpart for are removed.

        Parameters
        ----------
        made_from
            Checksum of the checkpoint that the results were made from.
        """
        written = [name for name in self.names if (self.work / name).exists()]
        record = self._record(written, made_from, complete=True)
        if self.writes:
            if read_record(self.work, self.command) != record:
                record.write(self.work)
            finish_publishing(self.path)
        return tuple(self.path / final for final in record.names.values())


def resolved_config(path: Path, command: str) -> Path | None:
    """Settings of the run of a command in an output directory, or ``None``.

    An interrupted run in its working folder comes first, because it is the one that is resumed.

    Parameters
    ----------
    path
        Output directory.
    command
        Whose run is meant.
    """
    for folder in (staging_of(path, command), path):
        record = None if folder.is_symlink() else read_record(folder, command)
        if record is not None:
            places = (folder / RESOLVED_NAME, path / record.names.get(RESOLVED_NAME, RESOLVED_NAME))
            named = places if folder != path else places[1:]
            return next((place for place in named if place.is_file()), None)
    return path / RESOLVED_NAME if _is_unrecorded(path, command) else None


def _is_unrecorded(path: Path, command: str) -> bool:
    """Whether a run lies there whose record was left behind, as when visible files alone were copied."""
    plain = path / RESOLVED_NAME
    claimed = any(RESOLVED_NAME in record.results for record in read_records(path).values())
    if command != "train" or claimed or not plain.is_file():
        return False
    return "training" in load_config(plain)


def _interrupted(path: Path, command: str) -> Path | None:
    """Folder of the run that would be continued."""
    found = resolved_config(path, command)
    if found is None:
        return None
    complete = any(record.command == command for _, record in pending(path))
    return path if complete else found.parent


def _settle(path: Path, command: str) -> None:
    """Find the directory free, and finish what a killed run was putting in place."""
    require_place(path)
    require_nobody_at_work(path)
    if pending(path):
        with disk_errors_explained(path, resumable=False), held_lock(path, command):
            finish_publishing(path)


def _targets(names: Sequence[str], command: str, path: Path, *, resumable: bool) -> dict[str, str]:
    """Names in the output directory that files and folders of a run take."""
    if resumable:
        # It goes on in its place, where names are what they are.
        return {name: name for name in names}
    records = read_records(path)
    own = records.pop(command, None)
    ours = frozenset() if own is None else own.results
    others = {name for record in records.values() for name in record.results}
    targets = {}
    for name in names:
        taken = name in others or (os.path.lexists(path / name) and name not in ours)
        targets[name] = name
        if taken and name in _OF_EVERY_COMMAND:
            stem, _, suffix = name.partition(".")
            targets[name] = f"{stem}-{command}.{suffix}"
    return targets


def _decide(path: Path, command: str, names: Sequence[str], *, overwrite: bool, resumable: bool) -> Path:
    """Working folder of a new run."""
    require_own_staging(path, command)
    records = read_records(path)
    targets = _targets(names, command, path, resumable=resumable)
    ours = records[command].results if command in records else frozenset()
    there = [final for final in targets.values() if os.path.lexists(path / final)]
    strange = [final for final in there if final not in ours]
    if strange:
        raise _not_ours(path, command, strange, records)
    held = [final for final in ours if os.path.lexists(path / final)]
    if held and not overwrite:
        raise _taken(path, [final for final in there if final in ours] or held)
    return path if resumable and not held else staging_of(path, command)


def _taken(path: Path, held: Sequence[str]) -> ConfigError:
    hint = "choose another directory, or replace the results with --overwrite (overwrite=True)"
    if "checkpoints" in held:
        hint += "; --resume (resume=True) continues a training that was interrupted"
    if TRIALS in held:
        hint += "; --resume (resume=True) goes on with the search"
    expected = f"a directory without the results of another run, but it holds {', '.join(held)}"
    return ConfigError(Problem("output_dir", str(path), expected, hint))


def _not_ours(
    path: Path, command: str, strange: Sequence[str], records: Mapping[str, RunRecord]
) -> ConfigError:
    owners = {name: record.command for record in records.values() for name in record.results}
    said = ", ".join(f"{name} of {owners[name]}" if name in owners else name for name in strange)
    expected = f"a directory without the results of another run, but it holds {said}"
    hint = (
        "choose another directory, or move these away: --overwrite (overwrite=True) replaces only what a run "
        f"of {command} has recorded as its own"
    )
    return ConfigError(Problem("output_dir", str(path), expected, hint))
