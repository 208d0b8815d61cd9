"""Where and how a training runs: every setting seen at work."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_config import ConfigError
from ptycho_torch.bundle import load_bundle
from ptycho_torch.lightning import compiling
from ptycho_torch.workflows import train
from ptycho_torch.workflows import training as training_module
from ptycho_torch.workflows.pictures import TRAINING_PICTURES


@pytest.fixture(autouse=True)
def quick_figure(monkeypatch):
    """Drawing takes longer than these trainings."""

    def touch(work, *rest):
        for name in TRAINING_PICTURES:
            (work / name).touch()

    monkeypatch.setattr(training_module, "write_training_pictures", touch)


def _same(first, second, **tolerance):
    first, second = first.state_dict(), second.state_dict()
    assert list(first) == list(second)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, **(tolerance or {"rtol": 0, "atol": 0}), msg=name)


class _Watch(Callback):
    """Call something when an epoch begins."""

    def __init__(self, action):
        self.action = action

    def on_train_epoch_start(self, trainer, pl_module):
        self.action(pl_module)


class _Compiler:
    """A backend of torch.compile that runs what it is given and counts how often."""

    def __init__(self):
        self.graphs = self.runs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1

        def run(*arguments):
            self.runs += 1
            return graph.forward(*arguments)

        return run


def test_a_compiled_network_trains_alike_and_keeps_its_names(payload, monkeypatch):
    compiler = _Compiler()
    monkeypatch.setattr(compiling, "BACKEND", compiler)
    settings = {"architecture": "cnn", "nepochs": 2, "n_groups": 16, "batch_size": 8}
    plain = train(payload("plain", {"val_fraction": 0.0}, **settings))
    assert compiler.graphs == 0
    made = train(payload("compiled", {"val_fraction": 0.0, "compile": True}, **settings))
    assert compiler.graphs > 0
    # Two batches in each of two epochs.
    assert compiler.runs >= 4
    _same(plain.model, made.model, rtol=1e-4, atol=1e-6)
    _same(load_bundle(made.bundle)[0], made.model)
    states = [
        torch.load(outcome.best_checkpoint, weights_only=True)["state_dict"] for outcome in (plain, made)
    ]
    assert list(states[0]) == list(states[1])


def test_without_a_compiler_compiling_is_refused_and_nothing_is_written(payload, monkeypatch, tmp_path):
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler was found")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    with pytest.raises(ConfigError, match=r"compile = True.*leave compile away.*no C\+\+ compiler"):
        train(payload(execution={"compile": True}))
    assert not (tmp_path / "run").exists()
