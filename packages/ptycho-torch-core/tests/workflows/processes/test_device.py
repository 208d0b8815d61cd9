"""Which device a run takes, and what it leaves of the settings of the process."""

from __future__ import annotations

import warnings

import pytest
import torch

from ptycho_config import ConfigError
from ptycho_torch.denormals import flushes_denormals
from ptycho_torch.workflows.processes.device import numerics, resolve_accelerator


@pytest.fixture
def machine(monkeypatch):
    def make(*, cuda=False, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return make


@pytest.mark.parametrize(
    ("cuda", "mps", "asked", "found"),
    [
        (True, True, "auto", "cuda"),
        (False, True, "auto", "mps"),
        (True, False, "gpu", "cuda"),
        (False, True, "gpu", "mps"),
        (True, False, "cuda", "cuda"),
        (True, True, "mps", "mps"),
        (True, True, "cpu", "cpu"),
        (False, False, "cpu", "cpu"),
    ],
)
def test_the_best_device_is_taken_without_a_word(machine, cuda, mps, asked, found):
    machine(cuda=cuda, mps=mps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_accelerator(asked) == found


@pytest.mark.rule("RUN-030")
def test_auto_without_a_gpu_warns_once_and_says_what_to_do(machine):
    machine()
    with pytest.warns(UserWarning, match=r"POLICY-001.*CUDA build.*'cpu' to silence") as caught:
        assert resolve_accelerator("auto") == "cpu"
    assert len(caught) == 1


@pytest.mark.rule("RUN-030")
@pytest.mark.parametrize("asked", ["cuda", "gpu", "mps"])
def test_a_device_that_is_not_there_is_refused(machine, asked):
    machine()
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("accelerator",) and error.problems[0].value == asked
    ):
        resolve_accelerator(asked)


@pytest.mark.rule("RUN-017")
def test_settings_of_the_process_are_put_back():
    tiny = torch.tensor(1e-30)
    before = torch.are_deterministic_algorithms_enabled()
    with numerics():
        assert tiny * 1e-10 == 0
        torch.use_deterministic_algorithms(not before)
    assert torch.are_deterministic_algorithms_enabled() == before
    assert tiny * 1e-10 > 0


def test_settings_are_put_back_after_an_error():
    with pytest.raises(ValueError, match="inside"), numerics():
        raise ValueError("inside")
    assert torch.tensor(1e-30) * 1e-10 > 0


@pytest.mark.parametrize("already", [True, False])
def test_denormals_are_what_they_were_for_the_caller(already):
    torch.set_flush_denormal(already)
    try:
        with numerics():
            assert flushes_denormals()
        assert flushes_denormals() == already
    finally:
        torch.set_flush_denormal(False)
