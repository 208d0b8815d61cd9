"""Arrays of a scan that lie in files of their own: positions, probes and masks."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.data.advice import AS_FRAMES, BOTH_FOR_EACH
from ptycho_torch.data.array_files import TIFF, fits_memory, read_npy, read_tiff
from ptycho_torch.data.hdf5.files import Contents, is_hdf5, opened
from ptycho_torch.data.hdf5.units import stated_unit
from ptycho_torch.data.limits import too_large
from ptycho_torch.data.npz_archive import read_arrays
from ptycho_torch.data.paths import inside_of, permitted
from ptycho_torch.data.scan.misfits import too_many
from ptycho_torch.data.scan.tables import Places, columns_named, read_table
from ptycho_torch.errors import DataError, fault

__all__ = ["read_places", "read_stated_probe", "read_values"]

_COLUMNS = "write a row for every frame, or name the columns with --position-columns"

Problems = list[str]
Values = npt.NDArray[Any]
Shapes = tuple[tuple[int, ...], ...]

_LARGEST_TEXT = 1 << 28
_PROBES = ("probe", "probeGuess")


def _located(path: Path, name: str, problems: Problems) -> tuple[Path, str] | None:
    file, inside = inside_of(path)
    if not file.exists():
        problems.append(fault(name, f"{file}: no such file"))
        return None
    if not (file.is_file() or file.is_dir()):
        problems.append(
            fault(name, f"{file}: a pipe, socket or device, expected a file; copy its content to one")
        )
        return None
    return file, inside


def read_values(path: Path, name: str, problems: Problems, *, shapes: Shapes = ()) -> Values | None:
    """Array in a ``.npy``, ``.tif`` or text file, or an HDF5 dataset, ``file.h5:/path``; None with a problem.

    Parameters
    ----------
    path
        The file.
    name
        What the array is, for the message.
    problems
        Sentences are appended.
    shapes
        Those that it may have; empty: any.
    """
    found = _located(path, name, problems)
    if found is None:
        return None
    file, inside = found
    if file.is_file() and is_hdf5(file):
        return _values_in_hdf5(file, inside, name, problems, shapes)
    try:
        with permitted(file):
            return _array_of(file, shapes)
    except PermissionError as error:
        problems.append(fault(name, str(error)))
        return None
    except (ValueError, OSError) as error:
        said = f"{file}: cannot be read ({error}); expected .npy, .tif, .csv, .txt or HDF5"
        problems.append(fault(name, said))
        return None


def _array_of(file: Path, shapes: Shapes) -> Values:
    def fits(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if shapes and shape not in shapes:
            raise ValueError(
                f"expected shape {' or '.join(map(str, shapes))} as the frames, got {shape}; {AS_FRAMES}"
            )
        fits_memory(shape, dtype)

    if file.suffix.lower() in TIFF:
        return read_tiff(file, fits)
    if file.suffix.lower() == ".npy":
        return read_npy(file, fits)
    return np.loadtxt(file, delimiter="," if "," in _text(file)[:4096] else None, ndmin=2)


def _are_few(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    said = too_many(math.prod(shape))
    if said is not None:
        raise ValueError(said)


def _text(file: Path) -> str:
    said = too_large(file.stat().st_size, limit=_LARGEST_TEXT)
    if said is not None:
        raise ValueError(said)
    return file.read_text(encoding="utf-8-sig")


def _values_in_hdf5(file: Path, inside: str, name: str, problems: Problems, shapes: Shapes) -> Values | None:
    with opened(file) as hdf5:
        contents = Contents(hdf5, problems, file.name)
        if inside:
            stored = contents.stored(inside) if contents.require(inside) else None
            if stored is not None and shapes and stored.shape not in shapes:
                wanted = " or ".join(map(str, shapes))
                contents.report(
                    fault(name, f"expected shape {wanted} as the frames, got {stored.shape}; {AS_FRAMES}")
                )
                return None
            return None if stored is None else contents.array(inside)
        contents.report(fault(name, f"name the dataset as {file.name}:/path; found: {contents.found()}"))
        return None


def read_places(path: Path, columns: str | None, n_frames: int | None, problems: Problems) -> Places | None:
    """Positions of a file; None with a problem.

    Parameters
    ----------
    path
        Text with columns, ``.npy`` file, HDF5 dataset (n, 2), (n, 3) or (2, n), or group with x and y.
    columns
        Two names or numbers with a comma between them; None: by their names, else the first two.
    n_frames
        Tells (2, n) from (n, 2).
    problems
        Sentences are appended.
    """
    found = _located(path, "positions", problems)
    if found is None:
        return None
    file, inside = found
    try:
        if file.is_file() and is_hdf5(file):
            return _places_in_hdf5(file, inside, columns, n_frames, problems)
        if file.suffix.lower() == ".npy":
            return Places(_two_columns(read_npy(file, _are_few), columns, n_frames))
        with permitted(file):
            return read_table(_text(file), columns)
    except PermissionError as error:
        problems.append(fault("positions", str(error)))
        return None
    except (ValueError, OSError) as error:
        problems.append(fault("positions", f"{file}: {error}"))
        return None


def _two_columns(values: Values, columns: str | None, n_frames: int | None) -> npt.NDArray[np.float64]:
    """(n, 2) ``[y, x]`` of columns or rows x and y, and maybe more."""
    values = np.squeeze(values) if values.ndim > 2 else values
    if values.ndim != 2 or values.dtype.kind not in "iuf" or not values.size:
        raise ValueError(
            f"expected two columns x and y, got {values.dtype} of shape {values.shape}; {_COLUMNS}"
        )
    if len(values) in (2, 3) and values.shape[1] not in (2, 3) and values.shape[1] == n_frames:
        values = values.T
    if values.shape[1] < 2:
        raise ValueError(f"expected two columns x and y, got shape {values.shape}; {_COLUMNS}")
    chosen = columns_named([str(number) for number in range(values.shape[1])], columns or "0,1")
    if isinstance(chosen, str):
        raise ValueError(chosen)
    return values[:, [chosen[1], chosen[0]]].astype(np.float64)


def _places_in_hdf5(
    file: Path, inside: str, columns: str | None, n_frames: int | None, problems: Problems
) -> Places | None:
    with opened(file) as hdf5:
        contents = Contents(hdf5, problems, file.name)
        item = hdf5.get(inside or "/")
        if isinstance(item, h5py.Group):
            return _places_in_group(contents, item, inside, columns)
        if not contents.require(inside):
            return None
        values = contents.array(inside, are_few=True)
        if values is None:
            return None
        return Places(_two_columns(values, columns, n_frames), stated_unit(hdf5[inside]))


def _places_in_group(
    contents: Contents, group: h5py.Group, inside: str, columns: str | None
) -> Places | None:
    names = [str(name) for name, item in group.items() if isinstance(item, h5py.Dataset)]
    chosen = columns_named(names, columns)
    if isinstance(chosen, str):
        raise ValueError(f"{chosen}; or name a dataset as {contents.path.name}:/path")
    paths = [f"{inside}/{names[column]}".lstrip("/") for column in chosen]
    x, y = (contents.array(path, are_few=True) for path in paths)
    if x is None or y is None:
        return None
    if x.size != y.size:
        raise ValueError(
            f"{paths[0]} and {paths[1]} have {x.size} and {y.size} entries, expected as many; {BOTH_FOR_EACH}"
        )
    units = {stated_unit(contents.file[path]) for path in paths}
    if len(units) > 1:
        raise ValueError(f"{paths[0]} and {paths[1]} are in different units; bring them to one")
    yx = np.stack([y.reshape(-1), x.reshape(-1)], axis=1)
    if yx.dtype.kind not in "iuf":
        raise ValueError(f"expected numbers in {paths[0]} and {paths[1]}, got {yx.dtype}; store lengths")
    return Places(yx.astype(np.float64), units.pop())


def read_stated_probe(path: Path, problems: Problems) -> Values | None:
    """Probe of a file of its own; None with a problem.

    Parameters
    ----------
    path
        Complex ``.npy`` array or HDF5 dataset; an ``.npz`` or HDF5 file that holds one as ``probe`` or
        ``probeGuess``.
    problems
        Sentences are appended.
    """
    found = _located(path, "probe", problems)
    if found is None:
        return None
    file, inside = found
    values: Values | None
    if file.is_file() and zipfile.is_zipfile(file):
        values = _probe_in_npz(file, problems)
    else:
        if file.is_file() and not inside and is_hdf5(file):
            with opened(file) as hdf5:
                inside = next((name for name in _PROBES if name in hdf5), "")
        values = read_values(Path(f"{file}:/{inside}") if inside else file, "probe", problems)
    if values is not None and values.ndim == 4 and len(values):
        # (varying over the scan, modes, H, W): the first is taken throughout.
        values = values[0]
    return values


def _probe_in_npz(file: Path, problems: Problems) -> Values | None:
    try:
        arrays, keys, said = read_arrays(file, _PROBES)
    except DataError as error:
        problems.extend(fault("probe", problem) for problem in error.problems)
        return None
    problems.extend(said)
    if not arrays:
        listed = ", ".join(sorted(keys))
        problems.append(fault("probe", f"{file.name}: no {' or '.join(_PROBES)}; found: {listed}"))
        return None
    return next(iter(arrays.values()))
