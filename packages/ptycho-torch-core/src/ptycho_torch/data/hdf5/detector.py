"""Frames, mask and optics of the master files of DECTRIS detectors; they hold no positions."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.advice import AS_FRAMES
from ptycho_torch.data.hdf5.files import Contents
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.optics import read_beam, read_lengths
from ptycho_torch.data.hdf5.units import scale_of, stated_unit
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.assemble import SATURATION_ENTRY
from ptycho_torch.data.scan.geometry import DETECTOR_PIXEL
from ptycho_torch.data.scan.header import Located
from ptycho_torch.data.scan.joined import JoinedFrames
from ptycho_torch.errors import fault

__all__ = ["cut_about", "facts_of_master", "is_master", "read_master"]

_DATA, _DETECTOR, _BEAM = "entry/data", "entry/instrument/detector", "entry/instrument/beam"
_BLOCK = re.compile(r"data_\d+")
_SPECIFIC = f"{_DETECTOR}/detectorSpecific"
_MOST_THRESHOLDS = 16
_SAME_PX = 0.5
"""From a centre to pixel N // 2: half a pixel is a convention."""

_MASKS = (f"{_DETECTOR}/pixel_mask", f"{_SPECIFIC}/pixel_mask")
_CEILINGS = (f"{_DETECTOR}/saturation_value", f"{_SPECIFIC}/countrate_correction_count_cutoff")


def is_master(candidate: Candidate) -> bool:
    """Whether a file is a master file: numbered blocks of frames beside a detector."""
    blocks = any(_BLOCK.fullmatch(name) for name in candidate.hdf5_names(_DATA))
    return blocks and bool(candidate.hdf5_names(_DETECTOR))


def read_master(contents: Contents, found: Gathered) -> None:
    """Frames of all blocks, cut to a square about the stated beam centre; the mask, and the optics."""
    group = contents.file[_DATA]
    names = sorted(f"{_DATA}/{name}" for name in group if _BLOCK.fullmatch(str(name)))
    if not contents.require(*names):
        return
    parts = [part for part in (contents.frames(name) for name in names) if part is not None]
    if len(parts) < len(names):
        return
    frames = JoinedFrames(parts)
    bad = _mask(contents, frames.shape[1:])
    _optics(contents, found)
    height, width = frames.shape[1:]
    centre = [_centre(contents, found, axis) for axis in "yx"]
    y, x = (
        stated if stated is not None and 0 < stated < size else size // 2
        for stated, size in zip(centre, (height, width), strict=True)
    )
    found.frames = frames
    found.bad_pixels = bad if bad is not None and np.any(bad) else None
    cut_about(found, (y, x))


def facts_of_master(
    file: Any,
) -> tuple[dict[str, Any], npt.NDArray[np.bool_] | None, tuple[int, int] | None, int | None]:
    """What an open master file says before all of its frames are there.

    Returns
    -------
    tuple
        Metadata; mask of the whole detector, True: not measured; ``(row, column)`` of the beam; how many
        frames there will be. None for what it does not say, and nothing of what it says wrong.
    """
    if _DETECTOR not in file:
        return {}, None, None, None
    contents = Contents(file, [])
    found = Gathered(located=Located(format="", files=(Path(file.filename),)), names={})
    _optics(contents, found)
    stored = contents.stored(contents.first(*_MASKS) or "")
    mask = (
        None if stored is None or stored.ndim < 2 else _mask(contents, (stored.shape[-2], stored.shape[-1]))
    )
    places = [_centre(contents, found, axis) for axis in "yx"]
    y, x = (None if place is None or not place > 0 else round(place) for place in places)
    counts = [contents.number(f"{_SPECIFIC}/{name}") for name in ("nimages", "ntrigger")]
    total = None if counts[0] is None else counts[0] * (counts[1] or 1)
    return (
        found.metadata,
        mask,
        None if y is None or x is None else (y, x),
        int(total) if total is not None and total >= 1 else None,
    )


def _optics(contents: Contents, found: Gathered) -> None:
    """Energy, lengths and ceiling into the metadata."""
    read_beam(
        contents,
        found,
        energies=[f"{_BEAM}/incident_energy", f"{_SPECIFIC}/photon_energy"],
        wavelengths=[f"{_BEAM}/incident_wavelength"],
        default="eV",
    )
    read_lengths(
        contents,
        found,
        distance=f"{_DETECTOR}/detector_distance",
        pixel_y=f"{_DETECTOR}/y_pixel_size",
        pixel_x=f"{_DETECTOR}/x_pixel_size",
    )
    for name in _CEILINGS:
        ceiling = contents.number(name)
        if ceiling is not None and ceiling > 0:
            found.metadata.setdefault(SATURATION_ENTRY, ceiling)


def _mask(contents: Contents, size: tuple[int, int]) -> npt.NDArray[np.bool_] | None:
    """Pixels that did not measure, of any threshold; None without a mask, or with a problem."""
    name = contents.first(*_MASKS)
    stored = None if name is None else contents.stored(name)
    if name is None or stored is None:
        return None
    thresholds = stored.shape[:-2]
    if stored.shape[-2:] != size or len(thresholds) > 1 or math.prod(thresholds) > _MOST_THRESHOLDS:
        contents.report(
            fault(
                name,
                f"expected shape {size} as the frames, got {stored.shape}; "
                f"{AS_FRAMES}, or state another with --mask",
            )
        )
        return None
    mask = contents.array(name)
    return None if mask is None else np.asarray((mask.reshape(-1, *size) != 0).any(axis=0))


def _centre(contents: Contents, found: Gathered, axis: str) -> float | None:
    """Where the beam meets the detector, px; stated so, or as a length."""
    name = f"{_DETECTOR}/beam_center_{axis}"
    if contents.dataset(name) is None:
        return None
    unit = stated_unit(contents.file[name]) or ""
    pixel = found.metadata.get(DETECTOR_PIXEL["yx".index(axis)])
    if scale_of(unit, "m") is None or pixel is None:
        return contents.number(name)
    length = contents.quantity(name, "m")
    return None if length is None else length / pixel


def cut_about(found: Gathered, centre_px: tuple[float, float]) -> None:
    """Cut frames and mask to the largest square about the pixel of the beam, with a remark.

    Parameters
    ----------
    found
        With frames, and the mask if there is one. Left as it is where the beam meets pixel N // 2.
    centre_px
        ``(row, column)``.
    """
    frames = found.frames
    if not isinstance(frames, JoinedFrames):
        return
    height, width = frames.shape[1:]
    y, x = (
        size // 2 if abs(at - size // 2) <= _SAME_PX else round(at)
        for at, size in zip(centre_px, (height, width), strict=True)
    )
    half = min(y, x, height - y, width - x)
    if half < 1 or (2 * half, 2 * half) == (height, width):
        return
    found.remarks.append(
        f"frames of {height} x {width} px are cut to {2 * half} x {2 * half} px about the beam centre, row "
        f"{y} and column {x}"
    )
    top, left = y - half, x - half
    found.window = ((height, width), top, left, 2 * half)
    found.frames = frames.cut(top, left, 2 * half)
    if found.bad_pixels is not None:
        found.bad_pixels = found.bad_pixels[top : top + 2 * half, left : left + 2 * half]
