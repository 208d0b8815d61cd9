"""The terms of the training loss, as a table. To add one, add an entry here and the setting of its weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor

from ptycho_torch.data.groups.dataset import Batch
from ptycho_torch.models.patch_model import PatchModel
from ptycho_torch.physics.losses import amplitude_mae, label_mae, poisson_deviance, total_variation
from ptycho_torch.types import ComplexPatches, Counts

__all__ = ["LOSS_TERMS", "LossTerm", "Need", "Prediction"]

Need = Literal["labels", "groups"]
"""What a term cannot do without: known patches in every batch, or frames of a group that show one object."""


class Prediction:
    """What a model predicts for one batch.

    Attributes
    ----------
    patches
        Complex, ``(batch, channel, N, N)``.
    """

    def __init__(self, model: PatchModel, patches: ComplexPatches) -> None:
        self.patches = patches
        self._model = model

    @cached_property
    def counts(self) -> Counts:
        """Expected counts, real ``(batch, channel, N, N)``, computed when the first term asks for them."""
        return self._model.predict_counts(self.patches)


@dataclass(frozen=True, kw_only=True)
class LossTerm:
    """One term of the training loss.

    Attributes
    ----------
    name
        In the log: ``train_NAME`` and ``val_NAME``.
    weight
        The setting of :class:`~ptycho_config.TrainingConfig` that is its weight; it ends in ``_weight``.
    value
        Unweighted term, a real scalar, of a prediction, its batch and the model on the scan of that batch.
    needs
        What it cannot do without.
    left_out_by
        Values of ``model_type`` and ``torch_loss_mode`` with which it plays no part, whatever its weight.
    led_by
        Values of the same settings with which its weight is one if it was left at zero.
    """

    name: str
    weight: str
    value: Callable[[Prediction, Batch, PatchModel], Tensor]
    needs: tuple[Need, ...] = ()
    left_out_by: tuple[str, ...] = ()
    led_by: tuple[str, ...] = ()


def _poisson(prediction: Prediction, batch: Batch, model: PatchModel) -> Tensor:
    return poisson_deviance(
        prediction.counts,
        batch["counts"],
        mean_counts=model.mean_counts,
        measured=model.measured_in(batch["counts"]),
    )


def _mae(prediction: Prediction, batch: Batch, model: PatchModel) -> Tensor:
    return amplitude_mae(
        prediction.counts,
        batch["counts"],
        mean_counts=model.mean_counts,
        measured=model.measured_in(batch["counts"]),
    )


def _variation(prediction: Prediction, batch: Batch, model: PatchModel) -> Tensor:
    return total_variation(prediction.patches)


def _labels(prediction: Prediction, batch: Batch, model: PatchModel) -> Tensor:
    return label_mae(prediction.patches, batch["labels"], model.patch_weight())


LOSS_TERMS: tuple[LossTerm, ...] = (
    LossTerm(name="poisson", weight="nll_weight", value=_poisson, left_out_by=("supervised", "mae")),
    LossTerm(name="mae", weight="mae_weight", value=_mae, left_out_by=("supervised",), led_by=("mae",)),
    LossTerm(name="tv", weight="realspace_weight", value=_variation),
    LossTerm(
        name="labels",
        weight="realspace_mae_weight",
        value=_labels,
        needs=("labels",),
        led_by=("supervised",),
    ),
)
"""All terms, in the order in which they are added up."""
