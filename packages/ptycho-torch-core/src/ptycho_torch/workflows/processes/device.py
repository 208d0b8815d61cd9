"""Which devices a run uses, decided when the run starts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]

from ptycho_config import ConfigError, Problem, PyTorchExecutionConfig
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.lightning.compiling import compiler_failure
from ptycho_torch.lightning.loggers import logger_kind

__all__ = ["count_devices", "numerics", "require_compiler", "require_means", "resolve_accelerator"]


def resolve_accelerator(accelerator: str) -> str:
    """Device type for an accelerator setting: ``"cuda"``, ``"mps"`` or ``"cpu"``.

    Parameters
    ----------
    accelerator
        ``"auto"`` takes CUDA, then MPS, then the CPU; ``"gpu"`` takes CUDA, then MPS.

    Raises
    ------
    ConfigError
        If a device was asked for by name and is not there.

    Warns
    -----
    UserWarning
        POLICY-001, when ``"auto"`` finds no GPU.
    """
    has_cuda = torch.cuda.is_available()
    has_mps = torch.backends.mps.is_available()
    available = {
        "cpu": "cpu",
        "cuda": "cuda" if has_cuda else None,
        "mps": "mps" if has_mps else None,
        "gpu": "cuda" if has_cuda else "mps" if has_mps else None,
    }
    if accelerator == "auto":
        if available["gpu"] is None:
            warnings.warn(
                "POLICY-001: no GPU found, running on the CPU; install a CUDA build of torch to use "
                "one, or set accelerator to 'cpu' to silence this",
                UserWarning,
                stacklevel=3,
            )
        return available["gpu"] or "cpu"
    found = available.get(accelerator)
    if found is None:
        hint = f"torch {torch.__version__} sees none; install a build for your GPU or use 'auto'"
        raise ConfigError(Problem("accelerator", accelerator, "a device that is there", hint))
    return found


def count_devices(execution: PyTorchExecutionConfig, accelerator: str, *, joins: bool = True) -> int:
    """Devices of each machine that share a job, one process each.

    Parameters
    ----------
    execution
        ``devices="auto"`` takes as many as torchrun or SLURM has started processes for; all GPUs if a
        strategy was chosen or there are several machines; else one.
    accelerator
        Device type, resolved.
    joins
        Whether the job joins processes that were started by others, and is spread by a strategy. For one
        that starts its own, ``"auto"`` is one.

    Raises
    ------
    ConfigError
        If there are fewer devices than asked for.
    """
    if execution.devices != "auto":
        return _require_devices(int(execution.devices), accelerator)
    if not joins:
        return 1
    started = os.environ.get("LOCAL_WORLD_SIZE")
    if started is None and SLURMEnvironment.detect():
        started = os.environ.get("SLURM_NTASKS_PER_NODE")
    if started is not None:
        return int(started)
    spread = execution.strategy != "auto" or execution.num_nodes > 1
    return torch.cuda.device_count() if spread and accelerator == "cuda" else 1


def _require_devices(count: int, accelerator: str) -> int:
    there = {"cpu": count, "cuda": torch.cuda.device_count()}.get(accelerator, 1)
    if count > there:
        hint = "take fewer devices, or the accelerator 'cpu', where every process counts as one"
        raise ConfigError(Problem("devices", count, f"at most {there} on {accelerator}", hint))
    return count


def require_means(execution: PyTorchExecutionConfig, accelerator: str) -> None:
    """Refuse what this machine cannot do, before anything is written.

    Parameters
    ----------
    execution
        Settings of a training.
    accelerator
        Device type, resolved.

    Raises
    ------
    ConfigError
        If ``16-mixed`` is asked for on the CPU, what the log needs is not installed, or the network is to
        be compiled and cannot be.
    """
    problems = []
    if execution.precision == "16-mixed" and accelerator == "cpu":
        hint = "the CPU does not train in half precision"
        problems.append(Problem("precision", "16-mixed", "bf16-mixed or 32-true on the CPU", hint))
    if (missing := logger_kind(execution.logger_backend).require()) is not None:
        problems.append(missing)
    if problems:
        raise ConfigError(problems)
    require_compiler(execution, accelerator)


def require_compiler(execution: PyTorchExecutionConfig, accelerator: str) -> None:
    """Refuse to compile where that does not work.

    Raises
    ------
    ConfigError
        If the network is to be compiled and cannot be.
    """
    if execution.compile and (reason := compiler_failure(accelerator)) is not None:
        hint = f"install what is missing or leave compile away; torch says: {reason}"
        raise ConfigError(Problem("compile", True, "a working compiler for torch.compile", hint))


@contextmanager
def numerics() -> Iterator[None]:
    """Floating-point settings of a run, put back when it ends.

    Denormal numbers are flushed to zero. Lightning switches deterministic algorithms for the whole
    process and leaves them so; they are restored.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    try:
        with flushed_denormals():
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
