"""Which pictures a training logs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lightning.pytorch.callbacks import Callback

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.data.groups.grouping import Groups
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.lightning.images import ReconstructionImages
from ptycho_torch.models import PatchModel
from ptycho_torch.prediction.reconstruction import reconstruct
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.workflows.jobs.preparation import PreparedTraining
from ptycho_torch.workflows.jobs.training_pictures import groups_to_draw

__all__ = ["reconstruction_images"]


def reconstruction_images(
    execution: PyTorchExecutionConfig, prepared: PreparedTraining, logs: Path, *, batch_size: int
) -> list[Callback]:
    """The callback that logs pictures, in a list that is empty when none are asked for.

    Patches come from the validation groups, or from those trained on if there are no others; the object is
    that of their scan, or of the frames nearest to its middle. Of several scans the first one is drawn.

    Parameters
    ----------
    execution
        What is to be logged, and how often.
    prepared
        Its scan and groups.
    logs
        Folder of its logs.
    batch_size
        Groups predicted together, if ``inference_batch_size`` does not say it.

    Raises
    ------
    ConfigError
        If a patch is asked for that is not there.
    """
    if execution.recon_log_every_n_epochs is None:
        return []
    shown = prepared.shown
    stitch = None
    if execution.recon_log_stitch:
        groups = groups_to_draw(shown.scan, prepared.model.n_channels, execution.recon_log_max_stitch_samples)
        size = execution.inference_batch_size or batch_size
        stitch = partial(_object_of, scan=shown.scan, groups=groups, batch_size=size)
    return [ReconstructionImages(execution, shown.data, logs, stitch=stitch)]


def _object_of(model: PatchModel, scan: Scan, groups: Groups, batch_size: int) -> StitchedObject:
    return reconstruct(model, scan, groups=groups, batch_size=batch_size)
