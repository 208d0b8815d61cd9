r"""Slow phases of the object, which the steps of an epoch move by a small part of their way only.

The phase of a wave :math:`\varphi(r) = \cos(2\pi q r)` that is much longer than the probe shifts a frame on
the detector and changes nothing else there: its curvature in the misfit falls as :math:`q^2`, while steps are
divided by the summed illumination, whatever the wave. As a share of that illumination it is

.. math:: h(q) = \frac{\sum_{jk} \left(\mathrm{Re} \sum_m \Psi_{jm}^* \delta\Psi_{jm}\right)^2 / \lambda_j}
               {\sum_{jkm} |\delta\Psi_{jm}|^2}, \qquad \delta\Psi_{jm} = F(i \varphi P_m O_j),

the Rayleigh quotient of the Gauss-Newton matrix of both likelihoods, with the expected intensity
:math:`\lambda_j` of pixel k. Steps that add up to the length S in an epoch leave :math:`(1 - h)^S` of an
error in that phase. What they moved is :math:`s = 1 - (1 - h)^S` of it, and the movement divided by s is the
whole: the Newton step where h is known, one product in Fourier space per epoch (a preconditioner, as
the ramp filter is in tomography: Clinthorne et al., IEEE Trans. Med. Imaging 12, 78, 1993). Nothing in
it is fitted to a kind of object, and where steps stand still so does this one: the solution is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ptycho_config import RefineConfig
from ptycho_torch.refine.arithmetic import Arithmetic
from ptycho_torch.refine.frames import FrameSource, Indices
from ptycho_torch.refine.step import Batching
from ptycho_torch.refine.sub_pixel import SolverPlacement
from ptycho_torch.refine.unknowns import Unknowns

__all__ = ["SlowPhases", "phase_curvature", "waits_of"]

_WAVES_PER_FRAME = (0.25, 0.5, 0.8, 1.2, 1.8, 2.6, 4.0)
_LOOKED_AT_AGAIN = 4
_MOST_FRAMES = 8
# Blocks of pixels that slow phases are worked on with.
_BLOCKS_PER_FRAME = 16
_EPOCHS_OF_LIGHT = 4
# The quotient is a mean over the scan; where single frames say more of a phase than that, the step must not
# lead beyond the end.
_SAFETY = 2.0
_LARGEST_GAIN = 15.0
_MISLED, _SHORTER = 1.02, 4.0
# Faster phases than that are not slower than the rest of the object.
_FAST = 0.15
_PHOTONS_PER_GAIN = 5.0
_LIT = 0.1
_RIM = 0.02
_PADDING_BLOCKS = 8
_TINY = 1e-12


def phase_curvature(
    unknowns: Unknowns,
    frames: Indices,
    where: SolverPlacement,
    arithmetic: Arithmetic,
    measured: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Curvature of the misfit along phases that are waves, as a share of the illumination.

    Parameters
    ----------
    unknowns
        Where it is taken.
    frames, where
        (batch,) frames that are looked at, and their placement.
    arithmetic
        What computes.
    measured
        Real, ``(N, N)``: one where the detector measures, zero elsewhere; None: everywhere.

    Returns
    -------
    frequencies : Tensor
        float64, ``(7,)``; cycles/px, rising.
    curvature : Tensor
        float64, ``(7,)``; from 0 to 1.
    """
    light = unknowns.light(where, frames)
    patches = where.cut(unknowns.object.value)
    field = arithmetic.transformed(patches, light)
    lit = unknowns.expected(arithmetic.predicted(field), frames)
    weight = 1 / lit.clamp(min=1e-6 * float(lit.mean()) + _TINY)
    if measured is not None:
        weight = weight * measured
    n_pixels = patches.shape[-1]
    pixels = torch.arange(n_pixels, device=patches.device, dtype=weight.dtype) - n_pixels // 2
    frequencies = torch.tensor(_WAVES_PER_FRAME, dtype=torch.float64) / n_pixels
    shares = []
    for frequency in frequencies.tolist():
        moved = whole = 0.0
        for begin in (0.0, 0.25):
            wave = torch.cos(2 * math.pi * (frequency * pixels + begin))
            for one in (wave[:, None], wave[None, :]):
                change = arithmetic.transformed(patches * one, light)
                # The change of the field is i times that of the patches.
                slope = (field.conj() * change).imag.sum(dim=1)
                moved += float((slope.square() * weight).sum())
                whole += float(change.abs().square().sum())
        shares.append(moved / max(whole, _TINY))
    return frequencies, torch.tensor(shares, dtype=torch.float64).clamp(0, 1)


def waits_of(unknowns: Unknowns, config: RefineConfig) -> int | None:
    """Epochs after which the movement of an object tells where it goes; None where nobody asks.

    The first steps, from an object that is nowhere right, are no part of a longer way. Neither is what makes
    up for a wrong light, which takes a few epochs to become better.
    """
    if not config.slow_phases:
        return None
    changing = [one.first_epoch for one in unknowns if one.fitted and one.moves_light]
    return max(changing) + _EPOCHS_OF_LIGHT if changing else 1


class SlowPhases:
    """Carries slow phases of an object to the end of the way that an epoch has begun.

    Parameters
    ----------
    n_pixels
        Size of a frame.
    illumination
        Real, ``(height, width)``: summed probe intensity of all frames.
    counts
        All counts of the scan; None: nobody knows how many photons it holds.
    waits
        Epochs before the first step; None: the phases stay where the steps left them.
    """

    def __init__(self, n_pixels: int, illumination: Tensor, counts: float | None, waits: int | None) -> None:
        self.waits = waits
        n_lit = int((illumination > _LIT * illumination.max()).sum())
        self.largest_gain = _LARGEST_GAIN
        if counts is not None:
            # Slow phases are those that few photons say least of: what moves them then is noise.
            photons_per_px = counts / max(n_lit, 1)
            self.largest_gain = min(max(photons_per_px / _PHOTONS_PER_GAIN, 1.0), _LARGEST_GAIN)
        self.block = max(1, n_pixels // _BLOCKS_PER_FRAME)
        height, width = self._blocks(illumination).shape
        self.shape = (height + _PADDING_BLOCKS, width + _PADDING_BLOCKS)
        vertical = torch.fft.fftfreq(self.shape[0], dtype=torch.float64)[:, None]
        horizontal = torch.fft.rfftfreq(self.shape[1], dtype=torch.float64)[None, :]
        self.frequency = (vertical.square() + horizontal.square()).sqrt() / self.block
        self.spread = torch.exp(-0.5 * (2 * math.pi * self.frequency * n_pixels / 8).square())
        self.n_epochs, self.residual = 0, math.inf
        self.n_subsets, self.share = 1, 1.0
        self.length, self.lengths, self.measures = 0.0, dict[tuple[int, float], float](), False
        self.curvature: tuple[Tensor, Tensor] | None = None

    def begin(self, n_subsets: int, share: float) -> None:
        """Begin an epoch of ``n_subsets`` steps, each ``share`` times as long as a full one."""
        self.n_subsets, self.share = n_subsets, share
        known = share if n_subsets == 1 else self.lengths.get((n_subsets, share))
        self.length, self.measures = (0.0, self.waits is not None) if known is None else (known, False)

    def stepped(self, lit: Tensor, illumination: Tensor) -> None:
        """Add the length of a step, on the mean over the light, where it is not known.

        Parameters
        ----------
        lit
            Real, ``(height, width)``: summed probe intensity of the frames of the step.
        illumination
            That of all frames.
        """
        if self.measures:
            divisor = torch.maximum(lit, illumination / self.n_subsets).clamp_(min=_TINY)
            mean = (lit / divisor * illumination).sum() / illumination.sum()
            self.length += self.share * float(mean)

    def carry(
        self,
        unknowns: Unknowns,
        illumination: Tensor,
        placement: Callable[[Indices], SolverPlacement],
        source: FrameSource,
        batching: Batching,
        residual: float,
    ) -> None:
        """Move slow phases of the object by what the steps of an epoch left of their way.

        Where frames are explained worse after such a step, as with a light or positions that are far from
        right, the movement does not lead where the object belongs: the next ones are shorter.

        Parameters
        ----------
        unknowns
            As the steps left them.
        illumination
            Real, ``(height, width)``: summed probe intensity of all frames.
        placement
            Places frames.
        source, batching
            What knows which pixels were measured, and what computes.
        residual
            Forward residual of the epoch.
        """
        self.n_epochs += 1
        has_stepped = self.curvature is not None
        if has_stepped and residual > _MISLED * self.residual:
            self.largest_gain = max(1.0, self.largest_gain / _SHORTER)
        self.residual = residual
        if self.measures:
            self.lengths[self.n_subsets, self.share] = self.length
        if self.waits is None or self.n_epochs <= self.waits or self.largest_gain == 1:
            return
        if self.curvature is None or self.n_epochs == self.waits + _LOOKED_AT_AGAIN:
            n_frames = len(source.frames)
            spread = np.linspace(0, n_frames - 1, min(_MOST_FRAMES, n_frames) + 2)[1:-1]
            some = np.unique(spread.astype(np.int64))
            where = placement(some)
            self.curvature = phase_curvature(unknowns, some, where, batching.arithmetic, source.measured)
        image = unknowns.object
        image.value = self.step(image.value, image.ahead, illumination)

    def gain(self) -> Tensor:
        """Factor of the rest of the way, real, in Fourier space."""
        assert self.curvature is not None
        frequencies, curvature = self.curvature
        known = _between(self.frequency, frequencies, curvature).clamp(_TINY, 1 - _TINY)
        moved = 1 - (1 - known) ** (_SAFETY * self.length)
        gain = (1 / moved.clamp(min=_TINY)).clamp(max=self.largest_gain) - 1
        above = frequencies[curvature >= _FAST]
        edge = float(above[0] if len(above) else frequencies[-1])
        return gain * (2 - self.frequency / edge).clamp(0, 1)

    def step(self, value: Tensor, before: Tensor, illumination: Tensor) -> Tensor:
        """The object with its slow phases at the end of their way.

        Parameters
        ----------
        value, before
            Complex, ``(height, width)``: the object after the steps of the epoch, and where they began.
        illumination
            Real, ``(height, width)``: summed probe intensity of all frames.
        """
        # Of the pixels of a block, and of neighbouring blocks, those count that the light says most of.
        mass = self._blocks(illumination * (value.real.square() + value.imag.square()))
        turned = self._blocks(illumination * ((value - before) * value.conj()).imag)
        around = self._filtered(mass, self.spread)
        rest = self._filtered(turned / around.clamp(min=_LIT * float(around.max())), self.gain())
        light = self._blocks(illumination)
        rest = self._pixels(rest * light / (light + _RIM * light.max()), value.shape)
        return value * torch.polar(torch.ones_like(rest), rest)

    def _blocks(self, image: Tensor) -> Tensor:
        """Means over blocks; those at the end hold what is left."""
        return avg_pool2d(image[None], self.block, ceil_mode=True)[0]

    def _pixels(self, blocks: Tensor, shape: torch.Size) -> Tensor:
        """Values of pixels between the middles of blocks."""
        size = [self.block * n for n in blocks.shape]
        image = interpolate(blocks[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
        return image[: shape[0], : shape[1]]

    def _filtered(self, blocks: Tensor, transfer: Tensor) -> Tensor:
        height, width = blocks.shape
        spectrum = torch.fft.rfft2(blocks, s=self.shape)
        return torch.fft.irfft2(spectrum * transfer.to(blocks), s=self.shape)[:height, :width]


def _between(wanted: Tensor, known: Tensor, values: Tensor) -> Tensor:
    """Linear between known values; below the first they fall as the square, beyond the last they stay."""
    upper = torch.searchsorted(known, wanted.contiguous()).clamp(1, len(known) - 1)
    low, high = known[upper - 1], known[upper]
    share = ((wanted - low) / (high - low)).clamp(0, 1)
    found = values[upper - 1] + share * (values[upper] - values[upper - 1])
    return torch.where(wanted < known[0], values[0] * (wanted / known[0]).square(), found)
