"""Where processes meet, and what is said while they have not."""

from __future__ import annotations

import logging
import socket
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch.distributed as dist
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.fabric.strategies import STRATEGY_REGISTRY
from lightning.pytorch.strategies import StrategyRegistry

from ptycho_config import ConfigError, PyTorchExecutionConfig
from ptycho_torch.workflows import train
from ptycho_torch.workflows.processes import meeting
from ptycho_torch.workflows.processes.distributed import patient_strategy
from ptycho_torch.workflows.processes.meeting import awaited, cluster_environment, require_meeting_place

_TOLD = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def shell(monkeypatch):
    """A shell in which nobody has said anything; set variables with it."""
    for name in _TOLD:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.rule("RUN-067")
def test_a_port_left_in_the_shell_is_not_where_two_runs_meet(shell):
    shell.setenv("MASTER_ADDR", "10.0.0.1")
    shell.setenv("MASTER_PORT", "29500")
    first, second = cluster_environment(1), cluster_environment(1)
    assert len({first.main_port, second.main_port, 29500}) == 3
    assert first.main_port == first.main_port
    assert first.main_address == "127.0.0.1"


@pytest.mark.rule("RUN-067")
def test_a_process_that_the_run_started_goes_where_it_was_sent(shell):
    shell.setenv("MASTER_ADDR", "127.0.0.1")
    shell.setenv("MASTER_PORT", "29501")
    shell.setenv("LOCAL_RANK", "1")
    sent = cluster_environment(1)
    assert (sent.main_address, sent.main_port) == ("127.0.0.1", 29501)


@pytest.mark.rule("RUN-067")
def test_launchers_say_where_to_meet(shell):
    shell.setenv("TORCHELASTIC_RUN_ID", "none")
    assert cluster_environment(1) is None
    shell.delenv("TORCHELASTIC_RUN_ID")
    shell.setattr(SLURMEnvironment, "detect", staticmethod(lambda: True))
    assert isinstance(cluster_environment(2), SLURMEnvironment)


@pytest.mark.rule("RUN-068")
def test_several_machines_that_do_not_know_where_to_meet_are_refused(shell, payload, tmp_path):
    with pytest.raises(ConfigError) as caught:
        train(payload(execution={"num_nodes": 2}))
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("num_nodes", 2)
    assert all(name in problem.expected for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"))
    assert not (tmp_path / "run").exists()


@pytest.mark.rule("RUN-068")
def test_several_machines_that_were_told_are_taken(shell):
    shell.setenv("MASTER_ADDR", "10.0.0.1")
    shell.setenv("MASTER_PORT", "29500")
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("num_nodes",)):
        require_meeting_place(2)
    shell.setenv("NODE_RANK", "0")
    require_meeting_place(2)
    assert cluster_environment(2) is None
    require_meeting_place(1)


def _strategy(shell, port="29502"):
    shell.setenv("MASTER_PORT", port)
    return SimpleNamespace(cluster_environment=LightningEnvironment(), num_processes=2, num_nodes=2)


@pytest.mark.rule("RUN-068")
def test_who_waits_says_for_whom_where_and_until_when(shell, caplog):
    caplog.set_level(logging.INFO, logger="ptycho_torch")
    shell.setattr(meeting, "_REMIND_S", 0.01)
    strategy = _strategy(shell)
    with awaited(strategy):
        for _ in range(200):
            if len(caplog.records) > 1:
                break
            meeting.threading.Event().wait(0.01)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == ["INFO", "WARNING"]
    for _, text in said:
        assert "127.0.0.1:29502" in text
        assert "4 processes on 2 machines" in text


def test_nothing_is_said_of_one_process(caplog):
    caplog.set_level(logging.INFO, logger="ptycho_torch")
    with awaited(SimpleNamespace()):
        pass
    assert not caplog.records


@pytest.mark.rule("RUN-068")
def test_who_waited_in_vain_ends_in_words(shell):
    """A real store at a real port, at which nobody else arrives."""
    environment = cluster_environment(1)
    strategy = SimpleNamespace(cluster_environment=environment, num_processes=2, num_nodes=1)
    with (
        pytest.raises(
            RuntimeError, match=f"2 processes on 1 machine did not meet at 127.0.0.1:{environment.main_port}"
        ),
        awaited(strategy),
    ):
        dist.TCPStore(environment.main_address, environment.main_port, 2, True, timeout=timedelta(seconds=1))


@pytest.fixture
def alone(shell):
    """The shell of the first of two machines; the second one never comes."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    shell.setenv("MASTER_ADDR", "127.0.0.1")
    shell.setenv("MASTER_PORT", str(port))
    shell.setenv("NODE_RANK", "0")
    return f"127.0.0.1:{port}"


@pytest.mark.rule("RUN-068")
def test_processes_wait_as_long_as_is_stated(alone, payload, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="ptycho_torch")
    waiting = {"num_nodes": 2, "process_timeout_min": 0.03}
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=f"2 machines did not meet at {alone} within 0.03 min"):
        train(payload(execution=waiting))
    assert 1.5 < time.monotonic() - started < 60
    assert "(0.03 min)" in caplog.text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("registry", [StrategyRegistry, STRATEGY_REGISTRY])
@pytest.mark.parametrize("name", ["auto", "ddp", "ddp_spawn", "ddp_find_unused_parameters_true"])
def test_every_strategy_waits_as_long_as_is_stated(registry, name):
    stated = PyTorchExecutionConfig(devices=2, process_timeout_min=7)
    made = patient_strategy(name, stated, "cpu", registry)
    assert made._timeout == timedelta(minutes=7)
    usual = registry["ddp" if name == "auto" else name]
    assert isinstance(made, usual["strategy"])
    assert made._start_method == usual["init_params"]["start_method"]
    assert patient_strategy(name, PyTorchExecutionConfig(devices=2), "cpu", registry) == name
    alone = PyTorchExecutionConfig(devices=1, process_timeout_min=7)
    assert patient_strategy(name, alone, "cpu", registry) == name
