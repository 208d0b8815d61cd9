"""The training loss: measurement terms and regularisation, by weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptycho_config import TrainingConfig
from ptycho_torch.data.groups.dataset import Batch
from ptycho_torch.models.patch_model import PatchModel
from ptycho_torch.physics.losses import amplitude_mae, label_mae, poisson_deviance, total_variation
from ptycho_torch.types import ComplexPatches

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
    label_weight
        Weight of :func:`~ptycho_torch.physics.losses.label_mae`, which needs labels in the batch.
    """

    nll_weight: float
    mae_weight: float
    tv_weight: float
    label_weight: float = 0.0

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms that have a weight."""
        weights = {
            "poisson": self.nll_weight,
            "mae": self.mae_weight,
            "tv": self.tv_weight,
            "labels": self.label_weight,
        }
        return tuple(name for name, weight in weights.items() if weight)

    @classmethod
    def from_config(cls, config: TrainingConfig) -> Objective:
        """Weights that a configuration asks for.

        ``torch_loss_mode='poisson'`` takes both measurement weights as they are. ``'mae'`` drops
        the likelihood; the amplitude term then has weight ``mae_weight``, or one if that is zero.
        A supervised model is trained on its labels, with weight ``realspace_mae_weight`` or one, and
        on no measurement.
        """
        if config.model.model_type == "supervised":
            return cls(
                nll_weight=0.0,
                mae_weight=0.0,
                tv_weight=config.realspace_weight,
                label_weight=config.realspace_mae_weight or 1.0,
            )
        by_amplitude = config.torch_loss_mode == "mae"
        return cls(
            nll_weight=0.0 if by_amplitude else config.nll_weight,
            mae_weight=(config.mae_weight or 1.0) if by_amplitude else config.mae_weight,
            tv_weight=config.realspace_weight,
            label_weight=config.realspace_mae_weight,
        )

    def __call__(self, model: PatchModel, patches: ComplexPatches, batch: Batch) -> dict[str, Tensor]:
        """Loss terms of predicted patches.

        Parameters
        ----------
        model
            Gives the expected counts, the mask and the scale.
        patches
            Complex, ``(batch, channel, N, N)``.
        batch
            Measured counts, and labels if there are any.

        Returns
        -------
        dict
            ``"loss"``, the weighted sum, and each unweighted term that has a weight.
        """
        terms: dict[str, Tensor] = {}
        if self.nll_weight or self.mae_weight:
            counts, predicted = batch["counts"], model.predict_counts(patches)
            scan = {"mean_counts": model.mean_counts, "measured": model.measured}
            if self.nll_weight:
                terms["poisson"] = poisson_deviance(predicted, counts, **scan)
            if self.mae_weight:
                terms["mae"] = amplitude_mae(predicted, counts, **scan)
        if self.tv_weight:
            terms["tv"] = total_variation(patches)
        if self.label_weight:
            terms["labels"] = label_mae(patches, batch["labels"], model.patch_weight())
        weights = (self.nll_weight, self.mae_weight, self.tv_weight, self.label_weight)
        used = [weight for weight in weights if weight]
        total = sum(weight * term for weight, term in zip(used, terms.values(), strict=True))
        return {"loss": torch.as_tensor(total), **terms}
