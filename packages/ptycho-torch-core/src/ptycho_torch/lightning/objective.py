"""The training loss: measurement terms and regularisation, by weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_config import TrainingConfig
from ptycho_torch.models.patch_model import PatchModel
from ptycho_torch.physics.losses import amplitude_mae, poisson_deviance, total_variation
from ptycho_torch.types import ComplexPatches, Counts

__all__ = ["Objective"]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Weighted sum of loss terms.

    Attributes
    ----------
    nll_weight
        Weight of :func:`~ptycho_torch.physics.losses.poisson_deviance`.
    mae_weight
        Weight of :func:`~ptycho_torch.physics.losses.amplitude_mae`.
    tv_weight
        Weight of :func:`~ptycho_torch.physics.losses.total_variation`.
    """

    nll_weight: float
    mae_weight: float
    tv_weight: float

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms that have a weight."""
        weights = {"poisson": self.nll_weight, "mae": self.mae_weight, "tv": self.tv_weight}
        return tuple(name for name, weight in weights.items() if weight)

    @classmethod
    def from_config(cls, config: TrainingConfig) -> Objective:
        """Weights that a configuration asks for.

        ``torch_loss_mode='poisson'`` takes both measurement weights as they are. ``'mae'`` drops
        the likelihood; the amplitude term then has weight ``mae_weight``, or one if that is zero.
        """
        if config.torch_loss_mode == "mae":
            return cls(nll_weight=0.0, mae_weight=config.mae_weight or 1.0, tv_weight=config.realspace_weight)
        return cls(
            nll_weight=config.nll_weight,
            mae_weight=config.mae_weight,
            tv_weight=config.realspace_weight,
        )

    def __call__(self, model: PatchModel, patches: ComplexPatches, counts: Counts) -> dict[str, Tensor]:
        """Loss terms of predicted patches against measured counts.

        Parameters
        ----------
        model
            Gives the expected counts, the mask and the scale.
        patches
            Complex, ``(batch, channel, N, N)``.
        counts
            Real, same shape, counts.

        Returns
        -------
        dict
            ``"loss"``, the weighted sum, and each unweighted term that has a weight.
        """
        predicted = model.predict_counts(patches)
        mean_counts = float(model.mean_counts)
        terms: dict[str, Tensor] = {}
        total = torch.zeros((), device=counts.device)
        if self.nll_weight:
            terms["poisson"] = poisson_deviance(
                predicted, counts, mean_counts=mean_counts, measured=model.measured
            )
            total = total + self.nll_weight * terms["poisson"]
        if self.mae_weight:
            terms["mae"] = amplitude_mae(predicted, counts, mean_counts=mean_counts, measured=model.measured)
            total = total + self.mae_weight * terms["mae"]
        if self.tv_weight:
            terms["tv"] = total_variation(patches)
            total = total + self.tv_weight * terms["tv"]
        return {"loss": total, **terms}
