"""What NeXus says by attributes: classes of groups, which data are meant, how a stage moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.data.hdf5.entries import CXINames
from ptycho_torch.data.hdf5.files import Contents
from ptycho_torch.data.hdf5.kinds import text_of
from ptycho_torch.data.scan.tables import split_name

if TYPE_CHECKING:
    from ptycho_torch.data.hdf5.gathered import Gathered

__all__ = ["entries_of", "names_in", "stage_positions"]

Values = npt.NDArray[np.float64]

_ALONG = 0.98
_SMALLEST_FRAME_PX = 8
_LOST = (KeyError, OSError, RuntimeError, TypeError, ValueError)
"""What h5py raises for a link to nowhere, and for a name or a link of a damaged file."""


def _items(group: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """Members of a group that are there, by name."""
    for name in group if isinstance(group, h5py.Group) else ():
        try:
            item = group.get(name)
        except _LOST:
            continue
        if isinstance(item, kind):
            yield str(name), item


def _of_class(group: Any, nx_class: str) -> list[str]:
    """Groups of a class in a group."""
    return [name for name, item in _items(group, h5py.Group) if text_of(item, "NX_class") == nx_class]


def entries_of(file: h5py.File, definitions: tuple[str, ...]) -> list[str]:
    """Entries whose definition is one of these, in the order of their names."""
    found = []
    for name, item in _items(file, h5py.Group):
        contents = Contents(file, [])
        if isinstance(item, h5py.Group) and contents.string(f"{name}/definition") in definitions:
            found.append(name)
    return sorted(found)


def names_in(file: h5py.File, entry: str) -> CXINames:
    """Names of an entry: those of CXI where they are there, else by the classes of NeXus.

    Parameters
    ----------
    file
        Open file.
    entry
        Name of the entry.
    """
    names = CXINames(entry)
    group = file.get(entry)
    instrument = _group(group, "instrument_1", "NXinstrument")
    inside = file.get(f"{entry}/{instrument}")
    names = replace(
        names,
        instrument=instrument,
        detector_name=_group(inside, "detector_1", "NXdetector", wants="data"),
        source_name=_group(inside, "source_1", "NXsource"),
        beam_name=_group(inside, "beam_1", "NXbeam"),
        monochromator_name=_group(inside, "monochromator_1", "NXmonochromator"),
        sample=_group(group, "sample_1", "NXsample"),
    )
    known = [path for path in names.frames if isinstance(file.get(path), h5py.Dataset)]
    signal = None if known else _signal(group)
    return names if signal is None else replace(names, signal=f"{entry}/{signal}")


def _group(group: Any, usual: str, nx_class: str, *, wants: str = "") -> str:
    """The usual name if it is there, else that of the group of the class, with what is wanted in it."""
    if not isinstance(group, h5py.Group) or usual in group:
        return usual
    found = _of_class(group, nx_class)
    having = [name for name in found if wants and wants in group[name]]
    return (having or found or [usual])[0]


def _signal(entry: Any) -> str | None:
    """Frames that an NXdata group names by its attribute, that of the entry's ``default`` first."""
    groups = _of_class(entry, "NXdata")
    default = text_of(entry, "default")
    for name in sorted(groups, key=lambda name: name != default):
        group = entry[name]
        signal = text_of(group, "signal")
        marked = [key for key, data in _items(group, h5py.Dataset) if text_of(data, "signal") == "1"]
        for key in [signal, *marked]:
            data = group.get(key) if key else None
            if isinstance(data, h5py.Dataset) and _are_frames(data):
                return f"{name}/{key}"
    return None


def _are_frames(data: h5py.Dataset) -> bool:
    return data.ndim in (3, 4) and min(data.shape[-2:]) >= _SMALLEST_FRAME_PX


@dataclass(frozen=True)
class _Motion:
    """One motor of the stage."""

    path: str
    axis: str
    sign: float
    is_stated: bool


def stage_positions(contents: Contents, found: Gathered, names: CXINames) -> Values | None:
    """Positions (n, 2) x, y from the motions of the stage; None where none, or not enough, are there.

    Motors are known by the vectors along which they move, else by their names. Those that move along one axis
    add up. Two axes of a raster are combined, in the order in which the file says that its frames run.
    """
    motions = _motions(contents.file, names)
    frames = contents.dataset(contents.first(*names.frames) or "")
    columns: dict[str, Values] = {}
    for axis in "xy":
        stated = [one for one in motions if one.axis == axis and one.is_stated]
        named = [one for one in motions if one.axis == axis and not one.is_stated]
        for one in stated or named[:1]:
            values = found.lengths(contents, one.path)
            if values is None:
                return None
            if values.size > 1 or axis not in columns:
                columns[axis] = _sum(columns.get(axis), one.sign * values)
    if set(columns) != {"x", "y"}:
        return None
    x, y = columns["x"], columns["y"]
    if frames is not None and frames.ndim == 4 and x.size * y.size == frames.shape[0] * frames.shape[1]:
        rows_are_x = _rows_are_x(contents.file, names, x.size, y.size, frames.shape[:2], found)
        if rows_are_x is not None:
            first, second = (x, y) if rows_are_x else (y, x)
            first, second = np.meshgrid(first.reshape(-1), second.reshape(-1), indexing="ij")
            x, y = (first, second) if rows_are_x else (second, first)
    return np.stack([x.reshape(-1), y.reshape(-1)], axis=1) if x.size == y.size else None


def _sum(before: Values | None, values: Values) -> Values:
    if before is None or before.size == 1:
        return values if before is None else values + before.reshape(-1)[0]
    return before + values if before.size == values.size else values


def _motions(file: h5py.File, names: CXINames) -> list[_Motion]:
    """Motors in the groups of the sample, those whose direction is stated and those with a name alone."""
    found = []
    for place in _places(file, names):
        for name, data in _items(file.get(place), h5py.Dataset):
            if text_of(data, "transformation_type") not in ("", "translation"):
                continue
            vector = np.asarray(data.attrs["vector"], dtype=float) if "vector" in data.attrs else np.zeros(0)
            length = float(np.linalg.norm(vector)) if vector.shape == (3,) else 0.0
            if length > 0:
                along = int(np.abs(vector).argmax())
                if abs(vector[along]) >= _ALONG * length and along < 2:
                    sign = float(np.sign(vector[along]))
                    found.append(_Motion(f"{place}/{name}", "xy"[along], sign, True))
            elif split_name(name)[0] and data.dtype.kind in "iuf":
                found.append(_Motion(f"{place}/{name}", split_name(name)[0], 1.0, False))
        if {one.axis for one in found} == {"x", "y"}:
            return found
    return found


def _places(file: h5py.File, names: CXINames) -> list[str]:
    """Groups in which motors may be: transformations of the sample, its geometry, and the data."""
    sample = f"{names.entry}/{names.sample}"
    group = file.get(sample)
    classes = [f"{sample}/{name}" for name in _of_class(group, "NXtransformations")]
    usual = [f"{sample}/transformations", f"{sample}/geometry_1", sample]
    data = [f"{names.entry}/{name}" for name in _of_class(file.get(names.entry), "NXdata")]
    return list(dict.fromkeys([*classes, *usual, *data, f"{names.entry}/data_1"]))


def _rows_are_x(
    file: h5py.File, names: CXINames, n_x: int, n_y: int, shape: tuple[int, ...], found: Gathered
) -> bool | None:
    """Whether the first axis of the frames of a raster runs along x; None where it is no raster of these."""
    fits = [rows for rows, sizes in ((False, (n_y, n_x)), (True, (n_x, n_y))) if sizes == tuple(shape)]
    if len(fits) < 2:
        return fits[0] if fits else None
    for name in _of_class(file.get(names.entry), "NXdata"):
        group = file[f"{names.entry}/{name}"]
        indices = {axis: text_of(group, f"{axis}_indices") for axis in "xy"}
        if set(indices.values()) == {"0", "1"}:
            return indices["x"] == "0"
        axes = [split_name(axis)[0] for axis in text_of(group, "axes").split(":")[:2]]
        if set(axes) == {"x", "y"}:
            return axes[0] == "x"
    found.remarks.append(
        f"frames of a raster of {n_y} x {n_x}: the file does not say which axis runs first; y is taken for "
        "the rows"
    )
    return False
