"""One run in several processes: how many, which of them this is, and what only the first may do."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.strategies import StrategyRegistry

from ptycho_config import ConfigError, Problem, PyTorchExecutionConfig
from ptycho_torch.reassembly import Team
from ptycho_torch.workflows.processes.device import count_devices
from ptycho_torch.workflows.processes.meeting import require_meeting_place

__all__ = [
    "from_first_process",
    "is_first_process",
    "is_interactive",
    "patient_strategy",
    "resolve_strategy",
]

Value = TypeVar("Value")


def resolve_strategy(
    execution: PyTorchExecutionConfig, accelerator: str, *, partly_used: bool = False
) -> str:
    """Name of the Lightning strategy.

    Parameters
    ----------
    execution
        Settings.
    accelerator
        Device type, resolved.
    partly_used
        Whether a step may leave trainable parameters without a gradient, as labels do with a probe,
        and a batch of one scan does with those of the others.

    Raises
    ------
    ConfigError
        If Lightning has no such strategy, the weights are to be sharded over CPUs, or several machines do
        not know where to meet.
    """
    require_meeting_place(execution.num_nodes)
    name = execution.strategy
    if name.startswith(("fsdp", "deepspeed")) and accelerator == "cpu":
        hint = f"{name} shards weights over GPUs; ddp gives every process a copy, which these networks fit"
        raise ConfigError(Problem("strategy", name, "auto, ddp or ddp_spawn on the CPU", hint))
    if name != "auto" and name not in StrategyRegistry.available_strategies():
        hint = "ddp starts the command once more per device, ddp_spawn starts copies of this process"
        raise ConfigError(Problem("strategy", name, "auto, ddp, ddp_spawn or another of Lightning", hint))
    if not _are_several(execution, accelerator):
        # One process needs no strategy, and ddp would start a process group for it.
        return "auto" if name in ("auto", "ddp", "ddp_spawn") else name
    if not partly_used:
        return name
    looking = f"{_plain_strategy(execution) if name == 'auto' else name}_find_unused_parameters_true"
    return looking if looking in StrategyRegistry.available_strategies() else name


def patient_strategy(name: str, execution: PyTorchExecutionConfig, accelerator: str, registry: Any) -> Any:
    """The strategy of a name whose processes wait for each other as long as the settings say.

    Parameters
    ----------
    name
        From :func:`resolve_strategy`.
    execution, accelerator
        Settings, and the device type, resolved.
    registry
        Strategies by name, of the trainer or of Fabric.

    Returns
    -------
    str or Strategy
        The name itself where nobody stated a time, and for strategies of one process.
    """
    minutes = execution.process_timeout_min
    if minutes is None or not _are_several(execution, accelerator):
        return name
    if name == "auto":
        name = _plain_strategy(execution)
    entry = registry[name]
    if "timeout" not in inspect.signature(entry["strategy"].__init__).parameters:
        return name
    return entry["strategy"](**entry["init_params"], timeout=timedelta(minutes=minutes))


def _are_several(execution: PyTorchExecutionConfig, accelerator: str) -> bool:
    return count_devices(execution, accelerator) != 1 or execution.num_nodes > 1


def _plain_strategy(execution: PyTorchExecutionConfig) -> str:
    """What Lightning would choose itself for several processes."""
    return "ddp_notebook" if is_interactive() and execution.num_nodes == 1 else "ddp"


def is_interactive() -> bool:
    """Whether there is a person at a prompt or a notebook, and no script that could be started again."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def is_first_process() -> bool:
    """Whether this is the process that writes: the only one, or the first of all."""
    joined = Team.joined()
    # Before the processes have found each other, what started them says which is which.
    return (joined.number if joined.count > 1 else int(getattr(rank_zero_only, "rank", 0) or 0)) == 0


def from_first_process(work: Callable[[], Value]) -> Value:
    """Let the first process do something while the others wait, and give all of them what it returns.

    Parameters
    ----------
    work
        Called in the first process; its result is sent by pickle.

    Raises
    ------
    RuntimeError
        In the others, if the first one failed.
    """
    joined = Team.joined()
    if joined.count == 1:
        return work()
    answer: list[object] = [None, None]
    if joined.number == 0:
        try:
            answer[0] = work()
        except BaseException as error:
            answer[1] = f"{type(error).__name__}: {error}"
            dist.broadcast_object_list(answer)
            raise
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise RuntimeError(f"the first process failed: {answer[1]}")
    return answer[0]  # type: ignore[return-value]
