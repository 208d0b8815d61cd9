"""Open and search HDF5 files, with sentences for what is wrong with them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_torch.data.advice import AS_FRAMES, AS_STACK
from ptycho_torch.data.hdf5.kinds import as_numbers, why_no_frames, why_no_numbers, why_too_large
from ptycho_torch.data.hdf5.links import broken_link, headers_and_links, missing_parts
from ptycho_torch.data.hdf5.unfilled import filled_parts
from ptycho_torch.data.hdf5.units import UNITS, scale_of, stated_unit
from ptycho_torch.data.paths import permitted
from ptycho_torch.data.scan.hdf5_frames import HDF5Frames
from ptycho_torch.data.scan.header import ArrayHeader
from ptycho_torch.data.scan.misfits import too_many
from ptycho_torch.data.scan.stored import missing_filters, open_hdf5
from ptycho_torch.errors import DataError, Fault, fault

__all__ = ["Contents", "StoredArray", "is_hdf5", "opened"]

logger = logging.getLogger(__name__)

_DAMAGED = (OSError, RuntimeError, KeyError, UnicodeDecodeError)
"""What the HDF5 library raises where the structure of a file is broken."""

_LISTED = 40


def is_hdf5(path: str | PathLike[str]) -> bool:
    """Whether the file has the signature of HDF5, sound or not."""
    return bool(h5py.is_hdf5(Path(path)))


@contextmanager
def opened(path: str | PathLike[str]) -> Iterator[h5py.File]:
    """Open an HDF5 file to read.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    PermissionError
        The file is not readable for this user.
    DataError
        It is truncated, damaged, in use by a writer or no HDF5 file, as may only be seen inside the block.
    """
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file; give the path of an HDF5 scan")
    if not source.is_file():
        raise DataError("not a file; give the path of one HDF5 file", source)
    try:
        with permitted(source):
            file = open_hdf5(source)
    except PermissionError:
        raise
    except OSError as error:
        raise DataError(_why_not(source, str(error)), source) from error
    with file:
        try:
            yield file
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the system said no, not the library
            said = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise DataError(f"damaged HDF5 file ({said}); copy or write the file again", source) from error


def _why_not(source: Path, said: str) -> str:
    size = source.stat().st_size
    if size == 0:
        return "the file is empty; expected an HDF5 file"
    if "truncated file" in said:
        return f"truncated HDF5 file, only {size} bytes are there; copy or write the file again"
    if "lock" in said:
        return (
            "being written by another program; wait until it is closed, or let that program write in SWMR "
            "mode, "
            "so that the frames written so far can be read"
        )
    if "not already open for SWMR" in said:
        return (
            "being written, or left open by a program that ended without closing it; wait for the program, "
            "or "
            f"release the file with: h5clear --status {source}"
        )
    if not is_hdf5(source):
        return "the content is not HDF5"
    return f"damaged HDF5 file ({said}); copy or write the file again"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredArray:
    """An array that stays in its file until it is asked for.

    Attributes
    ----------
    path, name, label
        File, dataset, and what tells the file apart in messages.
    shape, dtype
        Of what `load` gives.
    layer
        Index into the first axis of the dataset; None: all of it.
    """

    path: Path
    name: str
    label: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layer: int | None = None

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def load(self, problems: list[str]) -> npt.NDArray[Any] | None:
        """The values, None with a problem when they cannot be read."""
        with opened(self.path) as file:
            return Contents(file, problems, self.label).array(self.name, self.layer)


class Contents:
    """One open file, and the problems met while its parts are fetched.

    Parameters
    ----------
    file
        Open HDF5 file.
    problems
        Sentences are appended here.
    label
        Put before the names in messages, to tell two files apart.
    """

    def __init__(self, file: h5py.File, problems: list[str], label: str = "") -> None:
        self.file = file
        self.problems = problems
        self.label = label
        self.path = Path(file.filename)

    def report(self, problem: Fault) -> None:
        """Note a problem of this file."""
        self.problems.append(problem.reworded(f"{self.label}: {problem}") if self.label else problem)

    def headers(self) -> dict[str, ArrayHeader]:
        """Shape and dtype of every dataset; no array is loaded."""
        return headers_and_links(self.file)[0]

    def found(self) -> str:
        """Names of the datasets, and where links out of the file lead, for a message."""
        headers, links = headers_and_links(self.file)
        names = [f"{name} -> {links[name]}" if name in links else name for name in sorted({*headers, *links})]
        listed = ", ".join(names[:_LISTED]) or "none"
        return listed if len(names) <= _LISTED else f"{listed} and {len(names) - _LISTED} more"

    def require(self, *names: str) -> bool:
        """Whether all these datasets are there; a problem that names the missing ones if not.

        Of a link that leads nowhere, it is said what it leads to.
        """
        absent = [name for name in names if self.dataset(name) is None]
        broken = {name: broken_link(self.file, name) for name in absent}
        for name, sentence in broken.items():
            if sentence is not None:
                self.report(Fault(sentence, name))
        missing = [name for name in absent if broken[name] is None]
        if missing:
            kind = "dataset" if len(missing) == 1 else "datasets"
            self.report(
                Fault(
                    f"missing {kind} {', '.join(missing)}; datasets found: {self.found()}", ", ".join(missing)
                )
            )
        return not absent

    def dataset(self, name: str) -> h5py.Dataset | None:
        """Dataset of that name, None when there is none."""
        try:
            item = self.file.get(name)
        except (KeyError, OSError):  # a link that leads out of the file to nowhere
            return None
        return item if isinstance(item, h5py.Dataset) else None

    def first(self, *names: str) -> str | None:
        """The first of ``names`` that is a dataset."""
        return next((name for name in names if self.dataset(name) is not None), None)

    def require_first(self, *names: str) -> str | None:
        """The first of ``names`` that is a dataset; a problem where none is, about a broken link if any."""
        found = self.first(*names)
        if found is None:
            self.require(next((name for name in names if broken_link(self.file, name)), names[0]))
        return found

    def stored(self, name: str) -> StoredArray | None:
        """A dataset that is left in the file, None when it is absent."""
        data = self.dataset(name)
        if data is None or not self._holds_numbers(data, name):
            return None
        return StoredArray(
            path=self.path, name=name, label=self.label, shape=tuple(data.shape or ()), dtype=data.dtype
        )

    def array(
        self,
        name: str,
        layer: int | None = None,
        *,
        shape: tuple[int, ...] | None = None,
        are_few: bool = False,
    ) -> npt.NDArray[Any] | None:
        """Numbers of a dataset, or of one index of its first axis; None when absent or not to be read.

        Parameters
        ----------
        name
            Of the dataset.
        layer
            Index of its first axis; None: all of it.
        shape
            Of the frames, which that of the dataset has to be; None: any.
        are_few
            Whether it holds some numbers for each frame at most.
        """
        data = self.dataset(name)
        if data is None or not self._holds_numbers(data, name):
            return None
        if shape is not None and data.shape != shape:
            self.report(fault(name, f"expected shape {shape} as the frames, got {data.shape}; {AS_FRAMES}"))
            return None
        said = too_many(data.size) if are_few else None
        said = said or why_too_large(data, data.shape if layer is None else data.shape[1:])
        if said is not None:
            self.report(fault(name, said.reworded(f"an array of shape {data.shape} {said}")))
            return None
        absent = missing_parts(data)
        if absent is not None:
            self.report(fault(name, absent))
            return None
        try:
            if not self._can_unpack(data, name):
                return None
            return as_numbers(np.asarray(data[() if layer is None else layer]))
        except (OSError, TypeError) as error:
            self.report(fault(name, f"cannot be read ({error}); copy or write the file again"))
            return None

    def _holds_numbers(self, data: h5py.Dataset, name: str) -> bool:
        """Whether there are numbers in a dataset; a problem if not."""
        kind = why_no_numbers(data)
        if kind is not None:
            self.report(
                fault(name, f"expected numbers, but it holds {kind}; store it as an array of numbers")
            )
        return kind is None

    def number(self, name: str) -> float | None:
        """Single real number of a dataset, None when it is absent or none."""
        values = self.array(name, are_few=True)
        return None if values is None else self._single(values, name)

    def quantities(
        self, name: str, result: str, default: str = "", *, instead: str | None = None
    ) -> npt.NDArray[np.float64] | None:
        """Real numbers of a dataset in the unit ``result``, by the unit that the file states beside them.

        Parameters
        ----------
        name
            Of the dataset.
        result
            ``"m"`` or ``"eV"``.
        default
            Unit where the file states none; ``result`` when left out.
        instead
            Unit that somebody states in place of the file's.
        """
        data, values = self.dataset(name), self.array(name, are_few=True)
        if data is None or values is None:
            return None
        unit = instead or stated_unit(data) or default or result
        factor = scale_of(unit, result)
        if factor is None:
            self.report(fault(name, f"the unit is stated as {unit!r}, expected {UNITS[result]}; correct it"))
            return None
        if values.dtype.kind not in "iuf":
            self.report(
                fault(
                    name, f"expected real numbers, got {values.dtype} of shape {values.shape}; store lengths"
                )
            )
            return None
        return values.astype(np.float64) if factor == 1 else values * factor

    def quantity(self, name: str, result: str, default: str = "") -> float | None:
        """As `quantities`, a single one; repeats of one number are that number."""
        values = self.quantities(name, result, default)
        if (
            values is not None
            and values.size > 1
            and np.isclose(values, values.flat[0], rtol=1e-6, atol=0).all()
        ):
            values = values.reshape(-1)[:1]
        return None if values is None else self._single(values, name)

    def string(self, name: str) -> str | None:
        """Text of a dataset, None when it is absent or no text."""
        data = self.dataset(name)
        if data is None or h5py.check_string_dtype(data.dtype) is None or data.size != 1:
            return None
        text = data[()] if data.shape == () else data.asstr("utf-8", errors="replace")[:].reshape(-1)[0]
        return text.decode("utf-8", errors="replace") if isinstance(text, bytes) else str(text)

    def attribute(self, name: str, of: str = "/") -> float | None:
        """Single real number of an attribute of a dataset or of the root, None when it is absent or none."""
        item = self.file.get(of)
        if item is None or name not in item.attrs:
            return None
        said = name if of == "/" else f"{of}: attribute {name}"
        values = self._attribute(item, name, said)
        return None if values is None else self._single(values, said)

    def flag(self, name: str, of: str, *, default: bool) -> bool:
        """Yes or no of an attribute, with a problem when it is something else; ``default`` without one."""
        item = self.file.get(of)
        if item is None or name not in item.attrs:
            return default
        said = f"{of}: attribute {name}"
        values = self._attribute(item, name, said)
        if values is None or (values.size == 1 and values.dtype.kind in "biu"):
            return default if values is None else bool(values.reshape(-1)[0])
        self.report(
            fault(
                said, f"expected true or false, got {values.dtype} of shape {values.shape}; store one of them"
            )
        )
        return default

    def _attribute(self, item: Any, name: str, said: str) -> npt.NDArray[Any] | None:
        try:
            return np.asarray(item.attrs[name])
        except (OSError, TypeError, ValueError) as error:
            self.report(fault(said, f"cannot be read ({error}); store one number"))
            return None

    def text(self, name: str) -> str | None:
        """Text of a root attribute, None when it is absent."""
        try:
            value = self.file.attrs.get(name)
        except (OSError, TypeError, ValueError):
            # Of a type that Python has no value for: no text.
            return None
        if isinstance(value, bytes):
            return value.decode("utf-8", errors="replace")
        return value if isinstance(value, str) else None

    def _can_unpack(self, data: h5py.Dataset, name: str) -> bool:
        unreadable = missing_filters(data)
        if unreadable:
            self.report(
                fault(
                    name,
                    f"packed with {', '.join(unreadable)}, which this installation of HDF5 cannot read; "
                    "install the package hdf5plugin",
                )
            )
        return not unreadable

    def _single(self, values: npt.NDArray[Any], name: str) -> float | None:
        if values.size == 1 and values.dtype.kind in "iuf":
            return float(values.reshape(-1)[0])
        self.report(
            fault(name, f"expected one real number, got {values.dtype} of shape {values.shape}; store one")
        )
        return None

    def frames(self, name: str, *, raster: bool = False, last: bool = False) -> HDF5Frames | None:
        """Frames of a dataset, left in the file.

        Parameters
        ----------
        name
            Of a dataset ``(n, H, W)``.
        raster
            Whether it may also be ``(rows, columns, H, W)``.
        last
            Whether it is ``(H, W, n)`` instead.
        """
        data = self.dataset(name)
        if data is None or not self._holds_numbers(data, name):
            return None
        if not self._can_unpack(data, name):
            return None
        absent = missing_parts(data)
        if absent is not None:
            self.report(fault(name, absent))
            return None
        if data.ndim not in ((3, 4) if raster else (3,)) or 0 in data.shape:
            self.report(
                fault(
                    name,
                    f"expected shape (frames, N, N) with at least one frame, got {data.shape}; {AS_STACK}",
                )
            )
            return None
        said = why_no_frames(data, last=last)
        if said is not None:
            self.report(fault(name, said))
            return None
        filled = filled_parts(data, last=last)
        if filled is None:
            return HDF5Frames(self.path, name, last=last)
        if not filled.frames.any() or not filled.pixels.any():
            said = "no frame was ever written; wait for the detector, or copy the file again"
            self.report(fault(name, said))
            return None
        return HDF5Frames(self.path, name, last=last, filled=(filled.frames, filled.pixels))
