"""The training loss: the terms that have a weight, added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ptycho_config import TrainingConfig
from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.data.groups.dataset import Batch
from ptycho_torch.lightning.loss_terms import LOSS_TERMS, LossTerm, Need, Prediction
from ptycho_torch.models.patch_model import PatchModel
from ptycho_torch.types import ComplexPatches

__all__ = ["Objective"]


class Objective:
    """Weighted sum of loss terms.

    Parameters
    ----------
    weights
        Weight of each term by its name; a term that is not there, or has weight zero, is not computed.
    table
        All terms there are.

    Raises
    ------
    ValueError
        If a name is not in the table.
    """

    def __init__(self, weights: Mapping[str, float], table: Sequence[LossTerm] = LOSS_TERMS) -> None:
        if unknown := set(weights) - {term.name for term in table}:
            raise ValueError(f"weights: expected names of loss terms, got {', '.join(sorted(unknown))}")
        self._used = tuple((term, weights[term.name]) for term in table if weights.get(term.name))

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term that has one, in the order of the table."""
        return {term.name: weight for term, weight in self._used}

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms that have a weight."""
        return tuple(self.weights)

    def needs(self, need: Need) -> bool:
        """Whether a term that has a weight cannot do without something."""
        return any(need in term.needs for term, _ in self._used)

    @classmethod
    def from_config(cls, config: TrainingConfig, table: Sequence[LossTerm] = LOSS_TERMS) -> Objective:
        """Weights that a configuration asks for.

        ``torch_loss_mode='poisson'`` takes both measurement weights as they are. ``'mae'`` drops
        the likelihood; the amplitude term then has weight ``mae_weight``, or one if that is zero.
        A supervised model is trained on its labels, with weight ``realspace_mae_weight`` or one, and
        on no measurement.

        Raises
        ------
        ConfigError
            If a term needs frames that show one object together, and every patch stands alone.
        """
        chosen = {config.model.model_type, config.torch_loss_mode}
        weights = {}
        for term in table:
            if chosen.isdisjoint(term.left_out_by):
                lowest = 0.0 if chosen.isdisjoint(term.led_by) else 1.0
                weights[term.name] = getattr(config, term.weight) or lowest
        made = cls(weights, table)
        together = config.model.gridsize > 1 and config.model.object_big
        problems = [
            Problem(term.weight, weight, "0 where patches stand alone", "gridsize 2 and object_big join them")
            for term, weight in made._used
            if "groups" in term.needs and not together
        ]
        if problems:
            raise ConfigError(problems)
        return made

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
        prediction = Prediction(model, patches)
        terms = {term.name: term.value(prediction, batch, model) for term, _ in self._used}
        total = sum(weight * terms[term.name] for term, weight in self._used)
        return {"loss": torch.as_tensor(total), **terms}
