r"""Residuals of a batch, carried back to object, probe and positions.

For a frame with patch :math:`O_j`, modes :math:`P_m` and fields :math:`\Psi_m = F(P_m O_j)`, the
residual of the exit wave is :math:`\chi_m = F^{-1}(w \Psi_m)` with the weight :math:`w` of
:mod:`ptycho_torch.refine.likelihood`, and

.. math::
    \nabla_{O} = \sum_j S_j^T \sum_m P_m^* \chi_{jm}, \qquad
    \nabla_{P_m} = \sum_j O_j^* \chi_{jm},

with :math:`S_j` the bilinear cutting of patch j (or its cutting at whole pixels, where the probe moves
instead: :mod:`ptycho_torch.refine.placement`). Because :math:`F` is unitary, the curvature of
the linear part, :math:`\sum_j S_j^T \sum_m |P_m|^2 S_j`, is diagonal up to the interpolation: the
summed illumination. Dividing by it makes a step of length one the right one everywhere on the
object (the weighting of Maiden, Johnson and Li, Optica 4, 736, 2017, there for single frames).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_torch.refine.frames import FrameSource
from ptycho_torch.refine.likelihood import Likelihood, Misfit, field_weight
from ptycho_torch.refine.placement import SolverPlacement

__all__ = ["BatchGradient", "BatchSettings", "State", "batch_gradient", "detector_ramp", "illumination_map"]

_LARGEST_MOVE_PX = 0.5
_MAP_CHUNK = 64


@dataclass
class State:
    """Unknowns of the problem.

    Attributes
    ----------
    object
        Complex, ``(height, width)`` of the working canvas.
    probe
        Complex, ``(modes, N, N)``, multiplied by :func:`detector_ramp`.
    positions
        float64, ``(n, 2)``, ``[y, x]`` in px.
    """

    object: Tensor
    probe: Tensor
    positions: Tensor

    def clone(self) -> State:
        """Independent copy."""
        return State(self.object.clone(), self.probe.clone(), self.positions.clone())


@dataclass
class BatchGradient:
    """Sums over one batch; the arrays that were not asked for are None.

    Attributes
    ----------
    object
        Like ``State.object``.
    probe, object_power
        Like ``State.probe``, and :math:`\\sum_j |O_j|^2`, real, ``(N, N)``.
    moves
        float64, ``(batch, 2)``: least-squares displacement of every position; px.
    """

    object: Tensor
    probe: Tensor | None = None
    object_power: Tensor | None = None
    moves: Tensor | None = None


def detector_ramp(n_pixels: int) -> Tensor:
    r"""Phase ramp on the exit wave that puts the zero frequency at ``[N // 2, N // 2]``.

    :math:`e^{2\pi i \lfloor N/2 \rfloor (r + c)/N}`, complex128, ``(N, N)``. With the ramp in the probe
    no array is ever shifted: the transform comes out in the order of the measured frames.
    """
    axis = torch.arange(n_pixels, dtype=torch.float64) * (2 * torch.pi * (n_pixels // 2) / n_pixels)
    ramp = torch.polar(torch.ones_like(axis), axis)
    return ramp[:, None] * ramp[None, :]


def illumination_map(placement: SolverPlacement, probe: Tensor) -> Tensor:
    """Summed probe intensity of the placed frames, real, ``(height, width)`` of the canvas."""
    total = probe.real.new_zeros(placement.shape)
    for start in range(0, len(placement), _MAP_CHUNK):
        part = placement.part(slice(start, start + _MAP_CHUNK))
        power = (part.light(probe).abs() ** 2).sum(dim=-3)
        part.add(power.expand(len(part), -1, -1), total)
    return total


def _position_moves(patch_gradient: Tensor, slopes: tuple[Tensor, Tensor], power: Tensor) -> Tensor:
    r"""Displacements :math:`-(J^T J)^{-1} J^T \chi` with :math:`J = P\,\partial O_j/\partial(y, x)`.

    One Gauss-Newton step per frame (Odstrcil, Menzel and Guizar-Sicairos, Opt. Express 26, 3108, 2018,
    treat each axis alone).
    """
    down, right = slopes

    def product(first: Tensor, second: Tensor) -> Tensor:
        return (first.real * second.real + first.imag * second.imag).sum(dim=(-2, -1)).double()

    weighted = power * down
    yy, xy = product(weighted, down), product(weighted, right)
    xx = product(power * right, right)
    towards_y, towards_x = product(down, patch_gradient), product(right, patch_gradient)
    # A patch without structure says nothing about its position: the small term keeps it in place.
    small = 1e-2 * (yy + xx).mean() + 1e-30
    yy, xx = yy + small, xx + small
    determinant = yy * xx - xy * xy
    moves = torch.stack((xy * towards_x - xx * towards_y, xy * towards_y - yy * towards_x), dim=1)
    return (moves / determinant[:, None]).clamp(-_LARGEST_MOVE_PX, _LARGEST_MOVE_PX)


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What is fitted, and how.

    Attributes
    ----------
    likelihood
        Noise model.
    probe, positions
        Whether each of them is wanted.
    chunk
        Frames worked on at once; so few that the fields of a chunk stay in the cache.
    """

    likelihood: Likelihood
    probe: bool
    positions: bool
    chunk: int


def batch_gradient(
    state: State,
    indices: npt.NDArray[np.int64],
    placement: SolverPlacement,
    frames: FrameSource,
    settings: BatchSettings,
    misfit: Misfit,
) -> BatchGradient:
    """Gradient of the misfit over the frames ``indices``.

    Parameters
    ----------
    state
        Where the gradient is taken.
    indices
        (batch,) frame numbers.
    placement
        Of these frames.
    frames
        Measured intensities.
    settings
        What is wanted.
    misfit
        Receives the sums of the batch.
    """
    result = BatchGradient(object=torch.zeros_like(state.object))
    if settings.probe:
        result.probe = torch.zeros_like(state.probe)
        result.object_power = torch.zeros_like(state.probe[0].real)
    moves = []
    for start in range(0, len(indices), settings.chunk):
        chosen = slice(start, start + settings.chunk)
        part, some = placement.part(chosen), indices[chosen]
        slopes: tuple[Tensor, Tensor] | None = None
        if settings.positions:
            patches, *both = part.cut_with_slopes(state.object)
            slopes = (both[0], both[1])
        else:
            patches = part.cut(state.object)
        light = part.light(state.probe)
        field = torch.fft.fft2(patches[:, None] * light, norm="ortho")
        pairs = torch.view_as_real(field)
        # Real and imaginary parts apart: faster than abs(), which guards against overflow.
        predicted = pairs[..., 0].square().addcmul_(pairs[..., 1], pairs[..., 1])
        predicted = predicted.sum(dim=1) if len(state.probe) > 1 else predicted[:, 0]
        intensity = frames.load(some)
        weight = field_weight(predicted, intensity, settings.likelihood, frames.measured, misfit)
        wave = torch.fft.ifft2(field * weight[:, None], norm="ortho")
        if result.probe is not None and result.object_power is not None:
            result.probe += part.gather_light(patches.conj()[:, None] * wave)
            result.object_power += (patches.real.square() + patches.imag.square()).sum(dim=0)
        wave *= light.conj()
        patch_gradient = wave.sum(dim=1) if len(state.probe) > 1 else wave[:, 0]
        part.add(patch_gradient, result.object)
        if slopes is not None:
            power = (light.abs() ** 2).sum(dim=-3)
            moves.append(_position_moves(patch_gradient, slopes, power))
    if moves:
        result.moves = torch.cat(moves)
    return result
