"""The probe: modes that are fitted together with the object, their power kept."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from ptycho_torch.physics import with_power
from ptycho_torch.physics.placement_moved_probe import MovedProbe
from ptycho_torch.refine.kept_light import KeptLight
from ptycho_torch.refine.sub_pixel import SolverPlacement
from ptycho_torch.refine.unknowns.base import (
    Chunk,
    Indices,
    LightGradient,
    Published,
    Setup,
    Step,
    Unknown,
)

__all__ = ["ProbeUnknown"]

_FLOOR = 1e-3
_EPOCHS_FROM_FLAT = 2
_EPOCHS_AFTER_GEOMETRY = 10
"""From a flat start where frames move together: a wrong scale would go into the focus of the probe."""


class ProbeUnknown(Unknown):
    """Complex, ``(modes, N, N)``, times the ramp of :func:`ptycho_torch.refine.step.detector_ramp`.

    Where ``moved``, the probe moves by fractions of a pixel from frame to frame; on a CPU the light of up to
    ``n_frames`` is kept, for which every change of the value is another tensor. ``support`` is the diameter
    of the disk around the middle beside which it is zero; px.
    """

    is_factor = True
    moves_light = True

    def __init__(
        self,
        value: Tensor,
        ramp: Tensor,
        *,
        fitted: bool,
        first_epoch: int = 0,
        moved: bool = False,
        support: float | None = None,
        n_frames: int = 0,
    ) -> None:
        self.ramp, self.moved = ramp, moved
        keeps = moved and n_frames > 0 and value.device.type == "cpu"
        self.kept = KeptLight(n_frames) if keeps else None
        self.support = None if support is None else _disk(value, support)
        value = value if self.support is None else value * self.support
        super().__init__(value, fitted=fitted, first_epoch=first_epoch)
        self.start_batch()

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """The probe of the scan, calibrated; fitted if ``refine_probe`` says so."""
        config = setup.config
        moves = config.refine_geometry or config.refine_drift
        return cls(
            setup.probe,
            setup.ramp,
            fitted=config.refine_probe,
            first_epoch=setup.first_epoch(_EPOCHS_AFTER_GEOMETRY if moves else _EPOCHS_FROM_FLAT),
            moved=config.sub_pixel == "probe",
            support=config.probe_support,
            n_frames=setup.n_frames or setup.scan.n_frames,
        )

    def light(self, where: SolverPlacement, frames: Indices) -> Tensor:
        """What it sends to frames, complex ``(modes, N, N)`` or ``(batch, modes, N, N)``."""
        if self.kept is not None and isinstance(where, MovedProbe):
            return self.kept.of(self.value, where, frames)
        return where.light(self.value)

    def shares_light(self, where: SolverPlacement) -> bool:
        """Whether all frames get the same."""
        return where.shares_light

    def start_batch(self) -> None:
        """Forget the gradient of the last batch."""
        self.gradient = self.value.new_zeros(self.value.shape)
        self.object_power = self.gradient.real.new_zeros(self.value.shape[-2:])

    def add_wave(self, chunk: Chunk) -> None:
        """Add what the frames of a chunk say."""
        if chunk.shares_light:
            chunk.arithmetic.gather_waves(chunk.patches, chunk.wave, self.gradient, self.object_power)
        else:
            self.add_light(chunk.light_gradient)

    def add_light(self, told: LightGradient) -> None:
        """Add what frames say, and the curvature: the summed intensity of the object."""
        self.gradient += told.where.gather_light(told.waves)
        self.object_power += told.power.sum(dim=0)

    def sums(self) -> tuple[Tensor, ...]:
        """Gradient and curvature."""
        return self.gradient, self.object_power

    def step(self, step: Step) -> None:
        """Step of length one where the intensity of the object is the curvature."""
        power = self.object_power
        if self.moved:
            # Moved back by fractions of a pixel the power is no diagonal curvature any more; its largest
            # value bounds it, as in ePIE (Maiden and Rodenburg, Ultramicroscopy 109, 1256, 2009).
            power = power.max().expand_as(power)
        self.value = self.value - self.gradient * (step.share / (power + _FLOOR * power.max()))
        if self.support is not None:
            self.value = self.value * self.support

    def publish(self, result: Published) -> None:
        """Orthogonal modes of the calibrated power, if they were fitted; the object takes the rest."""
        probe = self.now * self.ramp.conj().to(self.now.dtype)
        if self.fitted:
            power = (probe.shape[-1] / 2) ** 2
            gauged = with_power(_orthogonal(probe), power)
            result.object = result.object * (probe.abs().square().sum() / power).sqrt()
            probe = gauged
        result.probe = probe


def _disk(probe: Tensor, diameter: float) -> Tensor:
    """One within a disk around pixel ``[N // 2, N // 2]`` and zero beside it, ``(N, N)``."""
    n = probe.shape[-1]
    axis = (torch.arange(n, device=probe.device) - n // 2).square()
    return (axis[:, None] + axis <= (diameter / 2) ** 2).to(probe.real.dtype)


def _orthogonal(probe: Tensor) -> Tensor:
    """Orthogonal modes of the same mutual intensity, strongest first.

    Incoherent modes are known up to a unitary mixture; the singular vectors single one out
    (Thibault and Menzel, Nature 494, 68, 2013).
    """
    if len(probe) == 1:
        return probe
    _, values, modes = torch.linalg.svd(probe.reshape(len(probe), -1), full_matrices=False)
    return (values.to(probe.dtype)[:, None] * modes).reshape(probe.shape)
