"""What a run says about itself in a folder: its command, the names it writes, and whether it is complete."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_config import ConfigError, Problem
from ptycho_torch.atomic import TEMPORARY_SUFFIX, atomic_write
from ptycho_torch.inside import OutsideError, plain_name

__all__ = ["RunRecord", "is_unfinished", "read_record", "read_records", "record_name", "remove"]

_FORMAT = "ptycho-torch run"
_VERSION = 1
_RECORD = re.compile(r"\.run-([a-z]+)\.json")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Record of the run of one command; ``.run-<command>.json`` in its folder.

    Attributes
    ----------
    command
        ``train``, ``infer``, ``refine`` or ``evaluate``.
    names
        Every file and folder the run writes: name in the working folder, and name in the output directory.
    complete
        Whether everything is written. A complete record in a working folder says that its files are about
        to take their names in the output directory.
    made_from
        Checksum of the checkpoint that the results of a training were made from.
    """

    command: str
    names: Mapping[str, str]
    complete: bool = False
    made_from: str = ""

    @property
    def results(self) -> frozenset[str]:
        """Names in the output directory."""
        return frozenset(self.names.values())

    def write(self, folder: Path) -> None:
        """Write the record into a folder; complete or not at all."""
        path = folder / record_name(self.command)
        _refuse_link(path, folder)
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "command": self.command,
            "names": dict(self.names),
            "complete": self.complete,
            "made_from": self.made_from,
        }
        with atomic_write(path, "w") as stream:
            json.dump(content, stream, indent=2)


def record_name(command: str) -> str:
    """File name of the record of a command."""
    return f".run-{command}.json"


def read_record(folder: Path, command: str) -> RunRecord | None:
    """Record of a command in a folder, or ``None``.

    Raises
    ------
    ConfigError
        If it cannot be read, or names a path outside the folder.
    """
    path = folder / record_name(command)
    if not os.path.lexists(path):
        return None
    _refuse_link(path, folder)
    try:
        return _parsed(json.loads(path.read_text(encoding="utf-8")), command)
    except (ValueError, OutsideError, RecursionError) as error:
        hint = f"{path.name} cannot be used ({error}); choose another directory, or remove the file"
        raise ConfigError(Problem("output_dir", str(folder), "records that runs wrote", hint)) from error


def read_records(folder: Path) -> dict[str, RunRecord]:
    """Records of all commands in a folder, by command."""
    if not folder.is_dir():
        return {}
    found = {}
    for entry in sorted(folder.iterdir()):
        match = _RECORD.fullmatch(entry.name)
        record = read_record(folder, match.group(1)) if match else None
        if record is not None:
            found[record.command] = record
    return found


def _parsed(content: Any, command: str) -> RunRecord:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError("it is no record of a run")
    if content.get("version") != _VERSION:
        raise ValueError(f"its version is {content.get('version')!r}, this package reads {_VERSION}")
    names, complete, made_from = (content.get(key) for key in ("names", "complete", "made_from"))
    sound = isinstance(names, dict) and isinstance(complete, bool) and isinstance(made_from, str)
    if content.get("command") != command or not isinstance(names, dict) or not sound:
        raise ValueError("its entries are not those of a record")
    plain = {plain_name(name): plain_name(final) for name, final in names.items()}
    return RunRecord(command=command, names=plain, complete=bool(complete), made_from=str(made_from))


def _refuse_link(path: Path, folder: Path) -> None:
    if path.is_symlink():
        expected = f"a directory of its own, but {path.name} in it is a link"
        raise ConfigError(Problem("output_dir", str(folder), expected, "remove the link"))


def is_unfinished(path: Path) -> bool:
    """Whether a file is what an interrupted atomic write left behind."""
    named = path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX)
    return named and path.is_file() and not path.is_symlink()


def remove(path: Path) -> None:
    """Remove a file or a folder; of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
