"""Which pictures a training logs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from lightning.pytorch.callbacks import Callback

from ptycho_torch.config_factory import TrainingPayload
from ptycho_torch.data.contract import Scan
from ptycho_torch.data.grouping import Groups, covering_groups
from ptycho_torch.lightning.images import ReconstructionImages
from ptycho_torch.models import PatchModel
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.workflows.preparation import PreparedTraining
from ptycho_torch.workflows.reconstruction import reconstruct

__all__ = ["reconstruction_images"]


def reconstruction_images(payload: TrainingPayload, prepared: PreparedTraining, logs: Path) -> list[Callback]:
    """The callback that logs pictures, in a list that is empty when none are asked for.

    Patches come from the validation groups, or from those trained on if there are no others; the object is
    that of their scan, or of the frames nearest to its middle. Of several scans the first one is drawn.

    Parameters
    ----------
    payload
        Settings of the run.
    prepared
        Its scan and groups.
    logs
        Folder of its logs.

    Raises
    ------
    ConfigError
        If a patch is asked for that is not there.
    """
    execution = payload.execution_config
    if execution.recon_log_every_n_epochs is None:
        return []
    data = (prepared.validation if len(prepared.validation) else prepared.train).scans[0]
    stitch = None
    if execution.recon_log_stitch:
        scan = prepared.scans[data.scan]
        groups = covering_groups(scan.positions, prepared.model.n_channels, scan_index=scan.scan_index)
        groups = _nearest_to_the_middle(groups, execution.recon_log_max_stitch_samples)
        size = payload.execution_config.inference_batch_size or payload.training_config.batch_size
        stitch = partial(_object_of, scan=scan, groups=groups, batch_size=size)
    return [ReconstructionImages(execution, data, logs / "images", stitch=stitch)]


def _nearest_to_the_middle(groups: Groups, n_patches: int | None) -> Groups:
    """As many groups as hold at most that many patches, but at least one; neighbours leave no holes."""
    if n_patches is None or n_patches >= groups.frames.size:
        return groups
    middle = (groups.centres.min(axis=0) + groups.centres.max(axis=0)) / 2
    order = np.argsort(((groups.centres - middle) ** 2).sum(axis=1), kind="stable")
    rows = np.sort(order[: max(1, n_patches // groups.n_channels)])
    return Groups(
        frames=groups.frames[rows],
        seeds=groups.seeds[rows],
        centres=groups.centres[rows],
        offsets=groups.offsets[rows],
    )


def _object_of(model: PatchModel, scan: Scan, groups: Groups, batch_size: int) -> StitchedObject:
    return reconstruct(model, scan, groups=groups, batch_size=batch_size)
