r"""Light on the detector that does not come through the object: counts that every frame shows.

Frame j is expected to show :math:`\lambda_j = f_j + b`, with :math:`f_j` the light of object and probe. Once
per epoch

.. math:: b \leftarrow \max\left(0,\; \frac{G * \sum_j w_j (I_j - f_j)}{G * \sum_j w_j}\right), \qquad
          w_j = \frac{1}{\lambda_j + \lambda_0},

with a Gaussian G over the detector: Fisher's scoring for the Poisson likelihood (McCullagh and Nelder,
Generalized Linear Models, 1989), for a background that is locally even. It counts what is left over where
frames are dark. Because the weights do not depend on the measured counts it has no bias where these are few,
and it serves the likelihood of amplitudes as well. :math:`\lambda_0`, a tenth of a count, keeps pixels that
were never lit from deciding alone.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ptycho_torch.refine.unknowns.base import Indices, Published, Setup, Step, Unknown

__all__ = ["BackgroundUnknown"]

_EPOCHS_FROM_FLAT = 5
_DARK_COUNTS = 0.1
_WIDTH = 1 / 16
"""Standard deviation of the Gaussian, as a share of the detector."""


class BackgroundUnknown(Unknown):
    """Real, ``(N, N)``, in normalised units, zero or more.

    Parameters
    ----------
    value
        Where to start.
    fitted, first_epoch
        See :class:`Unknown`.
    intensity_scale
        Counts per unit of normalised intensity.
    """

    def __init__(
        self,
        value: Tensor,
        *,
        fitted: bool,
        first_epoch: int = 0,
        intensity_scale: float,
    ) -> None:
        super().__init__(value, fitted=fitted, first_epoch=first_epoch)
        self.intensity_scale = intensity_scale
        self._forget()

    @classmethod
    def of(cls, setup: Setup) -> Self | None:
        """The dark frame, or none; None where there is no dark frame and ``refine_background`` is off."""
        wanted = setup.config.refine_background
        if wanted == "off" and setup.dark is None:
            return None
        n = setup.scan.N
        dark = np.zeros((n, n)) if setup.dark is None else setup.dark
        value = torch.from_numpy(dark / setup.intensity_scale).to(setup.device, setup.dtype.to_real())
        return cls(
            value,
            fitted=wanted != "off",
            first_epoch=setup.first_epoch(_EPOCHS_FROM_FLAT),
            intensity_scale=setup.intensity_scale,
        )

    def expected(self, intensity: Tensor, frames: Indices) -> Tensor:
        """With the background."""
        return intensity + self.value

    def _forget(self) -> None:
        self.excess = torch.zeros_like(self.value, dtype=torch.float64)
        self.weight = torch.zeros_like(self.excess)

    def begin(self, epoch: int) -> None:
        """Start an epoch in which no frame has been looked at."""
        super().begin(epoch)
        self._forget()

    def start_batch(self) -> None:
        """Forget what was left over in the last batch."""
        self.found = torch.zeros(2, *self.value.shape, dtype=torch.float64, device=self.value.device)

    def compared(self, expected: Tensor, counts: Tensor, measured: Tensor | None) -> None:
        """Add what frames hold beyond what is expected."""
        weight = 1 / (expected + _DARK_COUNTS / self.intensity_scale)
        if measured is not None:
            weight = weight * measured
        self.found[0] += (weight * (counts - expected)).sum(dim=0)
        self.found[1] += weight.sum(dim=0)

    def step(self, step: Step) -> None:
        """Keep the sums of the batch for the end of the epoch."""
        found = step.processes.sum(self.found)
        self.excess += found[0]
        self.weight += found[1]

    def settle(self) -> None:
        """Take what is left over for background."""
        light, weight = (self._spread(part) for part in (self.excess + self.weight * self.value, self.weight))
        self.value = (light / weight.clamp(min=1e-30)).clamp(min=0).to(self.value.dtype)

    def _spread(self, values: Tensor) -> Tensor:
        smooth = gaussian_filter(values.cpu().numpy(), _WIDTH * len(values), mode="constant")
        return torch.from_numpy(smooth).to(values.device)

    def advance(self, momentum: float) -> None:
        """Take the background for the result of the epoch; it follows the object, which has momentum."""
        self.now = self.ahead = self.value

    def publish(self, result: Published) -> None:
        """Counts per pixel."""
        counts = (self.now.double() * self.intensity_scale).cpu().numpy()
        result.others["background"] = counts.astype(np.float32)
        result.said["background"] = f"{counts.mean():.3g} counts per pixel, at most {counts.max():.3g}"
