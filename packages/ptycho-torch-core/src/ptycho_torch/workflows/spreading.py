"""One reconstruction, in as many processes as the settings ask for."""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from lightning.fabric import Fabric

from ptycho_config import ConfigError, Problem, PyTorchExecutionConfig
from ptycho_torch.control import Progress, ShouldStop, stage_of
from ptycho_torch.data.contract import Scan
from ptycho_torch.data.grouping import Groups
from ptycho_torch.models import PatchModel
from ptycho_torch.reassembly import Processes, StitchedObject
from ptycho_torch.workflows.debugging import Intermediates
from ptycho_torch.workflows.distributed import resolve_devices, resolve_strategy
from ptycho_torch.workflows.reconstruction import forward_residual_of, reconstruct

__all__ = ["Reconstruction", "reconstruct_in_processes"]


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """What to reconstruct and how, as it is given to each process.

    Attributes
    ----------
    model
        Model with the physics of the scan.
    scan, groups
        Frames, and which of them are solved together.
    batch_size, num_workers, middle_trim, pad_eval, progress, should_stop
        As for :func:`ptycho_torch.workflows.reconstruct`.
    kept
        Keeps every patch; ``None``: they are let go.
    """

    model: PatchModel
    scan: Scan
    groups: Groups
    batch_size: int
    num_workers: int
    middle_trim: int
    pad_eval: bool
    progress: Progress | None
    should_stop: ShouldStop | None
    kept: Intermediates | None

    def seen(self) -> Scan:
        """The frames that are in a group."""
        used = np.unique(self.groups.frames)
        return self.scan if len(used) == self.scan.n_frames else self.scan.take(used)


def reconstruct_in_processes(
    work: Reconstruction, execution: PyTorchExecutionConfig, device: str
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
        If patches are to be kept that lie in several processes, or the strategy cannot be used.
    """
    devices = resolve_devices(execution, device)
    if devices == 1 and execution.num_nodes == 1:
        return _reconstruct(None, work)
    if work.kept is not None:
        expected = "off where several processes share the patches"
        raise ConfigError(Problem("debug", True, expected, "state devices=1 to keep all patches"))
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        num_nodes=execution.num_nodes,
        strategy=resolve_strategy(execution, device),
    )
    if "spawn" in execution.strategy:
        # What shows progress lives in this process and cannot be sent to another.
        work = replace(work, progress=None, should_stop=None)
    # Lightning looks for tensors in arguments and results, and refuses frozen dataclasses there.
    arrays, residual, seconds = fabric.launch(partial(_reconstruct_arrays, work=work))
    return StitchedObject(**arrays), residual, seconds


def _reconstruct_arrays(fabric: Fabric, work: Reconstruction) -> tuple[dict[str, np.ndarray], float, float]:
    result, residual, seconds = _reconstruct(fabric, work)
    return {"object": result.object, "weight": result.weight, "origin": result.origin}, residual, seconds


def _reconstruct(fabric: Fabric | None, work: Reconstruction) -> tuple[StitchedObject, float, float]:
    processes = Processes.joined()
    model = work.model
    if fabric is not None:
        torch.set_flush_denormal(True)
        # What a process was sent may lie in memory that others see.
        model = deepcopy(work.model).to(fabric.device)
    started = time.perf_counter()
    result = reconstruct(
        model,
        work.scan,
        groups=work.groups,
        batch_size=work.batch_size,
        num_workers=work.num_workers,
        middle_trim=work.middle_trim,
        pad_eval=work.pad_eval,
        progress=work.progress if processes.number == 0 else None,
        should_stop=work.should_stop,
        observe=work.kept,
        processes=processes,
    )
    seconds = time.perf_counter() - started
    comparing = stage_of(work.progress, "comparing", "frame") if processes.number == 0 else None
    residual = forward_residual_of(
        result, model, work.seen(), batch_size=work.batch_size, processes=processes, progress=comparing
    )
    return result, residual, seconds
