"""From the working folder of a run to its output directory, in steps that each may be the last.

A run that does not write in place works in ``incomplete-<command>``, a folder with a record of its own. When
everything is written, that record is marked complete. From then on whoever comes next can finish what is
left: files take their names one after another, older results without a successor go, and the record last.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ptycho_config import ConfigError, Problem
from ptycho_torch.workflows.runs.record import (
    RunRecord,
    is_unfinished,
    read_record,
    read_records,
    record_name,
    remove,
)

__all__ = [
    "clear_unfinished",
    "finish_publishing",
    "open_staging",
    "pending",
    "remove_staging",
    "require_own_staging",
    "staging_of",
]

_STAGING = re.compile(r"incomplete-([a-z]+)")
_REPLACED = ".replaced-"
_TEMPORARY = re.compile(r"\.(.+?)\.\d+(-[0-9a-f]{8})?\.tmp")


def staging_of(path: Path, command: str) -> Path:
    """Working folder of a command in an output directory."""
    return path / f"incomplete-{command}"


def pending(path: Path) -> list[tuple[Path, RunRecord]]:
    """Working folders whose complete results are not yet in their places."""
    found = []
    for entry in sorted(path.iterdir()) if path.is_dir() else []:
        match = _STAGING.fullmatch(entry.name)
        if match and entry.is_dir() and not entry.is_symlink():
            record = read_record(entry, match.group(1))
            if record is not None and record.complete:
                found.append((entry, record))
    return found


def finish_publishing(path: Path) -> None:
    """Put complete results of all commands in their places; the lock of the directory is held.

    Raises
    ------
    ConfigError
        If something that no run recorded has taken one of the names meanwhile.
    """
    for staging, record in pending(path):
        old = read_record(path, record.command)
        ours = frozenset() if old is None else old.results
        for name, final in record.names.items():
            source, target = staging / name, path / final
            if not os.path.lexists(source):
                continue
            if os.path.lexists(target):
                _require_ours(path, final, ours, staging)
                # A folder is never without one of its two contents: the older one steps aside first.
                aside = staging / f"{_REPLACED}{name}"
                remove(aside)
                if source.is_dir() or (target.is_dir() and not target.is_symlink()):
                    os.replace(target, aside)
            os.replace(source, target)
        for final in sorted(ours - record.results):
            remove(path / final)
        for entry in staging.iterdir():
            if entry.name.startswith(_REPLACED) or is_unfinished(entry):
                remove(entry)
        os.replace(staging / record_name(record.command), path / record_name(record.command))
        _remove_if_empty(staging)


def _require_ours(path: Path, final: str, ours: frozenset[str], staging: Path) -> None:
    if final not in ours:
        expected = f"a directory without a {final} that no run recorded"
        hint = f"move it away; results that take this name lie complete in {staging.name}"
        raise ConfigError(Problem("output_dir", str(path), expected, hint))


def require_own_staging(path: Path, command: str) -> None:
    """Refuse a working folder with anything in it that no run of the command wrote; writes nothing.

    Raises
    ------
    ConfigError
        If it is a link, a file, or holds something else.
    """
    staging = staging_of(path, command)
    if staging.is_symlink():
        _refuse(path, f"a directory of its own, but {staging.name} in it is a link", "remove the link")
    if not os.path.lexists(staging):
        return
    if not staging.is_dir():
        _refuse(path, f"a directory in which {staging.name} is no file", "move the file away")
    ours = _names_in(staging, command)
    others = sorted(entry.name for entry in staging.iterdir() if entry.name not in ours)
    if others:
        expected = f"a directory in which {staging.name} holds nothing that no run of {command} recorded"
        _refuse(path, expected, f"move away: {', '.join(others[:8])}")


def _refuse(path: Path, expected: str, hint: str) -> None:
    raise ConfigError(Problem("output_dir", str(path), expected, hint))


def _names_in(staging: Path, command: str) -> set[str]:
    """Names of entries that a run of the command left in its working folder."""
    record = read_record(staging, command)
    temporary = f".{record_name(command)}."
    if record is None:
        # Killed before its record was there.
        return {entry.name for entry in staging.iterdir() if _is_temporary_of(entry, temporary)}
    ours = {record_name(command), *record.names, *(f"{_REPLACED}{name}" for name in record.names)}
    return ours | {entry.name for entry in staging.iterdir() if is_unfinished(entry)}


def _is_temporary_of(entry: Path, start: str) -> bool:
    return is_unfinished(entry) and entry.name.startswith(start)


def open_staging(path: Path, record: RunRecord) -> None:
    """Make the working folder of a new run, without what an interrupted one left in it."""
    require_own_staging(path, record.command)
    staging = staging_of(path, record.command)
    staging.mkdir(exist_ok=True)
    for name in _names_in(staging, record.command) - {record_name(record.command)}:
        remove(staging / name)
    record.write(staging)


def remove_staging(path: Path, command: str) -> None:
    """Remove the working folder of a run that failed, with all that the run wrote there."""
    staging = staging_of(path, command)
    if staging.is_symlink() or not staging.is_dir():
        return
    # The record says what may be removed, so it goes last.
    for name in sorted(_names_in(staging, command), key=lambda name: name == record_name(command)):
        remove(staging / name)
    _remove_if_empty(staging)


def clear_unfinished(path: Path) -> None:
    """Remove what killed runs left unfinished in an output directory; the lock is held."""
    for folder in (path, *(entry for entry in path.iterdir() if _STAGING.fullmatch(entry.name))):
        if folder.is_symlink() or not folder.is_dir():
            continue
        records = read_records(folder).values()
        known = {name for record in records for name in (*record.names, *record.results)}
        for entry in folder.iterdir():
            match = _TEMPORARY.fullmatch(entry.name)
            if match and is_unfinished(entry) and (match.group(1) in known or _is_record(match.group(1))):
                entry.unlink()
        for name in known:
            _clear_folder(folder / name)
    for command in read_records(path):
        _remove_if_empty(staging_of(path, command))


def _is_record(name: str) -> bool:
    return name.startswith(".run-") and name.endswith(".json")


def _clear_folder(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        return
    for parent, _, files in os.walk(folder):
        for name in files:
            entry = Path(parent, name)
            if _TEMPORARY.fullmatch(name) and is_unfinished(entry):
                entry.unlink()


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()
