"""Where the processes of a run meet, how long they wait there, and what they say of it."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import torch.distributed as dist
from lightning.fabric.plugins.environments import (  # type: ignore[attr-defined]
    ClusterEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch.distributed.constants import default_pg_timeout

from ptycho_config import ConfigError, Problem

__all__ = ["awaited", "cluster_environment", "forget_failed_meetings", "require_meeting_place"]

logger = logging.getLogger(__name__)

_REMIND_S = 20.0
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


class _OneMachine(LightningEnvironment):
    """Processes that a run starts for itself, which meet where no other run does.

    ``MASTER_PORT`` may be set in a shell, and two runs from there would be at one port.
    """

    @property
    def main_address(self) -> str:
        return super().main_address if self.creates_processes_externally else "127.0.0.1"

    @property
    def main_port(self) -> int:
        if self._main_port == -1 and not self.creates_processes_externally:
            with socket.socket() as free:
                free.bind(("", 0))
                self._main_port = int(free.getsockname()[1])
        return super().main_port


def _launcher() -> type[ClusterEnvironment] | None:
    """The kind of launcher that started this process, in Lightning's order; ``None`` if there was none."""
    kinds = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    return next((kind for kind in kinds if kind.detect()), None)


def cluster_environment(num_nodes: int) -> ClusterEnvironment | None:
    """Says where processes meet: as the launcher told, else at a port of this run's own.

    Parameters
    ----------
    num_nodes
        Machines of the run.

    Returns
    -------
    ClusterEnvironment or None
        A plugin for Lightning; ``None`` leaves the choice to Lightning.
    """
    launcher = _launcher()
    if launcher is SLURMEnvironment:
        # A job that is started again continues from the checkpoint of this package.
        return SLURMEnvironment(auto_requeue=False)
    return _OneMachine() if launcher is None and num_nodes == 1 else None


def require_meeting_place(num_nodes: int) -> None:
    """Refuse several machines that nobody has told where to meet: they would wait for each other in vain.

    Raises
    ------
    ConfigError
        If no launcher started this process, and the environment does not say what a launcher would.
    """
    if num_nodes == 1 or _launcher() is not None:
        return
    missing = [name for name in _ADDRESS if name not in os.environ]
    if not {"NODE_RANK", "GROUP_RANK"}.intersection(os.environ):
        missing.append("NODE_RANK")
    if missing:
        hint = (
            "start it with torchrun or SLURM, or set on every machine MASTER_ADDR and MASTER_PORT, an "
            "address and a free port of the first one, and NODE_RANK, its number from 0"
        )
        expected = f"1, or machines that know where to meet, but {', '.join(missing)} is not set"
        raise ConfigError(Problem("num_nodes", num_nodes, expected, hint))


def forget_failed_meetings() -> None:
    """Let the next process group of this process be its first one, unless there is one.

    Processes meet under the number of the group. torch counts a group that nobody joined too: this process
    would wait under another number than those that it starts.
    """
    if not dist.is_initialized():
        # What torch itself does when a group ends; it has no public name for it.
        dist.distributed_c10d._world.group_count = 0


@contextmanager
def awaited(strategy: Any) -> Iterator[None]:
    """Say for whom this process waits, where and until when, while others are still to join it.

    Parameters
    ----------
    strategy
        Of a trainer or of Fabric, which starts the processes inside the block.

    Raises
    ------
    RuntimeError
        If the others did not come in time.
    """
    environment = getattr(strategy, "cluster_environment", None)
    if not isinstance(environment, ClusterEnvironment) or dist.is_initialized():
        yield
        return
    forget_failed_meetings()
    count, nodes = strategy.num_processes * strategy.num_nodes, strategy.num_nodes
    place = f"{environment.main_address}:{environment.main_port}"
    patience = getattr(strategy, "_timeout", None) or default_pg_timeout
    until = (datetime.now() + patience).strftime("%H:%M:%S")
    minutes = f"{patience.total_seconds() / 60:.3g}"
    told = f"{count} processes on {nodes} machine{'s' if nodes > 1 else ''}"
    logger.info("waiting at %s until %s (%s min) for %s to join", place, until, minutes, told)

    def remind() -> None:
        if not dist.is_initialized():
            text = (
                "still waiting at %s for %s; is the same command running on every machine, and can each "
                "reach that address? The run ends at %s if they do not join"
            )
            logger.warning(text, place, told, until)

    clock = threading.Timer(_REMIND_S, remind)
    clock.daemon = True
    clock.start()
    try:
        yield
    except dist.DistError as error:
        if dist.is_initialized():
            raise
        raise RuntimeError(
            f"{told} did not meet at {place} within {minutes} min (process_timeout_min): {error}"
        ) from error
    finally:
        clock.cancel()
