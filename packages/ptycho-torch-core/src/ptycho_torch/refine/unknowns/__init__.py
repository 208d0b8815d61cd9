"""The unknowns of a refinement, one class in one file each."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ptycho_torch.refine.sub_pixel import SolverPlacement
from ptycho_torch.refine.unknowns.base import Chunk, Indices, Published, Setup, Step, Unknown
from ptycho_torch.refine.unknowns.object import ObjectUnknown
from ptycho_torch.refine.unknowns.positions import POSITION_MARGIN_PX, PositionsUnknown
from ptycho_torch.refine.unknowns.probe import ProbeUnknown
from ptycho_torch.refine.unknowns.scan_probes import ScanProbes
from ptycho_torch.refine.unknowns.varying_probe import VaryingProbe

__all__ = [
    "POSITION_MARGIN_PX",
    "Chunk",
    "ObjectUnknown",
    "PositionsUnknown",
    "ProbeUnknown",
    "Published",
    "Setup",
    "Step",
    "Unknown",
    "Unknowns",
    "unknowns_of",
]


@dataclass(frozen=True, kw_only=True)
class Unknowns:
    """All unknowns of a problem: the three that every model has, and others that act on it.

    Attributes
    ----------
    object, probe, positions
        Always there, fitted or not.
    others
        Those that the settings ask for.
    """

    object: ObjectUnknown
    probe: ProbeUnknown
    positions: PositionsUnknown
    others: tuple[Unknown, ...] = ()

    def __iter__(self) -> Iterator[Unknown]:
        yield from (self.object, self.probe, self.positions, *self.others)

    @cached_property
    def beside_places(self) -> bool:
        """Whether one beyond the three changes light or expectation, and not only where frames lie."""
        return not all(unknown.moves_places_alone for unknown in self.others)

    def moving(self) -> list[Unknown]:
        """Those that move in this epoch."""
        return [unknown for unknown in self if unknown.moving]

    def places(self, frames: Indices) -> Tensor:
        """Positions of frames, float64 ``(batch, 2)``."""
        positions = self.positions.value[torch.from_numpy(frames)]
        for unknown in self.others:
            positions = unknown.placed(positions, frames)
        return positions

    def light(self, where: SolverPlacement, frames: Indices) -> Tensor:
        """Light on frames, complex ``(modes, N, N)`` or ``(batch, modes, N, N)``."""
        light = self.probe.light(where, frames)
        for unknown in self.others:
            light = unknown.lit(light, frames)
        for unknown in self.others:
            light = unknown.transmitted(light, where)
        return light

    def expected(self, lit: Tensor, frames: Indices) -> Tensor:
        """Normalised intensity ``(batch, N, N)`` that frames show where the light makes ``lit``."""
        for unknown in self.others:
            lit = unknown.expected(lit, frames)
        return lit


def unknowns_of(setup: Setup) -> Unknowns:
    """Unknowns as the settings ask for them, from every file of this folder."""
    found = (kind.of(setup) for kind in _other_kinds())
    return Unknowns(
        object=ObjectUnknown.of(setup),
        probe=_probe_of(setup),
        positions=PositionsUnknown.of(setup),
        others=tuple(unknown for unknown in found if unknown is not None),
    )


def _probe_of(setup: Setup) -> ProbeUnknown:
    if setup.probes is not None:
        return ScanProbes.of(setup)
    return (VaryingProbe if setup.config.probe_variation else ProbeUnknown).of(setup)


def _other_kinds() -> list[type[Unknown]]:
    """Classes of unknowns beyond the three that every model has, by the names of their files."""
    every = (ObjectUnknown, ProbeUnknown, PositionsUnknown)
    kinds: list[type[Unknown]] = []
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        kinds += [
            kind
            for kind in vars(module).values()
            if isinstance(kind, type)
            and issubclass(kind, Unknown)
            and not issubclass(kind, every)
            and kind.__module__ == module.__name__
            and kind is not Unknown
        ]
    return kinds
