r"""The dose of every frame: a factor of its intensity.

Where frame j is expected to show :math:`\lambda_j = d_j f_j + b` with the light :math:`f_j` of object and
probe, the best dose is closed while these stay,

.. math:: d_j \leftarrow d_j \frac{\sum_q \lambda^f_{jq} I_{jq} / \lambda_{jq}}{\sum_q \lambda^f_{jq}}
          \quad\text{or}\quad
          d_j \leftarrow d_j \left(\frac{\sum_q \lambda^f_{jq} \sqrt{I_{jq} / \lambda_{jq}}}
                                        {\sum_q \lambda^f_{jq}}\right)^2

with :math:`\lambda^f = d f`, for counts with shot noise and for amplitudes. The first is the step of
expectation maximisation (Shepp and Vardi, IEEE Trans. Med. Imaging 1, 113, 1982), measured over predicted
light where there is no background; the second minimises a majorant, by the inequality of Cauchy and Schwarz.

It is taken before the gradient of the frame. So the object goes down the likelihood in which doses have their
best values (variable projection: Golub and Pereyra, SIAM J. Numer. Anal. 10, 413, 1973): the form of a frame
says what the object is, its total hardly does.

Doses that change slowly over the scan look almost like a change of the object's brightness, and noise puts
some there. They are held by a gamma distribution of mean m and shape a. With the light :math:`\ell_j` of a
frame of dose one, in counts, the dose becomes :math:`(d_j \ell_j + a)/(\ell_j + a/m)` (empirical Bayes:
Clayton and Kaldor, Biometrics 43, 671, 1987). The doses say the shape:
:math:`t/a = \langle (d_j/m - 1)^2 - d_j/(m \bar n)\rangle`, what is left of their spread without the shot
noise of :math:`\bar n` counts per frame. Of a steady source this leaves ones. The distribution takes doses
for independent, and would hold back a source that fades: a t below one weakens it.

Where the probe is fitted too, no frame tells doses :math:`d_j e^{2 a p_j}` at the positions :math:`p_j` from
an object :math:`O(x) e^{a x}` that a probe :math:`P(r) e^{-a r}` lights. Of these, those of least spread are
taken, as the distribution would have them: doses have no trend over the positions. An object of phase alone
has no such freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from ptycho_torch.refine.unknowns.base import Indices, Published, Setup, Step, Unknown

__all__ = ["DoseUnknown"]

_LEAST = 1e-3
_TRUST = 0.5
_SMALLEST_SPREAD = 1e-9


class DoseUnknown(Unknown):
    """float64, ``(n,)``: intensity of every frame as a share of the mean, positive.

    Parameters
    ----------
    value
        Where to start.
    intensity_scale
        Counts per unit of normalised intensity.
    counts
        Mean counts per frame.
    of_amplitudes
        Whether amplitudes are fitted, and not counts with shot noise.
    positions
        float64, ``(n, 2)`` ``[y, x]``: where the frames are; px.
    origin
        float64, ``(2,)``: where on the array of the object position zero is; px.
    n_pixels
        Size of a frame.
    is_free
        Whether the object may be brighter on one side than on the other.
    first_epoch
        See :class:`Unknown`.
    """

    moves_light = True
    comes_out_late = True

    def __init__(
        self,
        value: Tensor,
        *,
        intensity_scale: float,
        counts: float,
        of_amplitudes: bool,
        positions: Tensor,
        origin: Tensor,
        n_pixels: int,
        is_free: bool = True,
        first_epoch: int = 0,
    ) -> None:
        super().__init__(value, fitted=True, first_epoch=first_epoch)
        centre = positions.mean(dim=0)
        self.places = positions - centre
        self.middle = centre + origin
        self.n_pixels, self.is_free = n_pixels, is_free
        self.shares_trend = False
        self.intensity_scale, self.counts, self.of_amplitudes = intensity_scale, counts, of_amplitudes
        self.growth = torch.zeros_like(value)
        self.shape, self.mean = 0.0, 1.0

    @classmethod
    def of(cls, setup: Setup) -> Self | None:
        """The light of the frames as shares of its mean; None unless ``refine_dose`` asks for it."""
        if not setup.config.refine_dose:
            return None
        light = torch.from_numpy(setup.scan.counts_per_frame()).to(setup.device)
        usual = light.mean()
        if setup.probes is not None:
            # The brightness of a scan is that of its probe.
            index = torch.from_numpy(setup.scan.scan_index).to(setup.device)
            usual = (torch.bincount(index, weights=light) / torch.bincount(index))[index]
        return cls(
            (light / usual).clamp(min=_LEAST),
            intensity_scale=setup.intensity_scale,
            counts=float(light.mean()),
            of_amplitudes=setup.config.likelihood == "amplitude",
            positions=torch.from_numpy(setup.scan.positions.copy()).to(setup.device),
            origin=setup.canvas.origin_tensor(setup.device),
            n_pixels=setup.scan.N,
            # With one amplitude everywhere a trend is that of the doses; between slices light spreads.
            is_free=setup.config.object_constraint != "phase" and setup.config.slices == 1,
            first_epoch=setup.first_epoch(0),
        )

    def lit(self, light: Tensor, frames: Indices) -> Tensor:
        """Light times the root of the dose."""
        return light * self._roots(frames, light)

    def gathered_light(self, waves: Tensor, frames: Indices) -> Tensor:
        """The adjoint of :meth:`lit`."""
        return waves * self._roots(frames, waves)

    def _roots(self, frames: Indices, like: Tensor) -> Tensor:
        chosen = self.value[torch.from_numpy(frames)]
        return chosen.sqrt().to(like.real.dtype)[:, None, None, None]

    def start_batch(self) -> None:
        """Forget by how much the doses of the last batch grew."""
        self.growth = torch.zeros_like(self.value)

    def matched(self, lit: Tensor, expected: Tensor, counts: Tensor, frames: Indices) -> Tensor:
        """By how much the doses of frames grow, float64 ``(batch,)``."""
        explained = counts / expected.clamp(min=1e-12)
        if self.of_amplitudes:
            explained = explained.sqrt_()
        light = lit.sum(dim=(-2, -1)).double().clamp(min=1e-12)
        best = (lit * explained).sum(dim=(-2, -1)).double() / light
        if self.of_amplitudes:
            best = best.square()
        rows = torch.from_numpy(frames)
        dose = self.value[rows]
        unit = self.intensity_scale * light / dose
        held = (best * dose * unit + self.shape) / (unit + self.shape / self.mean)
        growth = held.clamp(min=_LEAST) / dose
        self.growth[rows] = growth
        return growth

    def step(self, step: Step) -> None:
        """Take the doses that the frames of the batch were matched with."""
        growth, batch = step.processes.sum(self.growth), torch.from_numpy(step.frames)
        self.value[batch] *= growth[batch]

    def settle(self) -> None:
        """Learn from the doses how much they differ."""
        self.mean = float(self.value.mean())
        share = self.value / self.mean
        spread = float((share - 1).square().mean() - share.mean() / self.counts)
        self.shape = _TRUST / max(spread, _SMALLEST_SPREAD)

    def take_along(self, image: Unknown, probe: Unknown) -> None:
        """Leave the trend of the doses over the positions to the object, where the probe is fitted too."""
        self.shares_trend = probe.moving and self.is_free
        if not self.shares_trend:
            return
        trend = self._trend()
        self.value = self.value * (-self.places @ trend).exp()
        shape, size = image.value.shape[-2:], (self.n_pixels, self.n_pixels)
        image.multiply(_exponential(trend / 2, shape, self.middle).to(image.value.real.dtype))
        middle = torch.full_like(self.middle, self.n_pixels // 2)
        probe.multiply(_exponential(-trend / 2, size, middle).to(image.value.real.dtype))

    def _trend(self) -> Tensor:
        """Slope ``(2,)`` of the logarithm over the positions, per px, weighed by the light of frames."""
        columns = torch.cat((self.places, torch.ones_like(self.places[:, :1])), dim=1)
        weighted = columns * self.value[:, None]
        # Along a line of frames there is one slope only.
        inverse = torch.linalg.pinv(weighted.T @ columns, hermitian=True)
        return (inverse @ (weighted.T @ self.value.log()))[:2]

    def advance(self, momentum: float) -> None:
        """Take the doses for the result of the epoch; they follow the object, which has momentum."""
        self.now = self.ahead = self.value

    def publish(self, result: Published) -> None:
        """The doses, with those of their scans, their mean one; the object takes the rest."""
        before = torch.as_tensor(result.others.get("dose", 1.0), dtype=self.now.dtype, device=self.now.device)
        whole = self.now * before
        mean = whole.mean()
        result.object = result.object * mean.sqrt()
        dose = (whole / mean).cpu().numpy()
        result.others["dose"] = dose
        result.said["dose"] = (
            f"from {dose.min():.3g} to {dose.max():.3g} of the mean, {100 * dose.std():.2g} % (rms) apart"
        )
        if self.shares_trend:
            result.said["dose"] += "; a trend over the scan is left to object and probe"


def _exponential(slope: Tensor, shape: Sequence[int], middle: Tensor) -> Tensor:
    """Real, of a shape ``(height, width)``: the exponential of a slope ``(2,)`` per px from a middle."""
    axes = (torch.arange(side, dtype=slope.dtype, device=slope.device) for side in shape)
    down, right = (part * (axis - start) for part, axis, start in zip(slope, axes, middle, strict=True))
    return (down[:, None] + right).exp()
