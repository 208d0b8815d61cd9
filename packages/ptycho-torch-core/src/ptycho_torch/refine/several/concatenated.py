"""Several scans as one: which can be, and what it holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import ScanGeometry, is_near_field
from ptycho_torch.data.scan.joined import JoinedStacks
from ptycho_torch.data.scan.lazy import ConvertedFrames, Frames, FrameStack
from ptycho_torch.data.scan.near_field import near_field_of
from ptycho_torch.errors import DataError, Fault, MissingMetadata
from ptycho_torch.refine.frames import knows_dose

__all__ = ["concatenated", "require_joinable"]

_SAME = 1e-3
"""Relative difference of pixels and wavelengths that is less than what they are known to."""


def require_joinable(scans: Sequence[Scan]) -> None:
    """Refuse scans whose frames are not of one object on one grid.

    Raises
    ------
    DataError
        If frames differ in size, or object pixels, wavelength or place of the detector in what the scans say.
    """
    first = scans[0]
    for number, other in enumerate(scans[1:], start=2):
        said = _differences(first, other)
        if said:
            raise DataError([Fault(f"scan {number}: {one}", "scans") for one in said], other.source)


def _differences(first: Scan, other: Scan) -> list[str]:
    if first.N != other.N:
        return [f"frames of {other.N} px, those of the first scan have {first.N}; crop them to one size"]
    if is_near_field(first.metadata) != is_near_field(other.metadata):
        return ["one of this scan and the first is in the near field, the other in the far field"]
    mine, theirs = _geometry(first), _geometry(other)
    if mine is None or theirs is None:
        return []
    pairs = [
        ("photon energy", mine.energy_eV, theirs.energy_eV, "eV"),
        *(
            (f"object pixel in {axis}", one, two, "m")
            for axis, one, two in zip("yx", mine.object_pixel_m, theirs.object_pixel_m, strict=True)
        ),
    ]
    if is_near_field(first.metadata):
        distances = [near_field_of(scan.metadata, scan.N) for scan in (first, other)]
        one, two = (optics.distance_m for optics in distances if optics is not None)
        pairs.append(("effective distance", one, two, "m"))
    return [
        f"{name} {found:.6g} {unit}, that of the first scan is {wanted:.6g} {unit}; "
        "scans that are fitted together have the same"
        for name, wanted, found, unit in pairs
        if not math.isclose(wanted, found, rel_tol=_SAME)
    ]


def _geometry(scan: Scan) -> ScanGeometry | None:
    try:
        return ScanGeometry.from_entries(scan.metadata, scan.N)
    except MissingMetadata:
        return None


def concatenated(scans: Sequence[Scan]) -> Scan:
    """All frames, one scan after the other, numbered by ``scan_index``; the rest is that of the first scan.

    Parameters
    ----------
    scans
        At least two, that :func:`require_joinable` lets pass, with positions in one system of coordinates.

    Returns
    -------
    Scan
        A pixel that one of the scans lacks is missing in all, and so are counts from the lowest ceiling on.
    """
    masks = [one.bad_pixels for one in scans if one.bad_pixels is not None]
    bad = np.logical_or.reduce(masks) if masks else None
    ceilings = [one.ceiling for one in scans if one.ceiling is not None]
    doubtful = [one.domain for one in scans if not knows_dose(one)]
    return replace(
        scans[0],
        diffraction=_frames([one.diffraction for one in scans], bad),
        positions=np.concatenate([one.positions for one in scans]),
        positions_nominal=np.concatenate([one.positions_nominal for one in scans]),
        scan_index=np.repeat(np.arange(len(scans)), [one.n_frames for one in scans]),
        frame_index=np.arange(sum(one.n_frames for one in scans)),
        bad_pixels=bad,
        ceiling=np.minimum.reduce(ceilings) if ceilings else None,
        labels=None,
        domain=doubtful[0] if doubtful else scans[0].domain,
        findings=(),
        statistics=None,
    )


def _frames(parts: Sequence[Frames], bad: npt.NDArray[np.bool_] | None) -> Frames:
    if not any(isinstance(part, FrameStack) for part in parts):
        values = np.concatenate([np.asarray(part) for part in parts])
        if bad is not None:
            values[:, bad] = 0
        return values
    stack = JoinedStacks(parts)
    return stack if bad is None else ConvertedFrames(stack, _Masked(bad), stack.dtype)


class _Masked:
    """Zero at bad pixels; a class so that it can be pickled."""

    def __init__(self, bad: npt.NDArray[np.bool_]) -> None:
        self.bad = bad

    def __call__(self, block: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.where(self.bad, np.zeros((), block.dtype), block)
