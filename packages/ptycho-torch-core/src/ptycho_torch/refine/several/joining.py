"""Find how several scans of one object lie to each other, and put them on one canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.errors import DataError, fault
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.several.concatenated import concatenated
from ptycho_torch.refine.several.register import Registration, register

__all__ = ["Joined", "joined"]

_LEAST_AGREEMENT = 0.5
_LEAST_OVERLAP = 1 / 8
"""Of the area of a frame, in what both scans light."""
_TILTED_PX = 0.25
"""Distance of two beams on the detector that is no error of the phase; px."""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Several scans as one problem.

    Attributes
    ----------
    scan
        All frames, positions in the coordinates of the first scan, ``scan_index`` from 0.
    probes
        (scans, modes, N, N) complex64.
    offsets_px
        (scans, 2) float64 ``[y, x]``: what was added to the positions of each; zero for the first.
    """

    scan: Scan
    probes: npt.NDArray[np.complex64]
    offsets_px: npt.NDArray[np.float64]


def joined(scans: Sequence[Scan], objects: Sequence[StitchedObject]) -> Joined:
    """Place scans beside the first one, each by that of the others with which it agrees most.

    Parameters
    ----------
    scans
        At least two.
    objects
        What each of them shows alone.

    Raises
    ------
    DataError
        If a scan shares no lit area with the others, or shows another object there.
    """
    n_pixels = scans[0].N
    least = round(_LEAST_OVERLAP * n_pixels**2)
    offsets, ramps = {0: np.zeros(2)}, {0: np.zeros(2)}
    looked_at: dict[tuple[int, int], Registration | None] = {}
    while len(offsets) < len(scans):
        pairs = [(known, other) for known in offsets for other in range(len(scans)) if other not in offsets]
        for pair in pairs:
            if pair not in looked_at:
                looked_at[pair] = register(objects[pair[0]], objects[pair[1]], least)
        known, other = max(pairs, key=lambda pair: _agreement(looked_at[pair]))
        found = looked_at[known, other]
        if found is None or found.agreement < _LEAST_AGREEMENT:
            raise _apart(other, found, least, scans)
        offsets[other] = offsets[known] + found.offset_px
        ramps[other] = ramps[known] + found.ramp_rad_per_px
    order = range(len(scans))
    moved = [replace(scans[k], positions=scans[k].positions + offsets[k]) for k in order]
    return Joined(
        scan=concatenated(moved),
        probes=_padded([_tilted(scans[k].probe, ramps[k]) for k in order]),
        offsets_px=np.stack([offsets[k] for k in order]),
    )


def _agreement(found: Registration | None) -> float:
    return 0.0 if found is None else found.agreement


def _apart(other: int, found: Registration | None, least: int, scans: Sequence[Scan]) -> DataError:
    """Why a scan cannot be joined."""
    best = (
        f"no shift lets them share {least} lit pixels"
        if found is None
        else f"at the best shift, {_shown(found)}, they agree by {found.agreement:.2f} over "
        f"{found.overlap_px} pixels, expected {_LEAST_AGREEMENT:g} or more"
    )
    return DataError(
        fault(
            "scans",
            f"scan {other + 1} of {len(scans)} shows no part of the object that another one shows: {best}. "
            "Scans that are fitted together must overlap; refine this one alone, and with more of what is "
            "unknown (--refine-probe, --position-search-px) where its object is not there",
        ),
        scans[other].source,
    )


def _shown(found: Registration) -> str:
    y, x = found.offset_px
    return f"({y:.1f}, {x:.1f}) px"


def _tilted(probe: npt.NDArray[np.complex64], ramp: npt.NDArray[np.float64]) -> npt.NDArray[np.complex64]:
    """The probe with the phase ramp that the object of its scan had, where that is a tilt of the beam."""
    n = probe.shape[-1]
    if np.abs(ramp).max() * n / (2 * np.pi) < _TILTED_PX:
        return probe
    axis = np.arange(n) - n // 2
    phase = ramp[0] * axis[:, None] + ramp[1] * axis[None, :]
    return (probe * np.exp(1j * phase)).astype(np.complex64)


def _padded(probes: Sequence[npt.NDArray[np.complex64]]) -> npt.NDArray[np.complex64]:
    """Probes with as many modes as the one with the most; modes without light stay without."""
    most = max(len(probe) for probe in probes)
    every = np.zeros((len(probes), most, *probes[0].shape[1:]), dtype=np.complex64)
    for own, probe in zip(every, probes, strict=True):
        own[: len(probe)] = probe
    return every
