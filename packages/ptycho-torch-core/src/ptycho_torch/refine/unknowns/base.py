"""What every unknown of a refinement has: a value, its share of a gradient, a step, a publication.

A new unknown is one file in this folder with one class, and one setting in
:class:`ptycho_config.RefineConfig`; :func:`ptycho_torch.refine.unknowns.unknowns_of` finds it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_config import RefineConfig
from ptycho_torch.data import Scan
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.reassembly.team import Team
from ptycho_torch.refine.arithmetic import Arithmetic
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.frames import Indices
from ptycho_torch.refine.sub_pixel import SolverPlacement

__all__ = ["Chunk", "Indices", "LightGradient", "Published", "Setup", "Step", "Unknown"]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What unknowns are made from.

    Attributes
    ----------
    scan, start, config
        Indices and positions, the object to start from or None, and the settings.
    canvas
        Array that the object is refined on.
    probe
        Complex, ``(modes, N, N)``, calibrated and with the modes that are to be fitted, times the ramp.
    ramp
        Complex, ``(N, N)``, of :func:`ptycho_torch.refine.step.detector_ramp`.
    intensity_scale
        Counts per unit of normalised intensity.
    dtype
        complex64 or complex128.
    tilt
        How far the beam lies beside the middle of the frames; px.
    dark
        (N, N) counts that every frame shows without light, where they are known.
    probes
        Complex, ``(scans, modes, N, N)``, as ``probe``: those of several scans that are fitted together,
        which ``scan_index`` numbers; None: there is one scan.
    n_frames
        Frames that the probe lights, where those are not all frames.
    """

    scan: Scan
    start: StitchedObject | None
    config: RefineConfig
    canvas: WorkingCanvas
    probe: Tensor
    ramp: Tensor
    intensity_scale: float
    dtype: torch.dtype
    tilt: tuple[int, int] = (0, 0)
    dark: npt.NDArray[np.floating] | None = None
    probes: Tensor | None = None
    n_frames: int | None = None

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.probe.device

    def first_epoch(self, from_flat: int) -> int:
        """Epoch in which an unknown begins to move that waits ``from_flat`` epochs after a flat start."""
        if self.config.refine_warm_up is not None:
            return self.config.refine_warm_up
        return from_flat if self.start is None else 0


@dataclass(kw_only=True)
class Chunk:
    """Some frames of a batch while they are worked on.

    Attributes
    ----------
    frames
        (chunk,) frame numbers.
    where
        Their placement on the canvas.
    image, patches
        Complex: the object, ``(height, width)``, and what the frames see of it, ``(chunk, N, N)``.
    light
        Complex, ``(modes, N, N)`` or ``(chunk, modes, N, N)``.
    field, weight
        Detector field ``(chunk, modes, N, N)`` and its real weight ``(chunk, N, N)``: the gradient
        by the field is their product.
    wave
        Complex, ``(chunk, modes, N, N)``: gradient by the exit wave.
    arithmetic
        What computes.
    others
        Unknowns beyond the three that every model has.
    """

    frames: Indices
    where: SolverPlacement
    image: Tensor
    patches: Tensor
    light: Tensor
    field: Tensor
    weight: Tensor
    wave: Tensor
    arithmetic: Arithmetic
    others: Sequence[Unknown] = ()

    @cached_property
    def patch_gradient(self) -> Tensor:
        """Gradient by the conjugate of the patches, complex, ``(chunk, N, N)``."""
        return self.arithmetic.patch_gradient(self.wave, self.light)

    @property
    def shares_light(self) -> bool:
        """Whether all frames get what the probe sends, as it is."""
        return self.light.ndim == 3 and all(unknown.moves_places_alone for unknown in self.others)

    @cached_property
    def light_gradient(self) -> LightGradient:
        """Gradients by the light on every frame, and what the probe needs to know beside."""
        by_light = self.patches.conj()[:, None] * self.wave
        return LightGradient(
            frames=self.frames,
            where=self.where,
            power=self.patches.real.square() + self.patches.imag.square(),
            light=self.light,
            by_light=by_light,
            waves=self.by_probe(by_light),
        )

    def by_probe(self, waves: Tensor) -> Tensor:
        """Gradients by what the probe sends to every frame, of those by the light there: same shape."""
        for unknown in reversed(self.others):
            waves = unknown.gathered_transmitted(waves)
        for unknown in reversed(self.others):
            waves = unknown.gathered_light(waves, self.frames)
        return waves


@dataclass(frozen=True, kw_only=True)
class LightGradient:
    """Gradients by the light on some frames.

    Attributes
    ----------
    frames
        (chunk,) frame numbers.
    where
        Their placement on the canvas.
    power
        Real, ``(chunk, N, N)``: intensity of the object in every frame.
    light
        Complex, ``(modes, N, N)`` or ``(chunk, modes, N, N)``.
    by_light, waves
        Complex, ``(chunk, modes, N, N)``: gradient by the light on the object, and by what the probe sends,
        which other unknowns change on the way.
    """

    frames: Indices
    where: SolverPlacement
    power: Tensor
    light: Tensor
    by_light: Tensor
    waves: Tensor

    def of(self, rows: Indices, frames: Indices, root: Tensor) -> LightGradient:
        """Those of some rows by a light that is ``root`` times weaker, under other numbers of frames."""
        chosen = torch.from_numpy(rows)
        light = self.light if self.light.ndim == self.by_light.ndim - 1 else self.light[chosen]
        return LightGradient(
            frames=frames,
            where=self.where.part(chosen),
            power=self.power[chosen] * root.square(),
            light=light / root,
            by_light=self.by_light[chosen] * root,
            waves=self.waves[chosen] * root,
        )


@dataclass(frozen=True, kw_only=True)
class Step:
    """What an unknown needs to know to make its step.

    Attributes
    ----------
    frames, mine
        Frame numbers of the whole batch, and those that this process worked on.
    n_subsets
        Batches of this epoch.
    share
        Length of the step of a factor of the exit wave: of two factors that move, each goes half the way.
    illumination
        Real, ``(height, width)`` of the canvas: summed probe intensity of all frames.
    batch_illumination
        That of this batch.
    processes
        Those that share the batch.
    """

    frames: Indices
    mine: Indices
    n_subsets: int
    share: float
    illumination: Tensor
    batch_illumination: Tensor
    processes: Team


@dataclass(kw_only=True)
class Published:
    """What unknowns leave behind, in the gauge of the calibration.

    Attributes
    ----------
    object
        Complex, ``(height, width)`` of the working canvas.
    probe
        Complex, ``(modes, N, N)``.
    positions
        float64, ``(n, 2)``.
    others
        What further unknowns leave, an array or a number by name.
    said
        The same in words, for people, by name.
    """

    object: Tensor
    probe: Tensor
    positions: Tensor
    others: dict[str, npt.NDArray[np.generic] | float] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def growth(self, before: Tensor) -> float:
        """Factor by which the object grew, ``before`` being the object as it was fitted."""
        size = float(torch.linalg.vector_norm(before))
        return float(torch.linalg.vector_norm(self.object)) / size if size > 0 else 1.0


class Unknown(ABC):
    """One thing that a refinement may fit.

    Attributes
    ----------
    value
        Where the next gradient is taken.
    now
        Result of the last epoch; what is gone back to when an epoch does not end.
    ahead
        Where the next epoch starts: the result of the last one and its momentum.
    fitted
        Whether it moves at all.
    first_epoch
        Epoch in which it begins to move.
    moving
        Whether it moves in this epoch.
    """

    is_factor: ClassVar[bool] = False
    """Whether the exit wave is proportional to it."""
    comes_out_late: bool = False
    """Whether it goes on when the objective has all but stopped falling: a run with it takes all epochs."""
    moves_light: ClassVar[bool] = False
    """Whether the illumination of the object changes with it."""

    def __init__(self, value: Tensor, *, fitted: bool, first_epoch: int) -> None:
        self.value = self.now = self.ahead = value
        self.fitted, self.first_epoch, self.moving = fitted, first_epoch, False

    @classmethod
    @abstractmethod
    def of(cls, setup: Setup) -> Self | None:
        """The unknown as the settings ask for it; None where it is no part of the problem."""

    def begin(self, epoch: int) -> None:
        """Start an epoch from where momentum carried the last one."""
        self.moving = self.fitted and epoch >= self.first_epoch
        self.value = self.ahead.clone()

    def go_on_from(self, other: Self) -> None:
        """Begin where the same unknown of another problem stands."""
        self.value = self.now = self.ahead = other.now

    def go_back(self) -> None:
        """Return to the result of the last epoch that ended."""
        self.value = self.now

    @property
    def n_factors(self) -> int:
        """How many factors of the exit wave it holds."""
        return int(self.is_factor)

    @property
    def moves_places(self) -> bool:
        """Whether the positions of frames change with it."""
        return type(self).placed is not Unknown.placed

    @property
    def moves_places_alone(self) -> bool:
        """Whether it is part of the model only in that it places frames."""
        own = type(self)
        beyond = ("lit", "transmitted", "expected", "matched", "compared")
        return all(getattr(own, name) is getattr(Unknown, name) for name in beyond)

    # Its part of the model. Only unknowns beyond object, probe and positions have one here.

    def placed(self, positions: Tensor, frames: Indices) -> Tensor:
        """Positions ``(batch, 2)`` of frames as this unknown makes them."""
        return positions

    def lit(self, light: Tensor, frames: Indices) -> Tensor:
        """Light ``(batch, modes, N, N)`` of frames as this unknown makes it."""
        return light

    def gathered_light(self, waves: Tensor, frames: Indices) -> Tensor:
        """The adjoint of :meth:`lit`."""
        return waves

    def transmitted(self, light: Tensor, where: SolverPlacement) -> Tensor:
        """Light ``(batch, modes, N, N)`` that reaches the object through what lies before it."""
        return light

    def gathered_transmitted(self, waves: Tensor) -> Tensor:
        """The adjoint of :meth:`transmitted`, for the frames that it was last asked of."""
        return waves

    def expected(self, intensity: Tensor, frames: Indices) -> Tensor:
        """Normalised intensity ``(batch, N, N)`` that frames are expected to show."""
        return intensity

    def matched(self, lit: Tensor, expected: Tensor, counts: Tensor, frames: Indices) -> Tensor | None:
        """Fit the brightness of frames before their gradient is taken.

        Parameters
        ----------
        lit
            Real, ``(batch, N, N)``: normalised intensity of the light, zero where nothing was measured.
        expected, counts
            Of that shape: what is expected there in all, and what was measured.
        frames
            (batch,) frame numbers.

        Returns
        -------
        Tensor or None
            float64, ``(batch,)``: factors of the light; None: it stays.
        """
        return None

    def compared(self, expected: Tensor, counts: Tensor, measured: Tensor | None) -> None:  # noqa: B027
        """Look at frames beside what is expected of them.

        Parameters
        ----------
        expected, counts
            Real, ``(batch, N, N)``, in normalised units; counts are zero where nothing was measured.
        measured
            Real, ``(N, N)`` or ``(batch, N, N)``: one where measured, zero elsewhere; None: everywhere.
        """

    # Its gradient and its step.

    def start_batch(self) -> None:  # noqa: B027 - not every unknown needs it
        """Forget the gradient of the last batch."""

    def add_wave(self, chunk: Chunk) -> None:  # noqa: B027 - not every unknown needs it
        """Add the share of a chunk, from the gradient by the exit wave."""

    def add_patches(self, chunk: Chunk) -> None:  # noqa: B027 - not every unknown needs it
        """Add the share of a chunk, from the gradient by the patches."""

    def sums(self) -> Iterable[Tensor]:
        """Sums over the batch, to be added up over the processes in place."""
        return ()

    @abstractmethod
    def step(self, step: Step) -> None:
        """Move the value by the gradient of the batch."""

    def settle(self) -> None:  # noqa: B027 - not every unknown needs it
        """Put the value back to what no measurement fixes, at the end of an epoch."""

    def take_along(self, image: Unknown, probe: Unknown) -> None:  # noqa: B027 - not every unknown needs it
        """Change object and probe, and their momentum, by what they have in common with this one."""

    def multiply(self, factor: Tensor) -> None:
        """Multiply the value, the result, and where the next epoch starts."""
        self.value, self.now, self.ahead = (part * factor for part in (self.value, self.now, self.ahead))

    def advance(self, momentum: float) -> None:
        """Take the value for the result of the epoch, and start the next one ahead of it."""
        self.ahead = self.value + momentum * (self.value - self.now)
        self.now = self.value

    @abstractmethod
    def publish(self, result: Published) -> None:
        """Leave the result of the last epoch behind."""
