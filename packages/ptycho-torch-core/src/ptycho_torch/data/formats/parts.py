"""Read scans whose frames are in one place and whose positions are in another.

What lies where is stated by settings (`ptycho_config.PartsConfig`), or in a small text file in TOML whose
entries are these settings, `FRAMES` and `METADATA`. Files are named relative to that text, a dataset of an
HDF5 file as ``file.h5:/path``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from ptycho_config import ConfigError, PartsConfig, evolve, field_specs, spec_of, stated_fields, suggest
from ptycho_torch.data.format_module import Format
from ptycho_torch.data.hdf5.detector import is_master, read_master
from ptycho_torch.data.hdf5.elsewhere import read_places
from ptycho_torch.data.hdf5.files import Contents, is_hdf5, opened
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.paths import inside_of
from ptycho_torch.data.recognition import Candidate, recognised
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.frame_files import frames_of_files
from ptycho_torch.data.scan.geometry import NEEDED_ENTRIES, ScanGeometry
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.data.scan.probe_guess import probe_of_mean_frame
from ptycho_torch.errors import DataError, Fault, fault

__all__ = ["FRAMES", "METADATA", "header", "make_example", "merged", "read", "recognise"]

NAME = "parts"
HELP = "text file that names frames, positions and probe, or frames beside which these are stated"
SUFFIXES = (".scan",)
TAKES_PARTS = True

FRAMES, METADATA = "frames", "metadata"
"""Entries of the text beside the settings: a path, and a table of names and values."""

_LARGEST_TEXT = 1 << 20
_NAMES = {"diff3d": "frames", "xcoords": "positions x", "ycoords": "positions y", "probeGuess": "probe"}
_FILES = tuple(spec.name for spec in field_specs(PartsConfig) if spec.kind == "path")
_RIVALS = (("probe", "probe_model"), ("positions", "raster_step"))
_PROBE_SETTINGS = ("probe_diameter", "probe_outer_zone", "probe_angle", "probe_defocus", "probe_stop")


def _entries(path: Path) -> dict[str, Any] | str:
    """Entries of the text, or the reason why it is none."""
    if path.is_dir() or path.stat().st_size > _LARGEST_TEXT:
        return "no text file that names frames and positions"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return "no text file that names frames and positions"
    return found if isinstance(found.get(FRAMES), str) else f"a text file without {FRAMES}"


def recognise(candidate: Candidate) -> Located | str:
    """A text that names frames; frames alone are recognised where their positions are stated."""
    if not candidate.is_folder and candidate.hdf5 is not None:
        return "the content is HDF5, expected a text file that names frames and positions"
    found = _entries(candidate.path)
    if isinstance(found, str):
        return found
    named = (found.get(name) for name in (FRAMES, *_FILES))
    files = [
        inside_of(candidate.path.parent / name)[0]
        for name in named
        if isinstance(name, str) and "\0" not in name
    ]
    return Located(NAME, (candidate.path, *(file for file in files if file.exists())))


def header(located: Located) -> ScanHeader:
    """Sizes and metadata."""
    format, inner = _frames_of(located)
    return _gather(inner).header() if format is None else format.header(inner)


def read(located: Located, **asked: Any) -> Scan:
    """Scan of the parts, frames left in their files."""
    format, inner = _frames_of(located)
    return _gather(inner).scan(**asked) if format is None else format.load().read(inner, **asked)


def _frames_of(located: Located) -> tuple[Format | None, Located]:
    """The format that knows the frames, None for frames alone, and where they and the rest are.

    Raises
    ------
    DataError
        An entry is not known, or names a file that is not there.
    """
    path = located.frames
    stated = "" if path.is_dir() or is_hdf5(path) else _entries(path)
    if isinstance(stated, str):
        return None, located
    _check_entries(stated, path)
    folder = path.parent
    frames = folder / stated[FRAMES]
    parts = merged(_parts_of(stated, path), located.parts)
    format, inner = recognised(frames, parts=parts, metadata=stated.get(METADATA, {}), plain=True)
    return (None if format.name == NAME else format), inner


def _check_entries(stated: Mapping[str, Any], path: Path) -> None:
    known = [FRAMES, METADATA, *(spec.name for spec in field_specs(PartsConfig))]
    unknown = [name for name in stated if name not in known]
    if unknown:
        hint = suggest(unknown[0], known) or f"expected {', '.join(known)}"
        raise DataError(fault(unknown[0], f"no entry of that name; {hint}"), path)
    if not isinstance(stated.get(METADATA, {}), dict):
        raise DataError(
            fault(METADATA, "expected a table of names and values; begin it with [metadata]"), path
        )
    for name in (FRAMES, *_FILES):
        value = stated.get(name, "")
        if not isinstance(value, str) or "\0" in value:
            raise DataError(fault(name, f"expected the name of a file, got {value!r}; correct it"), path)


def _parts_of(stated: Mapping[str, Any], path: Path) -> PartsConfig:
    """Settings in the text, files relative to it."""
    values = {name: value for name, value in stated.items() if name not in (FRAMES, METADATA)}
    for name, value in values.items():
        if spec_of(PartsConfig, name).kind == "path":
            values[name] = path.parent / value
    try:
        return PartsConfig(**values)
    except ConfigError as error:
        raise DataError([Fault(str(one), one.field) for one in error.problems], path) from error


def merged(below: PartsConfig, above: PartsConfig | None) -> PartsConfig:
    """Settings of a text with what is stated above it, which outranks it."""
    if above is None:
        return below
    changes = {name: value for name, value in stated_fields(above).items() if value is not None}
    kept = stated_fields(below)
    for pair in _RIVALS:
        if any(name in changes for name in pair):
            kept = {name: value for name, value in kept.items() if name not in pair}
    if changes.keys() & {"probe", "probe_model"}:
        kept = {name: value for name, value in kept.items() if name not in _PROBE_SETTINGS}
    if "positions" in changes or "raster_step" in changes:
        kept.pop("position_columns", None)
    return evolve(PartsConfig(**kept), **changes)


def _gather(located: Located) -> Gathered:
    """Everything but the frames, of frames alone."""
    found = Gathered(located=located, names=_NAMES, holders=(), guess=probe_of_mean_frame)
    _read_frames(found, located.frames, located.inside)
    if found.needs_positions:
        said = "frames without positions; state positions and position_unit, or the raster_step of a raster"
        found.problems.append(fault("positions", said))
    return found.settle()


def _read_frames(found: Gathered, file: Path, inside: str) -> None:
    if file.is_dir() or not is_hdf5(file):
        found.frames = frames_of_files(file)
        return
    found.holders = (file,)
    with Candidate(file) as candidate, opened(file) as hdf5:
        contents = Contents(hdf5, found.problems, file.name)
        if not inside and is_master(candidate):
            read_master(contents, found)
            return
        if not inside:
            said = f"name the dataset as {file.name}:/path; found: {contents.found()}"
            contents.report(fault("frames", said))
        elif contents.require(inside):
            found.frames = contents.frames(inside, raster=True, last=_is_last(found, contents, inside))


def _is_last(found: Gathered, contents: Contents, inside: str) -> bool:
    """Whether the last axis counts the frames: as it is stated, else as the number of positions says."""
    parts = found.parts
    if parts.frame_axis is not None or parts.positions is None:
        return parts.frame_axis == "last"
    data = contents.dataset(inside)
    if data is None or data.ndim != 3 or data.shape[0] == data.shape[2]:
        return False
    places = read_places(parts.positions, parts.position_columns, data.shape[0], [])
    return places is not None and data.shape[0] != len(places.yx) == data.shape[2]


def make_example(path: Path) -> None:
    """Write the example scan in parts: frames in HDF5, positions in a table, the probe as an array."""
    scan = example_scan()
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    with h5py.File(path.with_name("frames.h5"), "w") as file:
        file.create_dataset("entry/data", data=scan.diffraction[:], chunks=True, compression="gzip")
    places = geometry.middles_m(scan.positions, scan.N) * 1e6
    rows = "\n".join(f"{y!r},{x!r}" for y, x in places.tolist())
    path.with_name("positions.csv").write_text(f"y,x\n{rows}\n", encoding="utf-8")
    with h5py.File(path.with_name("probe.h5"), "w") as file:
        file["probe"] = scan.probe
    facts = ", ".join(f"{name} = {float(scan.metadata[name])!r}" for name in NEEDED_ENTRIES)
    path.write_text(
        'frames = "frames.h5:/entry/data"\npositions = "positions.csv"\nposition_unit = "um"\n'
        f'metadata = {{ {facts} }}\nprobe = "probe.h5:/probe"',
        encoding="utf-8",
    )
