r"""A probe that varies over the scan: a main mode, modes beside it, and their weights in every frame.

The first incoherent mode of frame j is

.. math:: P_j = \frac{\|P\|}{\|Q_j\|} Q_j, \qquad Q_j = P + \sum_{k=1}^K c_{jk} V_k,

with :math:`\sum_j c_{jk} = 0` and modes that are orthogonal to each other, to P and to its tilts
:math:`yP, xP`, and as strong as P: the orthogonal probe relaxation of Odstrcil et al. (Opt. Express 24, 8360,
2016), who single out the modes by a singular value decomposition of one probe per frame. Here modes and
weights are what is fitted, so that no probe per frame is kept: the modes go down their gradient

.. math:: V_k \leftarrow V_k - \frac{\sum_j c_{jk}^* O_j^* \chi_j}{\sum_j |c_{jk}|^2 |O_j|^2},

and the weights of a frame take a step of Gauss and Newton. Light that comes and goes would let modes grow
along P for ever, which the norm of Q hides, and where Q came near to zero nothing would bound the next step:
after a step that leaves a tenth of P in a frame, modes lose what they have along P. At the end of an epoch
they lose that in any case, and their tilts of P, and a singular value decomposition of weights times modes
makes both orthogonal. To begin with, the modes are zero and the weights slow oscillations over the scan: the
first step finds what of the residual oscillates so.

Modes along P would be doses and phases of frames. A tilt of the probe moves the frame on the detector; one
that changes slowly over the scan does what a smooth phase of the object does, and is left to that.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ptycho_torch.refine.sub_pixel import SolverPlacement
from ptycho_torch.refine.unknowns.base import Indices, LightGradient, Published, Setup, Step
from ptycho_torch.refine.unknowns.probe import ProbeUnknown

__all__ = ["VaryingProbe"]

_FLOOR = 1e-3
_TINY = 1e-30
_LARGEST_ALONG = 0.1
"""Modes along the main one, as a share of it, that can wait for the end of an epoch."""
_ALONE = 1e-6
"""Spread, in frames squared, of a Gaussian so narrow that it holds one frame alone."""


class VaryingProbe(ProbeUnknown):
    """The modes of the probe, and those that its first one varies by.

    Parameters
    ----------
    value, ramp, fitted, first_epoch, moved, support
        See :class:`ProbeUnknown`.
    n_frames
        Frames of the scan.
    n_variations
        Modes beside the first one.
    smooth
        Standard deviation of the Gaussian that weights are smoothed with at the end of an epoch; frames.

    Attributes
    ----------
    variation
        Complex, ``(n_variations, N, N)``, times the ramp.
    weights
        Complex, ``(n_frames, n_variations)``.
    """

    comes_out_late = True

    def __init__(
        self,
        value: Tensor,
        ramp: Tensor,
        *,
        fitted: bool,
        first_epoch: int = 0,
        moved: bool = False,
        support: float | None = None,
        n_frames: int,
        n_variations: int,
        smooth: float = 0.0,
    ) -> None:
        self.smooth = smooth
        self.variation = value.new_zeros(n_variations, *value.shape[1:])
        time = (torch.arange(n_frames, dtype=torch.float64) + 0.5) / n_frames
        self.weights = (torch.pi * time[:, None] * torch.arange(1, n_variations + 1)).cos().to(value)
        self._now = (self.variation, self.weights)
        super().__init__(value, ramp, fitted=fitted, first_epoch=first_epoch, moved=moved, support=support)

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """The probe of the scan, which does not vary yet."""
        plain = ProbeUnknown.of(setup)
        return cls(
            plain.value,
            plain.ramp,
            fitted=plain.fitted,
            first_epoch=plain.first_epoch,
            moved=plain.moved,
            support=setup.config.probe_support,
            n_frames=setup.n_frames or setup.scan.n_frames,
            n_variations=setup.config.probe_variation,
            smooth=setup.config.probe_variation_smooth,
        )

    def shares_light(self, where: SolverPlacement) -> bool:
        """No: every frame has its own."""
        return False

    def light(self, where: SolverPlacement, frames: Indices) -> Tensor:
        """What it sends to frames, complex ``(batch, modes, N, N)``."""
        modes, weights = len(self.value), self._weights(frames)
        sent = where.light(torch.cat((self.value, self.variation)))
        sent = sent.expand(len(frames), *sent.shape[-3:])
        varied = torch.einsum("jk,jkyx->jyx", weights, sent[:, modes:])
        first = (sent[:, 0] + varied) * self._shares(weights)
        return torch.cat((first[:, None], sent[:, 1:modes]), dim=1)

    def _weights(self, frames: Indices) -> Tensor:
        return self.weights[torch.from_numpy(frames)]

    def _shares(self, weights: Tensor) -> Tensor:
        """Factors ``(batch, 1, 1)`` that leave every frame the power of the main mode."""
        parts = torch.cat((self.value[:1], self.variation)).flatten(1)
        products = parts.conj() @ parts.T
        factors = torch.cat((torch.ones_like(weights[:, :1]), weights), dim=1)
        power = ((factors.conj() @ products) * factors).sum(dim=1).real
        return (products[0, 0].real / power.clamp(min=_TINY)).sqrt()[:, None, None]

    def begin(self, epoch: int) -> None:
        """Start an epoch; what varies has no momentum, for it is a product itself."""
        super().begin(epoch)
        self.variation, self.weights = (part.clone() for part in self._now)

    def advance(self, momentum: float) -> None:
        """Take what was reached for the result of the epoch."""
        super().advance(momentum)
        self._now = (self.variation, self.weights)

    def multiply(self, factor: Tensor) -> None:
        """Multiply the modes beside, too."""
        super().multiply(factor)
        self.variation, self._now = self.variation * factor, (self._now[0] * factor, self._now[1])

    def go_back(self) -> None:
        """Return to the result of the last epoch that ended."""
        super().go_back()
        self.variation, self.weights = self._now

    def start_batch(self) -> None:
        """Forget the gradients of the last batch."""
        super().start_batch()
        self.mode_gradient = torch.zeros_like(self.variation)
        self.mode_power = torch.zeros_like(self.variation.real)
        self.moves: list[Tensor] = []

    def add_light(self, told: LightGradient) -> None:
        """Add what the frames say of the modes, and the moves of their weights."""
        weights, waves, power = self._weights(told.frames), told.waves, told.power
        shares = self._shares(weights)
        first = waves[:, 0] * shares
        waves = torch.cat((first[:, None], waves[:, 1:]), dim=1)
        self.gradient += told.where.gather_light(waves)
        self.object_power += power.sum(dim=0)
        turned = weights.conj()[:, :, None, None] * first[:, None]
        self.mode_gradient += told.where.gather_light(turned)
        self.mode_power += torch.einsum("jk,jyx->kyx", weights.abs().square(), power)
        # A weight that grows takes light from the main mode: the power of the frame stays.
        along = (told.light[:, 0].conj() * told.by_light[:, 0]).sum(dim=(-2, -1)).real
        taken = weights * (along * shares[:, 0, 0].square())[:, None]
        self.moves.append(self._moves(told.where, first, power, taken))

    def _moves(self, where: SolverPlacement, waves: Tensor, power: Tensor, beside: Tensor) -> Tensor:
        """Moves of weights, ``(batch, K)``: what modes times patches explain of waves, by least squares."""
        sent = where.light(self.variation)
        sent = sent.expand(len(waves), *sent.shape[-3:]).flatten(2)
        strength = self.variation.abs().square().sum() / (
            len(self.variation) * self.value[0].abs().square().sum()
        )
        slope = (sent.conj() @ waves.flatten(1)[:, :, None])[..., 0] - strength * beside
        products = (sent.conj() * power.flatten(1)[:, None]) @ sent.transpose(1, 2)
        size = products.diagonal(dim1=1, dim2=2).real.mean()
        small = torch.eye(products.shape[-1]).to(products) * (_FLOOR * size + _TINY)
        return torch.linalg.solve(products + small, slope)

    def sums(self) -> tuple[Tensor, ...]:
        """Gradients and curvatures."""
        return *super().sums(), self.mode_gradient, self.mode_power

    def step(self, step: Step) -> None:
        """The step of the probe, that of the modes beside it, and the moves of the weights of the batch."""
        super().step(step)
        moves = torch.zeros_like(self.weights)
        if self.moves:
            moves[torch.from_numpy(step.mine)] = torch.cat(self.moves)
        step.processes.sum(moves)
        floor = _FLOOR * self.mode_power.amax(dim=(-2, -1), keepdim=True) + _TINY
        power = self.mode_power
        if self.moved:
            # As for the probe: only a bound of the curvature is left.
            power = power.amax(dim=(-2, -1), keepdim=True)
        self.variation -= self.mode_gradient * (step.share / (power + floor))
        self.weights -= moves
        self.variation = self._within(self._bounded(self.variation))

    def _bounded(self, modes: Tensor) -> Tensor:
        """Modes without what they have along the main one, where that is no small part of a frame."""
        main = self.value[0]
        along = (modes * main.conj()).sum(dim=(1, 2)) / main.abs().square().sum()
        if float((self.weights @ along).abs().max()) < _LARGEST_ALONG:
            return modes
        return _beside(modes, main[None].flatten(1).T)

    def _within(self, modes: Tensor) -> Tensor:
        """Modes within the support: where others are taken out of them, rounding leaves a trace beside it."""
        return modes if self.support is None else modes * self.support

    def settle(self) -> None:
        """Give the mean to the main mode, and make the others orthogonal."""
        weights = self._smoothed() if self.smooth else self.weights
        mean = weights.mean(dim=0)
        self.value[0] += torch.einsum("k,kyx->yx", mean, self.variation)
        modes = _beside(self.variation, _main_and_tilts(self.value[0])).flatten(1)
        basis, mixture = torch.linalg.qr(modes.T)
        size = torch.linalg.vector_norm(self.value[0])
        left, values, right = torch.linalg.svd((weights - mean) @ mixture.T, full_matrices=False)
        self.weights = left * (values / size)
        self.variation = self._within((right @ basis.T).reshape(self.variation.shape) * size)

    def _smoothed(self) -> Tensor:
        parts = torch.view_as_real(self.weights).cpu().numpy()
        smooth = _locally_linear(parts.reshape(len(parts), -1), self.smooth).reshape(parts.shape)
        return torch.view_as_complex(torch.from_numpy(smooth)).to(self.weights)

    def publish(self, result: Published) -> None:
        """Probe and modes beside it of the calibrated power, the incoherent modes as they were fitted."""
        ramp = self.ramp.conj().to(self.now.dtype)
        variation, weights = self._now
        probe = self.now * ramp
        gain = (probe.shape[-1] / 2) / torch.linalg.vector_norm(probe)
        result.object, result.probe = result.object / gain, probe * gain
        if not variation.any():
            weights = torch.zeros_like(weights)
        told = (variation * ramp * gain).to(torch.complex64), weights.to(torch.complex64)
        modes, factors = (part.cpu().numpy() for part in told)
        result.others |= {"probe_variation": modes, "probe_variation_weights": factors}
        shares = ", ".join(f"{100 * share:.2g} %" for share in np.mean(np.abs(factors) ** 2, axis=0))
        result.said["probe_variation"] = f"{shares} of the light of the first mode"


def _beside(modes: Tensor, columns: Tensor) -> Tensor:
    """Modes ``(K, N, N)`` without what they have of columns ``(N², k)``."""
    flat, kept = modes.flatten(1), torch.linalg.qr(columns)[0]
    return (flat - (flat @ kept.conj()) @ kept.T).reshape(modes.shape)


def _main_and_tilts(main: Tensor) -> Tensor:
    """Columns ``(N², 3)`` that span a mode ``(N, N)`` and its tilts along y and x."""
    n = len(main)
    axis = torch.arange(n, device=main.device, dtype=main.real.dtype) - n // 2
    stack = torch.stack((main, main * axis[:, None], main * axis))
    return stack.flatten(1).T


def _locally_linear(values: npt.NDArray[np.floating], width: float) -> npt.NDArray[np.float64]:
    """Values ``(n, columns)`` smoothed along the first axis by straight lines under a Gaussian.

    Unlike a plain mean, which bends a steady drift at its ends, this leaves straight lines alone (Cleveland,
    J. Am. Stat. Assoc. 74, 829, 1979).
    """
    place = np.arange(len(values), dtype=np.float64)[:, None]

    def summed(parts: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        return np.asarray(gaussian_filter1d(parts.astype(np.float64), width, axis=0, mode="constant"))

    size, first, second = (summed(part) for part in (np.ones_like(place), place, place**2))
    first, second = first - place * size, second - 2 * place * first + place**2 * size
    second += _ALONE * size
    plain = summed(values)
    sloped = summed(place * values) - place * plain
    return (second * plain - first * sloped) / (size * second - first**2)
