"""The file with every trial of a search of settings: written whole after each, and read to go on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_config import ConfigError, Problem
from ptycho_torch.atomic import atomic_write
from ptycho_torch.bundle import installed_versions
from ptycho_torch.trials.tuning import Space, Trial, Tuning, trials_from
from ptycho_torch.workflows.runs.directory import TRIALS

__all__ = ["RecordedTrials", "read_trials", "write_trials"]

_FORMAT = "ptycho-torch search of settings"
_VERSION = 1
_METRIC = (
    "mean Poisson deviance of the hidden pixels of frames held out, per photon; deviances: of every such "
    "frame, by split"
)


@dataclass(frozen=True, kw_only=True)
class RecordedTrials:
    """What a record holds that a search goes on from.

    Attributes
    ----------
    path
        The file.
    scan
        SHA-256 of the frames that were fitted.
    fixed
        Settings that were stated.
    space
        What was searched, as plain data.
    trials
        As plain data.
    """

    path: Path
    scan: str
    fixed: Mapping[str, Any]
    space: Sequence[Any]
    trials: Sequence[Any]

    def trials_of(self, scan: str, space: Space) -> tuple[Trial, ...]:
        """The trials, if they are of this scan and this space.

        Raises
        ------
        ConfigError
            If they are not.
        """
        if self.scan != scan:
            expected = "the scan that the search was started with"
            hint = f"frames, positions or probe differ from those of {self.path}; search anew elsewhere"
            raise ConfigError(Problem("scan_file", "another scan", expected, hint))
        if list(self.space) != json.loads(json.dumps(space.to_dict())):
            then = ", ".join(str(axis.get("name")) for axis in self.space)
            hint = f"the search in {self.path.parent} chooses {then}, each as recorded; search anew elsewhere"
            raise ConfigError(Problem("choose", ",".join(space.axes), "the same choice as before", hint))
        return trials_from(self.trials)


def write_trials(folder: Path, tuning: Tuning, scan: str, words: Sequence[str]) -> None:
    """Write a search as it stands, complete or not at all.

    Parameters
    ----------
    folder
        Receives ``trials.json``.
    tuning
        Every trial, and what they say together.
    scan
        SHA-256 of the frames that are fitted.
    words
        The command that repeats the best, word by word.
    """
    record = {
        "format": _FORMAT,
        "version": _VERSION,
        "versions": installed_versions(),
        "scan": scan,
        "metric": _METRIC,
        "command": shlex.join(words),
        "words": list(words),
        **tuning.to_dict(),
    }
    with atomic_write(folder / TRIALS, "w") as stream:
        json.dump(record, stream, indent=1)


def read_trials(folder: Path) -> RecordedTrials | None:
    """What a search left in a folder; None where it was killed before it wrote anything.

    Raises
    ------
    ConfigError
        If the file is none that a search wrote.
    """
    path = folder / TRIALS
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != _FORMAT or record["version"] != _VERSION:
            raise ValueError(f"format {record['format']!r} of version {record['version']!r}")
        return RecordedTrials(
            path=path,
            scan=str(record["scan"]),
            fixed=dict(record["fixed"]),
            space=list(record["space"]),
            trials=list(record["trials"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        hint = f"{path} cannot be used ({type(error).__name__}: {error}); search anew in another directory"
        raise ConfigError(Problem("output_dir", str(folder), "the record of a search", hint)) from error
