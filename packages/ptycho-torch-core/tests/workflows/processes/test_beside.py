"""Processes that work beside this one: what they share, and what happens when one of them is gone."""

import os
import pickle
import signal
import time
from datetime import timedelta

import pytest
import torch
from torch import distributed

from ptycho_torch.workflows.processes.beside import ProcessDied, beside

pytestmark = pytest.mark.usefixtures("spawnable")


class DiesOnArrival:
    """Ends the process that receives it."""

    def __init__(self, exit_code=7):
        self.exit_code = exit_code

    def __reduce__(self):
        return os._exit, (self.exit_code,)


def add_one(number, device):
    distributed.all_reduce(torch.tensor([float(number)]))


def is_killed(device):
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_add_up():
    with beside(2, "cpu", add_one, (2,)) as device:
        value = torch.tensor([1.0], device=device)
        distributed.all_reduce(value)
    assert value.item() == 3.0
    assert not distributed.is_initialized()


@pytest.mark.parametrize("exit_code", [7, 0])
def test_a_process_that_dies_before_it_joins_is_reported_at_once(exit_code):
    started = time.monotonic()
    with pytest.raises(ProcessDied) as caught, beside(2, "cpu", add_one, (DiesOnArrival(exit_code),)):
        pytest.fail("a group of one process was made")
    assert time.monotonic() - started < 60
    assert (caught.value.number, caught.value.count, caught.value.exit_code) == (2, 2, exit_code)
    assert not distributed.is_initialized()


def test_a_process_that_is_killed_at_work_is_named():
    with pytest.raises(ProcessDied) as caught, beside(2, "cpu", is_killed, ()) as device:
        distributed.all_reduce(torch.ones(1, device=device))
    assert caught.value.exit_code == -signal.SIGKILL
    assert "SIGKILL" in str(caught.value)
    assert not distributed.is_initialized()


def test_a_group_that_nobody_joined_does_not_keep_the_next_one_apart(tmp_path):
    alone = distributed.FileStore(str(tmp_path / "store"), 2)
    with pytest.raises(RuntimeError):
        distributed.init_process_group(
            "gloo", store=alone, rank=0, world_size=2, timeout=timedelta(seconds=0.2)
        )
    test_processes_add_up()


def test_the_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(ProcessDied(2, 3, -9)))
    assert (error.number, error.count, error.exit_code) == (2, 3, -9)


def test_one_process_makes_no_group():
    with beside(1, "cpu", add_one, (DiesOnArrival(),)) as device:
        assert device == "cpu"
        assert not distributed.is_initialized()
