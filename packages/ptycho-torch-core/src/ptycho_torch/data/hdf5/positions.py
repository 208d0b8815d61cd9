"""Positions of HDF5 layouts: paired with frames by number, and brought from metres to pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.geometry import (
    ENERGY,
    OBJECT_PIXEL,
    ZERO,
    Pair,
    object_pixels_m,
)
from ptycho_torch.errors import Fault, fault

__all__ = ["check_energy", "check_pixel", "pair_by_index", "positions_from_metres", "zero_entries"]

Indices = npt.NDArray[np.int64]
Positions = npt.NDArray[np.float64]

_SAME_PIXEL = 0.02


def pair_by_index(
    frame_index: Indices,
    position_index: Indices,
    positions: Positions,
    problems: list[str],
    remarks: list[str],
) -> tuple[Indices, Positions]:
    """Frames that have a position, and their positions.

    A position without a frame is left out. Several positions of one number were measured during one exposure:
    their mean is taken. A frame whose number lies between those of positions gets its place between them, as
    ptychodus does it; other frames without a position are left out. Remarks say how many.

    Parameters
    ----------
    frame_index, position_index
        int64, ``(n,)`` and ``(m,)``: numbers in the measurement; negative: an empty slot.
    positions
        ``(m, 2)``.
    problems
        A sentence is appended when there is no pair at all.
    remarks
        Sentences about what was left out or averaged are appended.

    Returns
    -------
    rows, positions
        int64 ``(k,)`` into the frames, and ``(k, 2)``.
    """
    numbers, inverse = np.unique(position_index, return_inverse=True)
    times = np.bincount(inverse)
    mean = np.stack([np.bincount(inverse, weights=column) / times for column in positions.T], axis=1)
    real = numbers >= 0
    mean, times, numbers = mean[real], times[real], numbers[real]
    exact = np.isin(frame_index, numbers) & (frame_index >= 0)
    rows = np.zeros(0, dtype=np.int64)
    if exact.any():
        rows = np.flatnonzero((frame_index >= numbers[0]) & (frame_index <= numbers[-1]))
    if not rows.size:
        problems.append(
            Fault(
                f"no frame has a position: frames are numbered {frame_index.min()} to {frame_index.max()}, "
                f"positions {position_index.min()} to {position_index.max()}; the files are of different "
                "scans",
                "positions",
            )
        )
        return rows, positions[:0]
    alone = int((frame_index >= 0).sum()) - rows.size
    unused = int((~np.isin(numbers, frame_index)).sum())
    if alone or unused:
        remarks.append(
            f"{alone} frames without a position and {unused} positions without a frame are left out; "
            f"{rows.size} pairs remain"
        )
    several = int((times > 1).sum())
    if several:
        remarks.append(f"{several} frames have several positions; their mean is taken")
    chosen = frame_index[rows]
    filled = int(len(rows) - exact[rows].sum())
    if filled:
        remarks.append(
            f"{filled} frames have no position of their number; it is put between those of their neighbours"
        )
    places = [np.interp(chosen, numbers, column) for column in mean.T]
    return rows, np.stack(places, axis=1)


def positions_from_metres(
    y_m: Positions, x_m: Positions, *, pixel_m: Pair, centre_m: Pair, shape: tuple[int, int]
) -> Positions:
    """Positions (n, 2) ``[y, x]`` in px of an object array.

    ``px = (metres - centre) / pixel + (size - 1) / 2`` along each axis.

    Parameters
    ----------
    y_m, x_m
        (n,) each.
    pixel_m, centre_m
        ``(y, x)``: object pixel, and centre of the object array.
    shape
        ``(height, width)`` of the object array; px.
    """
    columns = [
        (metres - centre) / pixel + (size - 1) / 2
        for metres, centre, pixel, size in zip((y_m, x_m), centre_m, pixel_m, shape, strict=True)
    ]
    return np.stack(columns, axis=1)


def check_pixel(
    stated_m: Pair,
    detector_m: Pair,
    shape: tuple[int, int],
    remarks: list[str],
    *,
    metadata: Mapping[str, Any],
    energy_eV: float,
    distance_m: float,
) -> None:
    """Remark when the object pixel is not the one that detector, energy and distance make."""
    made = object_pixels_m(metadata, detector_m, shape, energy_eV=energy_eV, distance_m=distance_m)
    for stated, expected, axis in zip(stated_m, made, ("height", "width"), strict=True):
        if abs(stated / expected - 1) > _SAME_PIXEL:
            remarks.append(
                f"object pixel {axis} is {stated:.4g} m, but energy, distance and detector pixel make it "
                f"{expected:.4g} m; the stated one is used"
            )


def zero_entries(pixel_m: Pair, centre_m: Pair, shape: tuple[int, int]) -> dict[str, float]:
    """Metadata of the pixel grid: pixel size, and where index zero of an object array of ``shape`` lies."""
    zero = [c - (size - 1) / 2 * p for c, size, p in zip(centre_m, shape, pixel_m, strict=True)]
    return {name: float(value) for name, value in zip((*OBJECT_PIXEL, *ZERO), (*pixel_m, *zero), strict=True)}


def check_energy(energy_eV: float | None, name: str, problems: list[str]) -> float | None:
    """Energy when it is one, else None with a problem."""
    if energy_eV is None:
        return None
    if not 1e-3 < energy_eV < 1e9:
        problems.append(
            fault(
                name,
                f"a photon energy of {energy_eV:g} eV, expected electronvolts in {ENERGY} and joules in CXI; "
                "correct it",
            )
        )
        return None
    return energy_eV
