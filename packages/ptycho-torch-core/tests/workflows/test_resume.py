"""A training that was killed and continued ends as one that was not."""

from __future__ import annotations

import csv
import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_config import ConfigError
from ptycho_torch import atomic
from ptycho_torch.bundle import load_bundle
from ptycho_torch.lightning.checkpoint_io import AtomicCheckpointIO
from ptycho_torch.workflows import TrainingInterrupted, train
from ptycho_torch.workflows import training as training_module

LONG = {"nepochs": 4, "n_groups": 16}
SETTINGS = {"val_fraction": 0.25, "learning_rate": 3e-3}


@pytest.fixture(autouse=True)
def quick_figure(monkeypatch):
    monkeypatch.setattr(training_module, "save_training_figure", lambda path, *rest: path.touch())


class _InterruptAt(Callback):
    def __init__(self, epoch, hook="on_train_epoch_start"):
        self.epoch = epoch
        setattr(self, hook, self._act)

    def _act(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


def interrupted(made, epoch, **more):
    with pytest.raises(TrainingInterrupted):
        train(made, callbacks=[_InterruptAt(epoch)], **more)


def table(outcome):
    with (outcome.output_dir / "logs" / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def assert_same_run(resumed, whole):
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert resumed.history == whole.history
    assert table(resumed) == table(whole)
    assert resumed.best_checkpoint.name == whole.best_checkpoint.name
    kept = [sorted(path.name for path in (run.output_dir / "checkpoints").iterdir()) for run in (resumed, whole)]
    assert kept[0] == kept[1]
    saved = load_bundle(resumed.bundle)[0].state_dict()
    assert all(torch.equal(saved[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("epochs", "more"),
    [
        ((2,), {}),
        ((1, 3), {"scheduler": "WarmupCosine", "checkpoint_save_top_k": 2}),
        ((3,), {"scheduler": "ReduceLROnPlateau", "accum_steps": 2}),
        ((2,), {"scheduler": "Exponential", "val_fraction": 0.0}),
    ],
)
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(payload, epochs, more):
    execution = {**SETTINGS, **more}
    settings = {**LONG, "plateau_patience": 0, "plateau_threshold": 0.5}
    whole = train(payload("whole", execution, **settings))
    for number, epoch in enumerate(epochs):
        interrupted(payload("run", execution, **settings), epoch, resume=number > 0)
    assert_same_run(train(payload("run", execution, **settings), resume=True), whole)


def test_early_stopping_counts_across_an_interruption(payload):
    # Nothing improves on the first epoch without learning, so three epochs are waited for.
    execution = {**SETTINGS, "learning_rate": 1e-12, "early_stop_patience": 3, "checkpoint_mode": "max"}
    settings = {**LONG, "nepochs": 9}
    whole = train(payload("whole", execution, **settings))
    interrupted(payload("run", execution, **settings), 2)
    resumed = train(payload("run", execution, **settings), resume=True)
    assert len(whole.history) < 9
    assert_same_run(resumed, whole)
