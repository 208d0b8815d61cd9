"""One reconstruction, in as many processes as the settings ask for."""

from __future__ import annotations

import tempfile
import time
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import STRATEGY_REGISTRY

from ptycho_config import ConfigError, Problem, PyTorchExecutionConfig
from ptycho_torch.control import Progress, ShouldStop, stage_of
from ptycho_torch.data.groups.grouping import Groups
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.lightning.compiling import compiled, compiler_warnings
from ptycho_torch.lightning.quiet import QuietCopies, quiet_lightning
from ptycho_torch.models import PatchModel
from ptycho_torch.prediction.reconstruction import Observe, forward_residual_of, reconstruct
from ptycho_torch.prediction.scan_match import model_for
from ptycho_torch.reassembly import StitchedObject, Team
from ptycho_torch.workflows.processes.copies import reached, require_sendable, starts_copies
from ptycho_torch.workflows.processes.device import count_devices
from ptycho_torch.workflows.processes.distributed import patient_strategy, resolve_strategy
from ptycho_torch.workflows.processes.meeting import awaited, cluster_environment

__all__ = ["ReconstructionTask", "reconstruct_in_processes"]

# Of all frames of a batch: about half a gigabyte while the network predicts them.
_PIXELS_ON_GPU = 2**22
_RESULT, _ARRAYS = "result.npz", ("object", "weight", "origin", "spread")


@dataclass(frozen=True, kw_only=True)
class ReconstructionTask:
    """What to reconstruct and how, as it is given to each process.

    Attributes
    ----------
    model
        Model with the physics of the scan.
    scan, groups
        Frames, and which of them are solved together.
    batch_size, num_workers, middle_trim, pad_eval, physics_steps, progress, should_stop, observe
        As for :func:`ptycho_torch.workflows.reconstruct`.
    compiles
        Whether the network is compiled, in every process for itself.
    """

    model: PatchModel
    scan: Scan
    groups: Groups
    batch_size: int
    num_workers: int
    middle_trim: int
    pad_eval: bool
    physics_steps: int | None
    progress: Progress | None
    should_stop: ShouldStop | None
    observe: Observe | None = None
    compiles: bool = False

    @classmethod
    def asked_for(
        cls,
        model: PatchModel,
        scan: Scan,
        groups: Groups,
        execution: PyTorchExecutionConfig,
        *,
        batch_size: int,
        progress: Progress | None,
        should_stop: ShouldStop | None,
        observe: Observe | None = None,
    ) -> ReconstructionTask:
        """What settings ask for.

        Parameters
        ----------
        model
            Trained model, on the device to use.
        scan, groups, progress, should_stop, observe
            As in the class.
        execution
            How to predict.
        batch_size
            Of the training; on the CPU it counts where ``inference_batch_size`` is not stated.
        """
        return cls(
            model=model_for(model, scan),
            scan=scan,
            groups=groups,
            batch_size=execution.inference_batch_size or _batch_size(model, batch_size),
            num_workers=execution.num_workers,
            middle_trim=execution.middle_trim,
            pad_eval=execution.pad_eval,
            physics_steps=execution.physics_steps,
            progress=progress,
            should_stop=should_stop,
            observe=observe,
            compiles=execution.compile,
        )

    def seen(self) -> Scan:
        """The frames that are in a group."""
        used = np.unique(self.groups.frames)
        return self.scan if len(used) == self.scan.n_frames else self.scan.take(used)


def _batch_size(model: PatchModel, of_training: int) -> int:
    """Groups predicted together where nothing was stated: enough to fill the device."""
    if not model.intensity_scale.is_cuda:
        return of_training
    return max(of_training, _PIXELS_ON_GPU // (model.n_channels * model.n_pixels**2))


def reconstruct_in_processes(
    work: ReconstructionTask, execution: PyTorchExecutionConfig, device: str
) -> tuple[StitchedObject, float, float]:
    """Reconstruct, and compare the object with the frames.

    Parameters
    ----------
    work
        What to do.
    execution
        Says how many processes, on which devices.
    device
        Device type, resolved.

    Returns
    -------
    result : StitchedObject
        In every process that was started by the user; copies of this one that were spawned have ended.
    residual : float
        Forward residual on the frames that were used.
    seconds : float
        Time for predicting and stitching.

    Raises
    ------
    ConfigError
        If patches are to be observed that lie in several processes, or the strategy cannot be used.
    """
    devices = count_devices(execution, device)
    if devices == 1 and execution.num_nodes == 1:
        return _reconstruct(None, work)
    if work.observe is not None:
        expected = "off where several processes share the patches"
        raise ConfigError(Problem("debug", True, expected, "state devices=1 to keep all patches"))
    require_sendable(execution, device, generator=type(work.model.generator))
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=execution.num_nodes,
        strategy=patient_strategy(resolve_strategy(execution, device), execution, device, STRATEGY_REGISTRY),
        plugins=cluster_environment(execution.num_nodes),
        callbacks=[QuietCopies()],
    )
    if not starts_copies(execution, device):
        # Lightning looks for tensors in arguments, and refuses frozen dataclasses there.
        with quiet_lightning(), awaited(fabric.strategy):
            return fabric.launch(partial(_reconstruct, work=work))
    with (
        tempfile.TemporaryDirectory(prefix="ptycho-") as folder,
        quiet_lightning(),
        reached("reconstruction", work.should_stop, work.progress) as (should_stop, progress),
    ):
        sent = replace(work, should_stop=should_stop, progress=progress)
        fabric.launch(partial(_leave_result, work=sent, file=Path(folder) / _RESULT))
        with np.load(Path(folder) / _RESULT) as left:
            result = StitchedObject(**{name: left[name] for name in _ARRAYS})
            return result, float(left["residual"]), float(left["seconds"])


def _leave_result(fabric: Fabric, work: ReconstructionTask, file: Path) -> None:
    """Reconstruct in a copy of the first process, which waits for the copies to end before it listens.

    What a copy returns goes through a pipe, and an object larger than its buffer would never get into it.
    """
    result, residual, seconds = _reconstruct(fabric, work)
    if fabric.local_rank == 0:
        arrays = {name: getattr(result, name) for name in _ARRAYS}
        np.savez(file, **arrays, residual=residual, seconds=seconds)


def _reconstruct(fabric: Fabric | None, work: ReconstructionTask) -> tuple[StitchedObject, float, float]:
    processes = Team.joined()
    model = work.model
    if fabric is not None:
        torch.set_flush_denormal(True)
        # What a process was sent may lie in memory that others see.
        model = deepcopy(work.model).to(fabric.device)
    started = time.perf_counter()
    with compiler_warnings():
        result = reconstruct(
            model,
            work.scan,
            groups=work.groups,
            batch_size=work.batch_size,
            num_workers=work.num_workers,
            middle_trim=work.middle_trim,
            pad_eval=work.pad_eval,
            physics_steps=work.physics_steps,
            progress=work.progress if processes.number == 0 else None,
            should_stop=work.should_stop,
            observe=work.observe,
            processes=processes,
            network=compiled(model.generator.forward) if work.compiles else None,
        )
    seconds = time.perf_counter() - started
    comparing = stage_of(work.progress, "comparing", "frame") if processes.number == 0 else None
    residual = forward_residual_of(
        result, model, work.seen(), batch_size=work.batch_size, processes=processes, progress=comparing
    )
    return result, residual, seconds
