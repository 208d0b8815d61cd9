"""All kinds of log, found in this folder."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.lightning.loggers.protocol import LoggerKind

__all__ = ["logger_kind", "logger_names", "relocate_logs"]

_NO_KIND = ("protocol", "registry")


@cache
def _kinds() -> Mapping[str | None, LoggerKind]:
    package = __name__.rpartition(".")[0]
    found: dict[str | None, LoggerKind] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name not in _NO_KIND:
            kind: LoggerKind = import_module(f"{package}.{module.name}").KIND
            found[kind.name] = kind
    return MappingProxyType(found)


def logger_names() -> tuple[str, ...]:
    """Names of all kinds of log but that of no log, in alphabetical order."""
    return tuple(sorted(name for name in _kinds() if name is not None))


def logger_kind(name: str | None) -> LoggerKind:
    """The kind of log with a name; ``None`` logs nothing.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if name not in _kinds():
        expected = f"one of {', '.join(logger_names())}, or None"
        raise ConfigError(Problem("logger_backend", name, expected))
    return _kinds()[name]


def relocate_logs(folder: Path, destination: Path) -> None:
    """Get all logs of a folder ready for being moved: a run that was continued may have several kinds.

    Parameters
    ----------
    folder, destination
        Folder of the logs now, and then.
    """
    for kind in _kinds().values():
        kind.relocate(folder, destination)
