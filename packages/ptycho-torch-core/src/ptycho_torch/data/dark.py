"""Dark frames: what the detector counts while no light comes through the object."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.advice import AS_FRAMES
from ptycho_torch.data.array_files import read_npy
from ptycho_torch.data.npz_archive import read_arrays
from ptycho_torch.errors import DataError, Fault, fault

__all__ = ["load_dark"]

_NAME = "dark_file"


def load_dark(path: str | PathLike[str], n_pixels: int) -> npt.NDArray[np.float64]:
    """Mean dark frame of a file, (N, N) float64, in counts.

    Parameters
    ----------
    path
        NPY, or NPZ with one array or with one that is named ``dark``: ``(N, N)``, or frames ``(n, N, N)``, of
        which the mean is taken.
    n_pixels
        N, that of the frames as they are read.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DataError
        It holds no such array, or values that are no counts.
    """
    source = Path(path)
    found = _array(source)
    if found.dtype.kind not in "biuf" or found.ndim not in (2, 3) or found.shape[-2:] != (n_pixels, n_pixels):
        wanted = f"counts ({n_pixels}, {n_pixels}) or (n, {n_pixels}, {n_pixels}), as the frames are read"
        raise DataError(
            fault(_NAME, f"expected {wanted}, got {found.dtype} {found.shape}; {AS_FRAMES}"), source
        )
    frame = found.astype(np.float64).reshape(-1, n_pixels, n_pixels).mean(axis=0)
    if not (np.isfinite(frame).all() and (frame >= 0).all()):
        raise DataError(fault(_NAME, "expected counts of zero or more, got others; set them to zero"), source)
    return np.asarray(frame)


def _array(path: Path) -> npt.NDArray[Any]:
    if path.suffix != ".npz":
        try:
            return read_npy(path)
        except ValueError as error:
            raise DataError(
                fault(_NAME, f"expected an array in a file .npy or .npz; store it so ({error})"), path
            ) from error
    arrays, keys, problems = read_arrays(path)
    if problems:
        raise DataError(problems, path)
    if "dark" in arrays:
        return arrays["dark"]
    if len(arrays) != 1:
        listed = ", ".join(sorted(keys)) or "none"
        raise DataError(
            Fault(f"expected one array, or one named dark; name one so; keys found: {listed}", _NAME), path
        )
    return next(iter(arrays.values()))
