"""Refine several scans of one object together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import RefineConfig, evolve
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.geometry import ScanGeometry
from ptycho_torch.errors import MissingMetadata
from ptycho_torch.refine.position_search import PositionsFound
from ptycho_torch.refine.residual import forward_residual
from ptycho_torch.refine.result import ProbeVariation, RefinementInterrupted, RefineResult, ScanResult
from ptycho_torch.refine.several.concatenated import require_joinable
from ptycho_torch.refine.several.joining import Joined, joined

__all__ = ["refine_together"]

_LOOKING_EPOCHS = 20

Search = Callable[[Scan, str], PositionsFound]
Look = Callable[[Scan, RefineConfig, str], RefineResult]
Solve = Callable[[Joined, RefineConfig], RefineResult]


def refine_together(
    scans: Sequence[Scan],
    config: RefineConfig,
    *,
    search: Search,
    look: Look,
    solve: Solve,
    device: torch.device,
) -> RefineResult:
    """One object from several scans.

    Each is refined alone for some epochs, the objects are placed beside each other, and then all is fitted
    together.

    Parameters
    ----------
    scans
        At least two.
    config
        What is fitted, and how.
    search
        Finds the frames of a scan, where ``position_search_px`` is set; hears what it is about.
    look
        Refines one scan.
    solve
        Refines all of them.
    device
        Where the object is compared with the frames of each.

    Raises
    ------
    DataError
        If they cannot be joined.
    """
    require_joinable(scans)
    found: list[PositionsFound] = []
    if config.position_search_px is not None:
        found = [search(scan, _numbered("finding positions", k, scans)) for k, scan in enumerate(scans)]
    placed = [
        scan if not found else replace(scan, positions=found[k].positions) for k, scan in enumerate(scans)
    ]
    config = evolve(config, position_search_px=None)
    trial = _trial(config)
    alone = [look(scan, trial, _numbered("looking", k, scans)) for k, scan in enumerate(placed)]
    problem = joined(placed, [one.object for one in alone])

    def told(result: RefineResult) -> RefineResult:
        return _with_search(_told(result, placed, problem.offsets_px, device), found, problem)

    try:
        return told(solve(problem, config))
    except RefinementInterrupted as stop:
        raise RefinementInterrupted(told(stop.result)) from None


def _numbered(what: str, number: int, scans: Sequence[Scan]) -> str:
    return f"{what}, scan {number + 1} of {len(scans)}"


def _trial(config: RefineConfig) -> RefineConfig:
    """Enough to recognise an object: what all frames have in common is the same in every scan."""
    return evolve(
        config,
        refine_epochs=_LOOKING_EPOCHS,
        refine_positions=False,
        refine_geometry=False,
        refine_drift=False,
        probe_variation=0,
        probe_variation_smooth=0.0,
        error_bars="none",
    )


def _told(
    result: RefineResult, scans: Sequence[Scan], offsets_px: npt.NDArray[np.float64], device: torch.device
) -> RefineResult:
    """A result with what belongs to each scan."""
    others = dict(result.others)
    dose, index = np.asarray(others["dose"]), np.asarray(others["scan_index"])
    offsets = offsets_px + np.asarray(others["scan_offset_px"])
    pixel_m = _pixel_m(scans[0])
    parts = []
    for number, scan in enumerate(scans):
        rows = np.flatnonzero(index == number)
        variation = None
        if "probe_variations" in others:
            variation = ProbeVariation(
                modes=np.asarray(others["probe_variations"])[number],
                weights=np.asarray(others["probe_variation_weights"])[rows],
            )
        probe = np.asarray(others["probes"])[number]
        residual = forward_residual(
            replace(scan, positions=result.positions[rows]),
            result.object,
            probe,
            sub_pixel=result.sub_pixel,
            dose=dose[rows],
            variation=variation,
            background=result.background,
            intensity_scale=result.intensity_scale,
            device=device,
        )
        parts.append(
            ScanResult(
                frames=rows,
                probe=probe,
                offset_px=offsets[number],
                offset_m=None if pixel_m is None else offsets[number] * pixel_m,
                dose=float(np.asarray(others["scan_dose"])[number]),
                forward_residual=residual,
                variation=variation,
            )
        )
    others["scan_offset_px"] = offsets
    others["scan_residual"] = np.array([part.forward_residual for part in parts])
    if pixel_m is not None:
        others["scan_offset_m"] = offsets * pixel_m
    lines = {f"scan {number + 1}": part.sentence for number, part in enumerate(parts)}
    return replace(result, others=others, said={**result.said, **lines}, scans=tuple(parts))


def _with_search(result: RefineResult, found: Sequence[PositionsFound], problem: Joined) -> RefineResult:
    """A result with what the searches for positions have to say of it, rows counted over all scans."""
    if not found:
        return result
    before = np.cumsum([0, *(len(one.positions) for one in found)])
    whole = PositionsFound(
        positions=problem.scan.positions,
        unsettled=np.concatenate([one.unsettled + at for one, at in zip(found, before, strict=False)]),
        stated=np.concatenate([one.stated + by for one, by in zip(found, problem.offsets_px, strict=True)]),
    )
    return whole.told(result)


def _pixel_m(scan: Scan) -> npt.NDArray[np.float64] | None:
    """Height and width of a pixel of the object, m."""
    try:
        return np.array(ScanGeometry.from_entries(scan.metadata, scan.N).object_pixel_m)
    except MissingMetadata:
        return None
