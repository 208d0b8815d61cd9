"""What the factories read before they decide: the layers of settings, the scans, and what those say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from ptycho_config import (
    ConfigError,
    Fact,
    OrientationConfig,
    PartsConfig,
    Problem,
    PyTorchExecutionConfig,
    Resolution,
    load_config,
)
from ptycho_torch.data.opening import ScanHeader, read_scan_header, scan_files
from ptycho_torch.data.paths import inside_of
from ptycho_torch.data.scan.assemble import PHOTON_ENTRIES
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.magnitudes import counts_of
from ptycho_torch.data.scan.memory import (
    HoldsScan,
    InMemory,
    ScanSource,
    in_memory,
    is_in_memory,
    name_of,
    not_in_memory,
)

__all__ = [
    "AnyPath",
    "Payload",
    "Sources",
    "holds_memory",
    "merged_layers",
    "noted",
    "require_file",
    "require_one_scan",
    "require_parts",
    "require_path",
    "require_scan",
    "require_size",
    "source_of",
    "sources_of",
    "taken",
    "training_facts",
]

_STEP, _SMALLEST = 16, 32
"""Networks take frames of a multiple of the first, and of at least the second; px."""

AnyPath: TypeAlias = str | PathLike[str]
Sources: TypeAlias = AnyPath | InMemory | HoldsScan | Sequence[AnyPath | InMemory | HoldsScan]


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What every payload of a factory holds; the attributes are told by its subclasses."""

    execution_config: PyTorchExecutionConfig
    orientation_config: OrientationConfig
    parts_config: PartsConfig
    overrides_applied: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()
    resolution: Resolution = field(repr=False)


def merged_layers(
    arguments: Mapping[str, Sources | None],
    overrides: Mapping[str, Any] | None,
    execution_config: PyTorchExecutionConfig | None,
    cli: Mapping[str, Any] | None,
    config_file: AnyPath | None,
    profile: str | None,
) -> dict[str, Any]:
    """Layers of settings as :func:`ptycho_config.resolve` takes them; arguments count as overrides.

    Raises
    ------
    FileNotFoundError
        If the configuration file does not exist.
    ConfigError
        If an argument is among the overrides too, or the file cannot be read.
    """
    # A scan in memory has no path: whatever path a lower layer states is not what is used.
    stated = {
        name: None if holds_memory(value) else value for name, value in arguments.items() if value is not None
    }
    clash = sorted(set(stated) & set(overrides or {}))
    if clash:
        raise ConfigError(
            Problem(name, (overrides or {})[name], "a value in one place", f"it is also the argument {name}")
            for name in clash
        )
    if config_file is not None:
        require_file(Path(config_file), "config")
    return {
        "overrides": {**stated, **(overrides or {})},
        "execution_config": execution_config,
        "cli": cli,
        "file": None if config_file is None else load_config(config_file, check_keys=False),
        "profile": profile,
    }


def require_file(path: Path | None, name: str) -> None:
    """Raise `FileNotFoundError` if a path is given and is no file."""
    if path is not None and not path.is_file():
        what = "is a directory, expected a file" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{name}: {path}: {what}")


def require_path(path: Path | None, name: str) -> Path:
    """A path that the job cannot do without.

    Raises
    ------
    ConfigError
        If nobody stated it.
    """
    if path is None:
        raise ConfigError(Problem(name, None, "a path", "state it"))
    return path


def require_scan(path: Path | None, name: str) -> Path:
    """A path of a scan that the job cannot do without: a file, or a directory with the files of a scan.

    Raises
    ------
    ConfigError
        If nobody stated it.
    FileNotFoundError
        If there is nothing.
    """
    found = require_path(path, name)
    if not inside_of(found)[0].exists():
        raise FileNotFoundError(f"{name}: {found}: no such file or directory")
    return found


def taken(given: object, name: str) -> Any:
    """Paths as they are, and scans in memory by the names of the data contract; also in a list.

    Parameters
    ----------
    given
        What a caller gave as data.
    name
        Argument, for the message.

    Raises
    ------
    ConfigError
        If it is, or holds, anything else.
    """
    if isinstance(given, (list, tuple)):
        return [taken(item, name) for item in given]
    if given is None or isinstance(given, (str, PathLike)):
        return given
    scan = in_memory(given)
    if scan is None:
        expected = "a path, a Scan, arrays by their names, or an object with these as attributes"
        hint = f"it has no {', '.join(not_in_memory(given))}"
        raise ConfigError(Problem(name, type(given).__name__, expected, hint))
    return scan


def holds_memory(given: Sources | None) -> bool:
    """Whether this is a scan in memory, or a list with one in it."""
    if is_in_memory(given) or given is None or isinstance(given, (str, PathLike)):
        return is_in_memory(given)
    return isinstance(given, Sequence) and any(is_in_memory(item) for item in given)


def source_of(given: AnyPath | InMemory | None, path: Path | None, name: str) -> ScanSource | None:
    """The scan in memory, or the path that was resolved: a file, or a directory with the files of a scan."""
    if isinstance(given, (Scan, Mapping)):
        return given
    return None if path is None else require_scan(path, name)


def sources_of(
    given: Sources | None,
    stated: Path | tuple[Path, ...] | None,
    name: str,
    reader: Path | None = None,
    parts: PartsConfig | None = None,
) -> tuple[ScanSource, ...] | None:
    """One or several scans, folders of scans opened up."""
    items: Sequence[Any] = stated if isinstance(stated, tuple) else [stated]
    if holds_memory(given):
        items = [given] if is_in_memory(given) else list(given)  # type: ignore[arg-type]
    found: list[ScanSource] = []
    for item in items:
        path = None if is_in_memory(item) or item is None else Path(item)
        source = source_of(item, path, name)
        if isinstance(source, Path):
            found.extend(scan_files(source, reader=reader, parts=parts))
        elif source is not None:
            found.append(source)
    return tuple(found) or None


def noted(resolution: Resolution, arguments: Mapping[str, Any]) -> Resolution:
    """The resolution, with a note for each scan that has no path to be found at again."""
    notes = tuple(
        f"{name}: {name_of(value)}, which has no path"
        for name, given in arguments.items()
        for value in (given if isinstance(given, (list, tuple)) else [given])
        if is_in_memory(value)
    )
    return replace(resolution, notes=(*resolution.notes, *notes))


def require_one_scan(parts: PartsConfig, *scans: Sequence[ScanSource] | None) -> None:
    """Positions and masks in a file of their own belong to one scan.

    Raises
    ------
    ConfigError
        Several scans are named.
    """
    n = sum(len(found) for found in scans if found is not None)
    if parts.positions is not None and n > 1:
        hint = "name each scan by a text file of parts, see the format parts"
        raise ConfigError(Problem("positions", str(parts.positions), f"one scan, there are {n}", hint))


def require_parts(parts: PartsConfig) -> None:
    """Raise `FileNotFoundError` if a file that is named as a part is not there."""
    for name in ("positions", "mask", "probe"):
        path = getattr(parts, name)
        if path is not None and not inside_of(path)[0].exists():
            raise FileNotFoundError(f"{name}: {path}: no such file")


def require_size(resolution: Resolution, size: Any, source: str) -> None:
    """Frames can be cropped to the size of a network, a trained network cannot be cropped."""
    asked = resolution.provenance["N"]
    if asked.layer != "default" and asked.value != size:
        hint = "leave N away; larger frames are cropped to the size of the model"
        raise ConfigError(
            Problem("N", asked.value, f"{size}, the size of the model in {source} ({asked.layer})", hint)
        )


def training_facts(
    first: Resolution,
    scans: Sequence[ScanSource],
    reader: Path | None = None,
    parts: PartsConfig | None = None,
) -> dict[str, Any]:
    """What the scans say together: the frame size, the photon count, the number of frames."""
    headers = [(read_scan_header(scan, reader=reader, parts=parts), name_of(scan)) for scan in scans]
    each = [_scan_facts(header, name) for header, name in headers]
    facts: dict[str, Any] = {name: fact for found in reversed(each) for name, fact in found.items()}
    _require_frames_for_a_network(header for header, _ in headers)
    if first.provenance["N"].layer == "default":
        _require_one_size([found["model.N"] for found in each if "model.N" in found])
    counted = [header.n_frames for header, _ in headers]
    total = None if any(count is None for count in counted) else sum(count or 0 for count in counted)
    name = headers[0][1] if len(headers) == 1 else f"{len(headers)} scans"
    limit = _frame_limit(first, total, name)
    return facts if limit is None else {**facts, "n_groups": limit}


def _require_frames_for_a_network(headers: Iterable[ScanHeader]) -> None:
    """A network halves its patches several times: nothing is left of small ones."""
    for header in headers:
        if header.N is not None and header.N < _SMALLEST:
            hint = "`ptycho-torch refine` reconstructs smaller ones without a network"
            raise ConfigError(Problem("N", header.N, f"frames of at least {_SMALLEST} px", hint))


def _require_one_size(sizes: Sequence[Fact]) -> None:
    """Scans of different frame sizes can be trained together only at a size that somebody states."""
    other = next((fact for fact in sizes if fact.value != sizes[0].value), None)
    if other is not None:
        expected = f"one frame size; {sizes[0].source} says {sizes[0].value}, {other.source} {other.value}"
        smallest = min(fact.value for fact in sizes)
        raise ConfigError(Problem("N", other.value, expected, f"state N={smallest} to crop the larger ones"))


def _scan_facts(header: ScanHeader, name: str) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    size = header.probe_size
    if size is not None:
        facts["model.N"] = Fact(size, f"probe in {name}")
    if size is not None and size == header.N and size > _SMALLEST and size % _STEP:
        largest = size - size % _STEP
        facts["model.N"] = Fact(largest, f"frames of {size} px in {name}, cropped to what a network takes")
    for entry in PHOTON_ENTRIES:
        # What no counts can be is refused when the scan is read.
        photons = counts_of(header.metadata, entry)
        if photons is not None:
            facts["nphotons"] = Fact(photons, f"metadata of {name}")
            break
    return facts


def _frame_limit(resolution: Resolution, n_frames: int | None, name: str) -> Fact | None:
    """The number of groups, when nobody asked for a number and the default exceeds what there is."""
    asked = resolution.provenance["n_groups"]
    if asked.layer != "default" or n_frames is None:
        return None
    drawn = resolution.provenance["n_subsample"].value
    limit, reason = n_frames, f"frames in {name}"
    if drawn is not None and drawn < n_frames:
        limit, reason = drawn, f"n_subsample of the frames in {name}"
    if limit >= asked.value:
        return None
    if resolution.provenance["gridsize"].value > 1:
        # Groups of several frames may be fewer than frames: how many differ is known once they are made.
        return Fact(None, f"as many as differ among the {limit} {reason}")
    return Fact(limit, reason)
