"""Frames, mask and optics of the master files of DECTRIS detectors; they hold no positions."""

from __future__ import annotations

import re

import numpy as np

from ptycho_torch.data.hdf5.files import Contents
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.optics import read_beam, read_lengths
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.assemble import SATURATION_ENTRY
from ptycho_torch.data.scan.joined import JoinedFrames

__all__ = ["is_master", "read_master"]

_DATA, _DETECTOR, _BEAM = "entry/data", "entry/instrument/detector", "entry/instrument/beam"
_BLOCK = re.compile(r"data_\d+")
_SPECIFIC = f"{_DETECTOR}/detectorSpecific"
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
    mask = None
    for name in (f"{_DETECTOR}/pixel_mask", f"{_SPECIFIC}/pixel_mask"):
        mask = contents.array(name) if mask is None else mask
    bad = None if mask is None or mask.shape != frames.shape[1:] else mask != 0
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
    centre = contents.number(f"{_DETECTOR}/beam_center_y"), contents.number(f"{_DETECTOR}/beam_center_x")
    height, width = frames.shape[1:]
    y, x = (
        round(stated) if stated is not None and 0 < stated < size else size // 2
        for stated, size in zip(centre, (height, width), strict=True)
    )
    half = min(y, x, height - y, width - x)
    if (2 * half, 2 * half) != (height, width) and half:
        found.remarks.append(
            f"frames of {height} x {width} px are cut to {2 * half} x {2 * half} px about the beam centre, "
            f"row {y} and "
            f"column {x}"
        )
        found.window = ((height, width), y - half, x - half, 2 * half)
        frames = frames.cut(y - half, x - half, 2 * half)
        bad = None if bad is None else bad[y - half : y + half, x - half : x + half]
    found.frames = frames
    found.bad_pixels = bad if bad is not None and np.any(bad) else None
