"""Arrays of HDF5 layouts in canonical form: probe, object, mask, numbers of frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.advice import AS_FRAMES
from ptycho_torch.data.hdf5.files import Contents
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.errors import fault

__all__ = [
    "mask_to_write",
    "numbers_to_write",
    "positive",
    "read_mask",
    "read_object",
    "read_plain_mask",
    "read_probe",
    "whole_numbers",
]


_MASKS_TOGETHER = 64


def read_probe(contents: Contents, name: str, found: Gathered) -> None:
    """Modes (P, H, W) of a probe (coherent, incoherent, H, W), which varies over the scan if coherent > 1."""
    stored = contents.stored(name)
    if stored is not None and found.frames is not None and stored.ndim >= 2:
        side, frame = max(stored.shape[-2:]), max(found.frames.shape[1:])
        if side > frame:
            said = f"the probe ({side} px) is larger than the frames ({frame} px)"
            contents.report(fault(name, f"{said}; crop the probe to the frames"))
            return
    probe = None if stored is None else contents.array(name)
    if probe is not None and probe.ndim == 4 and probe.size:
        if probe.shape[0] > 1:
            found.remarks.append(
                f"{contents.path.name}: the probe varies over the scan in {probe.shape[0]} parts; the first "
                "is used throughout"
            )
        probe = probe[0]
    found.probe = probe


def read_object(contents: Contents, name: str, found: Gathered) -> None:
    """First layer (H, W) of an object (layers, H, W), left in the file; None where it holds no value."""
    image = contents.stored(name)
    if image is not None and image.ndim == 3 and image.size:
        if image.shape[0] > 1:
            found.remarks.append(
                f"{contents.path.name}: the object has {image.shape[0]} layers; the first is used"
            )
        image = replace(image, shape=image.shape[1:], layer=0)
    found.object = image


def whole_numbers(values: npt.NDArray[Any], name: str, contents: Contents) -> npt.NDArray[np.int64] | None:
    """Numbers of frames or positions as (n,) int64, None with a problem when they are not."""
    if values.ndim != 1 or not values.size or values.dtype.kind not in "iu":
        contents.report(
            fault(
                name,
                f"expected integers of shape (n,), got {values.dtype} of shape {values.shape}; "
                "number them from 0",
            )
        )
        return None
    return values.astype(np.int64)


def positive(value: float | None, name: str, contents: Contents) -> float | None:
    """The number when it is positive, None with a problem when it is not."""
    if value is not None and not (np.isfinite(value) and value > 0):
        contents.report(
            fault(name, f"expected a positive number, got {value:g}; correct it, or leave it out")
        )
        return None
    return value


def numbers_to_write(scan: Scan) -> npt.NDArray[np.int64]:
    """Frame numbers that pair frames and positions: those of the scan where they tell its frames apart."""
    numbers = scan.frame_index
    distinct = len(np.unique(numbers)) == len(numbers) and bool((numbers >= 0).all())
    return numbers if distinct else np.arange(scan.n_frames)


def mask_to_write(scan: Scan) -> npt.NDArray[np.bool_]:
    """Pixels that were not measured, (N, N); all false where a scan has no mask."""
    return np.zeros((scan.N, scan.N), dtype=np.bool_) if scan.bad_pixels is None else scan.bad_pixels


def read_plain_mask(contents: Contents, name: str, found: Gathered) -> npt.NDArray[Any] | None:
    """Values of a mask (N, N) of square frames; None where there is none, or with a problem."""
    size = () if found.frames is None else found.frames.shape[1:]
    # Frames that are not square are refused themselves.
    return contents.array(name, shape=size) if len(set(size)) == 1 else None


def read_mask(
    contents: Contents,
    name: str,
    found: Gathered,
    is_bad: Callable[[npt.NDArray[Any]], npt.NDArray[np.bool_]],
) -> npt.NDArray[np.bool_] | None:
    """Pixels that are bad in any frame, (H, W); None where there is no mask, or with a problem.

    Parameters
    ----------
    contents, name
        Dataset (H, W), or (n, H, W) with a mask for each frame, which is read in pieces.
    found
        A remark is appended where the masks of frames differ.
    is_bad
        From values of the dataset to whether a pixel is bad.
    """
    data = contents.dataset(name)
    if data is None or not data.size:
        return None
    if found.frames is None:
        return None
    size = found.frames.shape[1:]
    if data.ndim != 3:
        values = contents.array(name, shape=size)
        return None if values is None else is_bad(values)
    stack = contents.frames(name)
    if stack is None:
        return None
    if stack.shape[1:] != size:
        contents.report(fault(name, f"expected frames of shape {size}, got {stack.shape[1:]}; {AS_FRAMES}"))
        return None
    anywhere = np.zeros(stack.shape[1:], dtype=np.bool_)
    everywhere = ~anywhere
    for start in range(0, len(stack), _MASKS_TOGETHER):
        bad = is_bad(stack[start : start + _MASKS_TOGETHER])
        anywhere |= bad.any(axis=0)
        everywhere &= bad.all(axis=0)
    extra = int(np.count_nonzero(anywhere & ~everywhere))
    if extra:
        found.remarks.append(
            f"{name}: {extra} pixels are masked in some frames only; they count as not measured in all"
        )
    return anywhere
