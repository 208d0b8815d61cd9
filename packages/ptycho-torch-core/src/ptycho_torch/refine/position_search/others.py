r"""How well a frame fits at many places of the object that all other frames make.

With the exit waves :math:`\psi_j` that have the measured amplitudes, the object is the weighted mean
:math:`\sum_k P^* \psi_k / \sum_k |P|^2` (Maiden and Rodenburg, Ultramicroscopy 109, 1256, 2009, taken over
all frames at once). Without the share of frame j it knows nothing of where that frame was laid, and the frame
may be compared with it anywhere:

.. math:: m_j(r) = 1 - \frac{\left(\sum_q A_{jq} |\Psi_q(r)|\right)^2}{\sum_q A_{jq}^2 \sum_q |\Psi_q(r)|^2},

the part of the measured amplitude :math:`A_j` that the light at place r does not explain, whatever the dose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from ptycho_torch.physics.intensity import squared_modulus
from ptycho_torch.refine.iteration import Iteration

__all__ = ["Misfits", "OtherFrames"]

_CHUNK_FRAMES = 64
_CHUNK_VALUES = 1 << 21
_LIT = 0.05
_LEAST_COVER = 0.6
_BEST_PLACES = 4
_TINY = 1e-30

Positions = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Misfits:
    """Misfit of one frame at a square of places.

    Attributes
    ----------
    places
        (k, k, 2) float64 ``[y, x]``; px of the level.
    misfit
        (k, k) float64, from 0 to 1; infinite where nothing was compared, and where too little of the light
        falls on what other frames lit.
    here
        Misfit at the place where the frame was laid; NaN if that is not among them.
    """

    places: npt.NDArray[np.float64]
    misfit: npt.NDArray[np.float64]
    here: float


class OtherFrames:
    """The object of all frames but one, for each of them.

    Parameters
    ----------
    solved
        Object, probe and positions.
    dark
        (n, n) counts that every frame shows without light, or None.
    """

    def __init__(self, solved: Iteration, dark: npt.NDArray[np.floating] | None) -> None:
        self.solved, self.n_pixels = solved, solved.n_pixels
        self.light = solved.unknowns.probe.now
        self.power = squared_modulus(self.light).sum(dim=0)
        self.corners = self._corners(solved.unknowns.positions.now.cpu().numpy())
        self.dark = None if dark is None else torch.from_numpy(dark / solved.scale).to(self.power)
        self.wave_sum = torch.zeros_like(solved.unknowns.object.now)
        self.power_sum = torch.zeros_like(solved.unknowns.object.now.real)
        self.left_out = np.zeros(solved.n_frames, np.bool_)
        self._add(np.arange(solved.n_frames), 1.0)

    def leave_out(self, rows: Rows) -> None:
        """Take frames out of the object for good."""
        self._add(rows, -1.0)
        self.power_sum.clamp_(min=0)
        self.left_out[rows] = True

    def _add(self, rows: Rows, factor: float) -> None:
        """Add the shares of frames to the sums."""
        for start in range(0, len(rows), _CHUNK_FRAMES):
            some = rows[start : start + _CHUNK_FRAMES]
            for row, share in zip(some, self._shares(some), strict=True):
                self._window(self.wave_sum, row).add_(share, alpha=factor)
                self._window(self.power_sum, row).add_(self.power, alpha=factor)

    def _corners(self, positions: Positions) -> Rows:
        """Array index of the first pixel of patches at whole pixels, (n, 2) int64."""
        return np.rint(positions + self.solved.canvas.origin).astype(np.int64) - self.n_pixels // 2

    def _window(self, image: Tensor, row: int) -> Tensor:
        top, left = self.corners[row].tolist()
        return image[top : top + self.n_pixels, left : left + self.n_pixels]

    def _amplitudes(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """Measured amplitudes of frames, real ``(batch, n, n)``, and where they were measured."""
        counts, measured = self.solved.frames.seen(rows)
        if self.dark is not None:
            counts = (counts - self.dark).clamp_(min=0)
            counts = counts if measured is None else counts * measured
        return counts.sqrt(), measured

    def _shares(self, rows: Rows) -> Tensor:
        """What frames add to the weighted mean, complex ``(batch, n, n)``."""
        image = self.solved.unknowns.object.now
        patches = torch.stack([self._window(image, row) for row in rows])
        field = torch.fft.fft2(patches[:, None] * self.light, norm="ortho")
        amplitude, measured = self._amplitudes(rows)
        ratio = amplitude / squared_modulus(field).sum(dim=1).sqrt().clamp(min=1e-6 * float(amplitude.max()))
        if measured is not None:
            ratio = torch.where(measured > 0, ratio, torch.ones_like(ratio))
        waves = torch.fft.ifft2(field * ratio[:, None], norm="ortho")
        return (waves * self.light.conj()).sum(dim=1)

    def misfits(self, rows: Rows, about: Positions, reach: int, stride: int) -> list[Misfits]:
        """Misfits of frames at places up to ``reach`` pixels beside ``about``, every ``stride`` pixels and
        around the best of these.

        Parameters
        ----------
        rows
            (batch,) frame numbers.
        about
            (n, 2) float64 ``[y, x]`` of all frames; px of the level. Places are whole pixels of the canvas.
        reach, stride
            px of the level; the reach is rounded up to whole strides.
        """
        found: list[Misfits] = []
        centres = self._corners(about)
        reach = -(-reach // stride) * stride
        for start in range(0, len(rows), _CHUNK_FRAMES):
            some = rows[start : start + _CHUNK_FRAMES]
            shares, (amplitudes, measured) = self._shares(some), self._amplitudes(some)
            for k, row in enumerate(some):
                free = measured if measured is None or measured.ndim == 2 else measured[k]
                found.append(self._at(row, shares[k], (amplitudes[k], free), centres[row], reach, stride))
        return found

    def _at(
        self,
        row: int,
        share: Tensor,
        seen: tuple[Tensor, Tensor | None],
        centre: Rows,
        reach: int,
        stride: int,
    ) -> Misfits:
        """Misfits of one frame at places about one corner."""
        n, first = self.n_pixels, centre - reach
        area = tuple(slice(int(index), int(index) + n + 2 * reach) for index in first)
        waves, power = self.wave_sum[area].clone(), self.power_sum[area].clone()
        if not self.left_out[row]:
            self._without(row, share, first, waves, power)
        floor = _LIT * self.power.max()
        # What no other frame lit may be anything: it is taken for even, so that light there does not decide.
        even = waves.sum() / power.sum().clamp(min=_TINY)
        image = (waves + 0.1 * floor * even) / (power + 0.1 * floor)
        covered = self._covered(power > floor)
        misfit = np.full(covered.shape, np.inf)
        misfit[::stride, ::stride] = self._compare(image.unfold(0, n, stride).unfold(1, n, stride), *seen)
        at = self.corners[row] - first
        inside = bool((at >= 0).all() and (at <= 2 * reach).all())
        least = min(_LEAST_COVER, float(covered[tuple(at)])) if inside else _LEAST_COVER
        misfit[covered < least] = np.inf
        # Between the places of a wide stride: around the best ones, and where the frame was laid.
        closer = _between(misfit, stride) if stride > 1 else np.zeros(misfit.shape, np.bool_)
        if inside:
            closer[tuple(at)] |= np.isinf(misfit[tuple(at)])
        places = np.argwhere(closer & (covered >= least))
        if len(places):
            patches = torch.stack([image[y : y + n, x : x + n] for y, x in places.tolist()])
            misfit[tuple(places.T)] = self._compare(patches[:, None], *seen)[:, 0]
        steps = np.arange(2 * reach + 1)
        corners = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1) + first
        return Misfits(
            places=corners + n // 2 - self.solved.canvas.origin,
            misfit=misfit,
            here=float(misfit[tuple(at)]) if inside else float("nan"),
        )

    def _covered(self, lit: Tensor) -> npt.NDArray[np.float64]:
        """Share of the light that falls on lit pixels, at every place of a frame on a part of the canvas."""
        edge, n = len(lit), self.n_pixels
        spectrum = torch.fft.rfft2(lit.to(self.power)) * torch.fft.rfft2(self.power, s=(edge, edge)).conj()
        share = torch.fft.irfft2(spectrum, s=(edge, edge))[: edge - n + 1, : edge - n + 1] / self.power.sum()
        return np.asarray(share.double().cpu().numpy())

    def _without(self, row: int, share: Tensor, first: Rows, waves: Tensor, power: Tensor) -> None:
        """Take the share of a frame out of a part of the sums that begins at ``first``; in place."""
        offset, n = self.corners[row] - first, self.n_pixels
        lower = np.maximum(offset, 0)
        upper = np.minimum(offset + n, waves.shape)
        if (upper <= lower).any():
            return
        there = tuple(slice(int(low), int(high)) for low, high in zip(lower, upper, strict=True))
        own = tuple(
            slice(int(low), int(high)) for low, high in zip(lower - offset, upper - offset, strict=True)
        )
        waves[there] -= share[own]
        power[there] -= self.power[own]
        power[there].clamp_(min=0)

    def _compare(
        self, patches: Tensor, amplitude: Tensor, measured: Tensor | None
    ) -> npt.NDArray[np.float64]:
        """Misfit of one frame with patches ``(k, k, n, n)``."""
        n, n_modes = self.n_pixels, len(self.light)
        rows = max(1, _CHUNK_VALUES // (n * n * n_modes * patches.shape[1]))
        parts: list[Tensor] = []
        for some in patches.split(rows):
            lit = squared_modulus(torch.fft.fft2(some[:, :, None] * self.light, norm="ortho")).sum(dim=2)
            if measured is not None:
                lit = lit * measured
            overlap = (lit.sqrt() * amplitude).sum(dim=(-2, -1)).square()
            total = lit.sum(dim=(-2, -1)) * amplitude.square().sum()
            parts.append(1 - overlap / total.clamp(min=_TINY))
        return torch.cat(parts).double().cpu().numpy()


def _between(misfit: npt.NDArray[np.float64], stride: int) -> npt.NDArray[np.bool_]:
    """Places less than a stride from the best ones that were compared."""
    best = np.argsort(misfit, axis=None)[:_BEST_PLACES]
    chosen = np.zeros(misfit.shape, np.bool_)
    chosen[np.unravel_index(best[np.isfinite(misfit.ravel()[best])], misfit.shape)] = True
    return np.asarray(binary_dilation(chosen, np.ones((2 * stride - 1, 2 * stride - 1))) & ~chosen)
