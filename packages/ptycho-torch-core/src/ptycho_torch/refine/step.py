r"""Gradient of a batch: from the detector back to the unknowns.

For a frame with patch :math:`O_j`, modes :math:`P_m` and fields :math:`\Psi_m = F(P_m O_j)`, the
gradient by the exit wave is :math:`\chi_m = F^{-1}(w \Psi_m)` with the weight :math:`w` of
:mod:`ptycho_torch.refine.likelihood`, and

.. math::
    \nabla_{O} = \sum_j S_j^T \sum_m P_m^* \chi_{jm}, \qquad
    \nabla_{P_m} = \sum_j O_j^* \chi_{jm},

with :math:`S_j` the bilinear cutting of patch j (or its cutting at whole pixels, where the probe moves
instead: :mod:`ptycho_torch.physics.placement_moved_probe`). Because :math:`F` is unitary, the curvature of
the linear part, :math:`\sum_j S_j^T \sum_m |P_m|^2 S_j`, is diagonal up to the interpolation: the
summed illumination. Dividing by it makes a step of length one the right one everywhere on the
object (the weighting of Maiden, Johnson and Li, Optica 4, 736, 2017, there for single frames).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ptycho_torch.refine.arithmetic import Arithmetic, Batch
from ptycho_torch.refine.frames import FrameSource
from ptycho_torch.refine.likelihood import Likelihood, Misfit, field_weight
from ptycho_torch.refine.sub_pixel import SolverPlacement
from ptycho_torch.refine.unknowns import Chunk, Unknowns
from ptycho_torch.refine.unknowns.base import Indices

__all__ = ["Batching", "batch_gradient", "detector_ramp", "frames_at_once", "illumination_map"]

_MAP_CHUNK = 64
_CPU_CHUNK_VALUES = 1 << 16
_GPU_CHUNK_VALUES = 1 << 24


def detector_ramp(n_pixels: int) -> Tensor:
    r"""Phase ramp on the exit wave that puts the zero frequency at ``[N // 2, N // 2]``.

    :math:`e^{2\pi i \lfloor N/2 \rfloor (r + c)/N}`, complex128, ``(N, N)``. With the ramp in the probe
    no array is ever shifted: the transform comes out in the order of the measured frames.
    """
    axis = torch.arange(n_pixels, dtype=torch.float64) * (2 * torch.pi * (n_pixels // 2) / n_pixels)
    ramp = torch.polar(torch.ones_like(axis), axis)
    return ramp[:, None] * ramp[None, :]


def frames_at_once(device: torch.device, values: int) -> int:
    """Frames worked on at once, of so many values each: so few that their fields stay in the cache."""
    return max(1, (_CPU_CHUNK_VALUES if device.type == "cpu" else _GPU_CHUNK_VALUES) // values)


def illumination_map(
    unknowns: Unknowns,
    placement: SolverPlacement,
    frames: Indices,
    arithmetic: Arithmetic,
    *,
    order: int = 1,
) -> Tensor:
    """Summed probe intensity of the placed frames, to a power: real, ``(height, width)`` of the canvas."""
    total = unknowns.probe.value.real.new_zeros(placement.shape)
    for start in range(0, len(placement), _MAP_CHUNK):
        chosen = slice(start, start + _MAP_CHUNK)
        part = placement.part(chosen)
        arithmetic.lay_light(unknowns.light(part, frames[chosen]), part, total, order=order)
    return total


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How a batch is worked on.

    Attributes
    ----------
    likelihood
        Noise model.
    chunk
        Frames worked on at once; so few that the fields of a chunk stay in the cache.
    arithmetic
        What computes.
    """

    likelihood: Likelihood
    chunk: int
    arithmetic: Arithmetic = field(default_factory=Arithmetic)


def batch_gradient(
    unknowns: Unknowns,
    indices: Indices,
    placement: SolverPlacement,
    frames: FrameSource,
    batching: Batching,
    misfit: Misfit,
    illumination: Tensor | None = None,
) -> None:
    """Gradient of the misfit over the frames ``indices``, left in the unknowns that move.

    Parameters
    ----------
    unknowns
        Where the gradient is taken.
    indices
        (batch,) frame numbers.
    placement
        Of these frames.
    frames
        Measured intensities.
    batching
        Noise model and size of the chunks.
    misfit
        Receives the sums of the batch.
    illumination
        Real, ``(height, width)``: gains the summed probe intensity of the frames, where one is wanted.
    """
    moving = unknowns.moving()
    for unknown in moving:
        unknown.start_batch()
    if moving == [unknowns.object] and not unknowns.beside_places:
        batch = Batch(
            image=unknowns.object.value,
            where=placement,
            light=unknowns.light,
            shares_light=unknowns.probe.shares_light(placement),
            source=frames,
            indices=indices,
            likelihood=batching.likelihood,
            illumination=illumination,
        )
        gradient = unknowns.object.gradient
        batching.arithmetic.object_gradient(batch, batching.chunk, misfit, gradient)
        return
    for start in range(0, len(indices), batching.chunk):
        chosen = slice(start, start + batching.chunk)
        part, some = placement.part(chosen), indices[chosen]
        chunk = _exit_waves(unknowns, some, part, frames, batching, misfit)
        if illumination is not None:
            batching.arithmetic.lay_light(chunk.light, part, illumination)
        for unknown in moving:
            unknown.add_wave(chunk)
        for unknown in moving:
            unknown.add_patches(chunk)


def _exit_waves(
    unknowns: Unknowns,
    some: Indices,
    part: SolverPlacement,
    frames: FrameSource,
    batching: Batching,
    misfit: Misfit,
) -> Chunk:
    """Fields of some frames, and the change of their exit waves that the measurement asks for."""
    arithmetic, image, light = batching.arithmetic, unknowns.object.value, unknowns.light(part, some)
    patches, field = arithmetic.fields(image, part, light)
    if unknowns.beside_places:
        weight = _weight(unknowns, arithmetic.predicted(field), some, frames, batching, misfit)
        wave = arithmetic.weighted(field, weight)
    else:
        weight, wave = arithmetic.residual(field, frames, some, batching.likelihood, misfit)
    return Chunk(
        frames=some,
        where=part,
        image=image,
        patches=patches,
        light=light,
        field=field,
        weight=weight,
        wave=wave,
        arithmetic=arithmetic,
        others=unknowns.others,
    )


def _weight(
    unknowns: Unknowns, lit: Tensor, some: Indices, frames: FrameSource, batching: Batching, misfit: Misfit
) -> Tensor:
    """Weight of the fields of some frames, real ``(chunk, N, N)``; their brightness is matched first."""
    counts, measured = frames.seen(some)
    growth: Tensor | None = None
    for unknown in unknowns.others:
        if not unknown.moving:
            continue
        seen = lit if measured is None else lit * measured
        found = unknown.matched(seen, unknowns.expected(lit, some), counts, some)
        if found is not None:
            factor = found.to(lit.dtype)[:, None, None]
            lit = lit * factor
            growth = factor if growth is None else growth * factor
    expected = unknowns.expected(lit, some)
    for unknown in unknowns.others:
        if unknown.moving:
            unknown.compared(expected, counts, measured)
    weight = field_weight(expected, counts, batching.likelihood, measured, misfit)
    return weight if growth is None else weight.mul_(growth)
