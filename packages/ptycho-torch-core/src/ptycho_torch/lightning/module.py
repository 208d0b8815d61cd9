"""Training of a :class:`~ptycho_torch.models.PatchModel` under Lightning."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from ptycho_config import PyTorchExecutionConfig, TrainingConfig
from ptycho_torch.data.groups.dataset import Batch
from ptycho_torch.lightning.clipping import clip_adaptively, clip_algorithm, clip_values
from ptycho_torch.lightning.compiling import compiled
from ptycho_torch.lightning.datamodule import ScanDataModule
from ptycho_torch.lightning.objective import Objective
from ptycho_torch.lightning.optim import build_optimizer, build_schedule
from ptycho_torch.models.patch_model import PatchModel
from ptycho_torch.physics.residual import residual_sums
from ptycho_torch.reassembly import Team
from ptycho_torch.types import ComplexPatches

__all__ = ["PtychoModule"]

logger = logging.getLogger(__name__)


class PtychoModule(pl.LightningModule):
    """Loss, metrics and optimiser of one training.

    Logged each epoch: ``train_loss`` and ``val_loss``, their terms (``train_poisson`` ...),
    ``val_residual``, the forward residual (:mod:`ptycho_torch.physics.residual`) of single patches, and
    ``val_contrast``, the illumination-weighted standard deviation of the predicted object inside
    a patch. A falling loss with a contrast near zero is a collapse onto a flat image.

    Parameters
    ----------
    model
        What is trained.
    training, execution
        Loss weights, optimiser and schedule.
    has_validation
        Whether validation data will be given; decides what is monitored.
    """

    def __init__(
        self,
        model: PatchModel,
        training: TrainingConfig,
        execution: PyTorchExecutionConfig,
        *,
        has_validation: bool,
    ) -> None:
        super().__init__()
        self.model = model
        self.training_config = training
        self.execution_config = execution
        self.objective = Objective.from_config(training)
        self.loss_name = "train_loss"
        self.val_loss_name = "val_loss" if has_validation else "train_loss"
        self._network: Callable[..., Tensor] | None = None

    def setup(self, stage: str) -> None:
        """Compile the network if that is asked for.

        In every process for itself, because compiled code cannot be sent to another one. It stands
        beside the model and not in it, so that weights keep their names.
        """
        if self._processes.count > 1:
            logger.info("process %d of %d has joined", self._processes.number + 1, self._processes.count)
        # Processes that a trainer starts do not inherit it; see `numerics` in workflows/processes/device.py.
        torch.set_flush_denormal(True)
        if self.execution_config.compile:
            self._network = compiled(self.model.generator.forward)

    def teardown(self, stage: str) -> None:
        """Let go of the compiled code."""
        self._network = None

    def forward(self, batch: Batch) -> ComplexPatches:
        """Object patches of a batch, ``(batch, channel, N, N)``."""
        model = self.model.on(batch["scan"])
        return model(batch["counts"], batch["offsets"], network=self._network)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        terms = self._terms(self(batch), batch)
        mine, total = self._rows("train", batch, batch_idx)
        self._log_means({f"train_{name}": value for name, value in terms.items()}, mine, total)
        # Processes average their gradients. Weighted so, that is the gradient of the mean over all groups.
        return terms["loss"] * (mine * self._processes.count / total)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Log losses, forward residual and contrast of one batch.

        Returns
        -------
        dict
            ``"amplitude"``: real, ``(batch, channel, N, N)``, roots of the expected counts, zero where
            the detector did not measure.
        """
        counts, model = batch["counts"], self.model.on(batch["scan"])
        patches = self(batch)
        mine, total = self._rows("val", batch, batch_idx)
        terms = self._terms(patches, batch)
        measured = model.measured_in(counts)
        predicted = torch.where(measured, model.predict_counts(patches), 0.0)
        contrast = _contrast(patches, model.patch_weight())
        means = {f"val_{name}": value for name, value in terms.items()} | {"val_contrast": contrast}
        self._log_means(means, mine, total)
        counts = torch.where(measured, counts, 0.0)
        rows = residual_sums(predicted.flatten(0, 1), counts.flatten(0, 1))
        misfit, amplitude = self._processes.sum(rows.sum(dim=1) * (mine > 0))
        self._log("val_residual", misfit / amplitude, total)
        return {"amplitude": predicted.sqrt().detach()[: None if mine else 0]}

    @property
    def _processes(self) -> Team:
        return Team(self.trainer.global_rank, self.trainer.world_size)

    def _rows(self, stage: str, batch: Batch, batch_idx: int) -> tuple[int, int]:
        """Groups of this process and of all processes in a batch."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ScanDataModule):
            return data.rows_of(stage, batch_idx)
        return len(batch["counts"]), len(batch["counts"]) * self._processes.count

    def _terms(self, patches: ComplexPatches, batch: Batch) -> dict[str, Tensor]:
        """Loss terms, always in 32 bits: counts span more decades than 16 bits hold."""
        model = self.model.on(batch["scan"])
        if self.execution_config.precision == "32-true":
            return self.objective(model, patches, batch)
        with torch.autocast(self.device.type, enabled=False):
            return self.objective(model, patches.to(torch.complex64), batch)

    def _log_means(self, means: dict[str, Tensor], mine: int, total: int) -> None:
        """Log means over the groups of this process as means over those of all."""
        values = torch.stack([value.detach() for value in means.values()])
        if self._processes.count > 1:
            # Lightning averages whole numbers of groups over processes, and cuts what is left over.
            values = self._processes.sum(values * mine) / total
        for name, value in zip(means, values, strict=True):
            self._log(name, value, total)

    def _log(self, name: str, value: Tensor | float, batch_size: int) -> None:
        """Log what is the same in all processes."""
        self.log(name, value, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)

    def on_train_epoch_start(self) -> None:
        """Log the learning rate that this epoch uses."""
        rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        self._log("learning_rate", rate, 1)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Bound the gradients by the algorithm of the configuration."""
        if gradient_clip_val is None:
            return
        algorithm = clip_algorithm(self.training_config, self.execution_config)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if algorithm == "adaptive":
            clip_adaptively(parameters, gradient_clip_val)
        elif algorithm == "value":
            clip_values(parameters, gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, algorithm)

    def configure_optimizers(self) -> Any:
        """Optimiser, with its schedule if there is one."""
        optimizer = build_optimizer(self.model, self.training_config, self.execution_config)
        schedule = build_schedule(
            optimizer, self.training_config, self.execution_config, monitor=self.val_loss_name
        )
        return optimizer if schedule is None else {"optimizer": optimizer, "lr_scheduler": schedule}


def _contrast(patches: ComplexPatches, weight: Tensor) -> Tensor:
    share = weight / weight.sum()
    mean = (share * patches).sum(dim=(-2, -1), keepdim=True)
    return torch.sqrt((share * (patches - mean).abs().square()).sum(dim=(-2, -1))).mean()
