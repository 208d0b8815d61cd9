"""Pictures of what the network predicts, logged while it learns."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray

from ptycho_config import PyTorchExecutionConfig
from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.data.groups.dataset import GroupDataset
from ptycho_torch.lightning.loggers import Picture, logger_kind
from ptycho_torch.models.patch_model import PatchModel
from ptycho_torch.reassembly import StitchedObject

__all__ = ["ReconstructionImages", "Stitch"]

Stitch = Callable[[PatchModel], StitchedObject]

_MAPS = {"amplitude": "cividis", "phase": "twilight"}
_SHOWN_SHARE = 0.1
_UNSEEN = np.array([217, 217, 217], dtype=np.uint8)
_GAP_PX = 2


class ReconstructionImages(Callback):
    """Logs amplitude and phase of some patches, and of the stitched object, every few epochs.

    What becomes of them is up to the kind of log, see :mod:`ptycho_torch.lightning.loggers`. Pixels that
    hardly any light reached are grey, because nothing is known about them.

    Parameters
    ----------
    execution
        How often, and what; ``recon_log_every_n_epochs`` is set.
    data
        Groups whose patches are drawn. Patches are numbered through: group after group, and within a
        group channel after channel.
    folder
        Folder of the logs.
    stitch
        Makes the object from the model as it is; ``None`` draws none.

    Raises
    ------
    ConfigError
        If a patch is asked for that is not there.
    """

    def __init__(
        self,
        execution: PyTorchExecutionConfig,
        data: GroupDataset,
        folder: Path,
        *,
        stitch: Stitch | None = None,
    ) -> None:
        assert execution.recon_log_every_n_epochs is not None
        self.every = execution.recon_log_every_n_epochs
        self.data = data
        self.folder = folder
        self.kind = logger_kind(execution.logger_backend)
        self.stitch = stitch
        self.patches = _chosen(execution, data.groups.size)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, if it is time to; one process does it for all."""
        if (trainer.current_epoch + 1) % self.every or not trainer.is_global_zero:
            return
        whole: Any = pl_module.model
        model = whole.on(self.data.scan)
        pictures = _tiles(_predicted(model, self.data, self.patches), model.patch_weight())
        if self.stitch is not None:
            result = self.stitch(model)
            pictures |= _pictures("object", result.object, result.weight)
        assert trainer.logger is not None, "settings without a log have no pictures"
        for name, picture in pictures.items():
            self.kind.picture(trainer.logger, name, picture, epoch=trainer.current_epoch, folder=self.folder)


def _chosen(execution: PyTorchExecutionConfig, n_patches: int) -> NDArray[np.int64]:
    fixed = execution.recon_log_fixed_indices
    if fixed is None:
        count = min(execution.recon_log_num_patches, n_patches)
        return np.linspace(0, n_patches - 1, count).round().astype(np.int64)
    if max(fixed) >= n_patches:
        expected = f"numbers from 0 to {n_patches - 1}, because that many patches are validated"
        raise ConfigError(Problem("recon_log_fixed_indices", fixed, expected))
    return np.asarray(fixed, dtype=np.int64)


@torch.no_grad()
def _predicted(
    model: PatchModel, data: GroupDataset, patches: NDArray[np.int64]
) -> NDArray[np.complexfloating]:
    """Patches by number, ``(number, N, N)``, drawn in 32 bits."""
    groups, channels = np.divmod(patches, data.groups.shape[1])
    batch, device = data.__getitems__(groups.tolist()), model.intensity_scale.device
    was_training = model.training
    model.eval()
    try:
        drawn = model(batch["counts"].to(device), batch["offsets"].to(device))
    finally:
        model.train(was_training)
    chosen = drawn[torch.arange(len(patches)), torch.from_numpy(channels)]
    return np.asarray(chosen.cpu().numpy())


def _tiles(patches: NDArray[np.complexfloating], weight: torch.Tensor) -> dict[str, Picture]:
    """Patches side by side, in rows of about equal length."""
    count, n = len(patches), patches.shape[-1]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    step = n + _GAP_PX
    image = np.ones((rows * step - _GAP_PX, columns * step - _GAP_PX), dtype=np.complex64)
    light = np.zeros(image.shape, dtype=np.float32)
    for number, patch in enumerate(patches):
        row, column = divmod(number, columns)
        place = (slice(row * step, row * step + n), slice(column * step, column * step + n))
        image[place], light[place] = patch, weight.cpu().numpy()
    return _pictures("patch", image, light)


def _pictures(
    name: str, image: NDArray[np.complexfloating], weight: NDArray[np.floating]
) -> dict[str, Picture]:
    seen = weight > _SHOWN_SHARE * weight.max()
    amplitude, phase = np.abs(image), np.angle(image)
    low, high = (float(value) for value in np.percentile(amplitude[seen], [0.5, 99.5]))
    return {
        f"{name}_amplitude": _coloured(amplitude, (low, high), seen, _MAPS["amplitude"]),
        # The whole circle, so that pictures of different epochs can be compared.
        f"{name}_phase": _coloured(phase, (-math.pi, math.pi), seen, _MAPS["phase"]),
    }


def _coloured(
    values: NDArray[np.floating], limits: tuple[float, float], seen: NDArray[np.bool_], name: str
) -> Picture:
    """RGB, uint8 ``(height, width, 3)``."""
    from matplotlib import colormaps

    low, high = limits
    scaled = np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)
    colours = (255 * colormaps[name](scaled)[..., :3]).round().astype(np.uint8)
    return np.where(seen[..., None], colours, _UNSEEN)
