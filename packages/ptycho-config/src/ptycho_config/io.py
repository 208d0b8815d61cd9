"""Configuration files: YAML, TOML and JSON in, YAML and JSON out."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptycho_config.base import Config, plain, to_dict
from ptycho_config.errors import MISSING, ConfigError, MissingType, Problem
from ptycho_config.keys import LEGACY_SPELLINGS, SECTIONS, KeyTable
from ptycho_config.provenance import Resolution

__all__ = ["load_config", "to_json", "to_yaml", "write_resolved"]

_FORMAT = "ptycho-config resolved"
_FORMAT_VERSION = 1


class _Broken(Exception):
    """A file that cannot be read: line (or 0) and reason."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def _parse_yaml(text: str) -> Any:
    import yaml  # here, because most uses of this package read no YAML

    from ptycho_config.yamlio import parse_yaml

    try:
        return parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise _Broken(mark.line + 1 if mark else 0, reason or "broken YAML") from error
    except (yaml.YAMLError, ValueError) as error:
        raise _Broken(0, str(error)) from error


def _parse_toml(text: str) -> Any:
    import re
    import tomllib

    # The parser takes memory with the square of the parts of a key.
    if re.search(r"(?:[\w\"'-]+\s*\.\s*){64}", text):
        raise _Broken(0, "a key has more than 64 parts")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        raise _Broken(int(found.group(1)) if found else 0, str(error)) from error
    except ValueError as error:  # a number with thousands of digits
        raise _Broken(0, str(error)) from error
    return _read_nulls(data, "")


def _read_nulls(data: dict[str, Any], section: str) -> dict[str, Any]:
    """TOML has no null, so the word none stands for it in settings that are optional and no path."""
    result = dict(data)
    table = KeyTable(SECTIONS)
    for key, value in data.items():
        if isinstance(value, dict):
            result[key] = _read_nulls(value, key)
        elif value in ("none", "null"):
            name = LEGACY_SPELLINGS[key].field if key in LEGACY_SPELLINGS else key
            addresses = table.addresses(f"{section}.{name}" if section else name)
            if any(
                table.specs[a].optional and table.specs[a].kind not in ("path", "paths") for a in addresses
            ):
                result[key] = None
    return result


def _parse_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise _Broken(0, f"the key {twice!r} is given twice")
        return result

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise _Broken(error.lineno, error.msg) from error
    except ValueError as error:  # a number with thousands of digits
        raise _Broken(0, str(error)) from error


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": _parse_toml,
    ".json": _parse_json,
}


_LARGEST_BYTES = {".json": 4 << 20}
# Slower to read, and written by people.
_LARGEST_TEXT = 1 << 20
_MOST_ENTRIES = 2000


def _require_size(file: Path) -> None:
    """Refuse what no settings are in, before it is read."""
    if not file.exists():
        return
    if not file.is_file():
        # Opening a pipe would wait for somebody who writes.
        raise ConfigError(Problem("config file", str(file), "a file", "this is a folder, a pipe or a device"))
    most, size = _LARGEST_BYTES.get(file.suffix.lower(), _LARGEST_TEXT), file.stat().st_size
    if size > most:
        expected = f"a file of at most {most >> 20} MB"
        hint = f"it has {size / 1e6:.3g} MB, and settings take a few kilobytes"
        raise ConfigError(Problem("config file", str(file), expected, hint))


def load_config(path: str | os.PathLike[str], *, check_keys: bool = True) -> dict[str, Any]:
    """Read a configuration file.

    Parameters
    ----------
    path : path-like
        A ``.yaml``, ``.yml``, ``.toml`` or ``.json`` file, or the ``resolved_config.json`` of an earlier
        run, of which the values are taken. In TOML, which has no null, ``"none"`` stands for it.
    check_keys : bool
        Refuse unknown keys. :func:`ptycho_config.resolve` does so too, beside everything else that is wrong.

    Returns
    -------
    dict
        Keys as written, flat or by section; a layer for :func:`ptycho_config.resolve`.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ConfigError
        For another kind of file, one of megabytes or thousands of keys, broken syntax (with file and line), a
        key given twice, a file that is no mapping, and unknown keys (with a suggestion). Values are checked
        by :func:`ptycho_config.resolve`.
    """
    file = Path(path)
    if file.suffix.lower() not in _PARSERS:
        expected = f"a configuration file ending in {', '.join(_PARSERS)}"
        raise ConfigError(Problem("config file", str(file), expected, "rename the file after what it holds"))
    _require_size(file)
    try:
        data: Any = _PARSERS[file.suffix.lower()](file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(Problem("config file", str(file), "text in UTF-8", str(error))) from error
    except RecursionError as error:
        hint = "settings are at most two levels deep"
        raise ConfigError(Problem("config file", str(file), "settings by name", hint)) from error
    except _Broken as error:
        place = f"{file}, line {error.line}" if error.line else str(file)
        language = file.suffix.lower().lstrip(".").upper().replace("YML", "YAML")
        raise ConfigError(Problem("config file", place, f"valid {language}", str(error))) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        expected = f"settings by name in {file}, such as nepochs: 30"
        raise ConfigError(Problem("config file", data, expected, f"the file holds a {type(data).__name__}"))
    entries = sum(len(value) if isinstance(value, dict) else 1 for value in data.values())
    if entries > _MOST_ENTRIES:
        expected = f"settings by name, at most {_MOST_ENTRIES} of them"
        raise ConfigError(Problem("config file", str(file), expected, f"it holds {entries} entries"))
    settings: dict[str, Any] = _values_of_run(data, file) if data.get("format") == _FORMAT else data
    if check_keys:
        _refuse_unknown(settings, file)
    return settings


def _values_of_run(data: dict[str, Any], file: Path) -> dict[str, Any]:
    version = data.get("format_version")
    if version != _FORMAT_VERSION:
        hint = "update ptycho-config, or keep only the values of the file"
        raise ConfigError(Problem(f"format_version of {file}", version, str(_FORMAT_VERSION), hint))
    values: dict[str, Any] | MissingType = data.get("values", MISSING)
    if not isinstance(values, dict):
        raise ConfigError(Problem(f"values of {file}", values, "settings by section", "the file is damaged"))
    return values


def _refuse_unknown(data: Mapping[str, Any], file: Path) -> None:
    problems: list[Problem] = []
    KeyTable(SECTIONS).read(data, name=str(file), lenient=True, problems=problems, notes=[])
    if problems:
        raise ConfigError(problems)


def _as_data(config: Config | Mapping[str, Any]) -> Any:
    if isinstance(config, Config):
        return to_dict(config)
    return {
        str(name): to_dict(item) if isinstance(item, Config) else plain(item) for name, item in config.items()
    }


def to_yaml(config: Config | Mapping[str, Any]) -> str:
    """Write a configuration, or a mapping of sections, as YAML."""
    from ptycho_config.yamlio import dump_yaml

    return dump_yaml(_as_data(config))


def to_json(config: Config | Mapping[str, Any]) -> str:
    """Write a configuration, or a mapping of sections, as JSON."""
    return json.dumps(_as_data(config), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_resolved(
    path: str | os.PathLike[str],
    resolution: Resolution,
    versions: Mapping[str, str],
    command: Sequence[str] | str,
) -> None:
    """Write what a run was made with, so that it can be read again by :func:`load_config`.

    The file appears complete or not at all.

    Parameters
    ----------
    path : path-like
        Usually ``resolved_config.json`` beside the results.
    resolution : Resolution
        Values and their origin.
    versions : mapping of str to str
        Package -> version.
    command : sequence of str or str
        The command line, or how the run was started from Python.
    """
    record = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "command": command if isinstance(command, str) else list(command),
        "versions": dict(versions),
        **resolution.to_dict(),
    }
    _replace(Path(path), to_json(record))


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if str(error.filename) != str(temporary):
            raise
        # Nobody knows the temporary name.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
