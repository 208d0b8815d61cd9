"""A checkpoint that was damaged or changed is refused in words, and nothing outside the run is touched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_config import ConfigError, PyTorchExecutionConfig
from ptycho_torch.bundle import load_bundle
from ptycho_torch.bundle.checksum import CHECKSUM_ENTRY, checksum_of
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.errors import BundleError
from ptycho_torch.workflows import TrainingInterrupted, train
from ptycho_torch.workflows.runs.standing import read_standing

_PROGRESS = ("loops", "fit_loop")


class _InterruptAt(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            raise KeyboardInterrupt


def _payload(scan, folder, nepochs=3):
    return create_training_payload(
        scan,
        folder,
        overrides={"batch_size": 8, "n_filters_scale": 1, "nepochs": nepochs, "n_groups": 16},
        execution_config=PyTorchExecutionConfig(
            accelerator="cpu", val_fraction=0.25, scheduler="ReduceLROnPlateau"
        ),
    )


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, tiny_scan_file):
    """The folder of a training after two epochs; not to be changed."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(TrainingInterrupted):
        train(_payload(tiny_scan_file, folder), callbacks=[_InterruptAt()])
    return folder


@pytest.fixture
def folder(interrupted, tmp_path):
    shutil.copytree(interrupted, tmp_path / "run")
    return tmp_path / "run"


def _change(folder, change):
    """Change `last.ckpt` as somebody would who knows of the checksum."""
    path = folder / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save({**content, CHECKSUM_ENTRY: checksum_of(content)}, path)
    return path


def _require_refusal(refused, folder):
    [problem] = refused.value.problems
    assert (problem.field, problem.value) == ("output_dir", str(folder / "checkpoints" / "last.ckpt"))
    [best] = (folder / "checkpoints").glob("best-*.ckpt")
    assert str(best) in problem.hint


def _state(content, kind):
    return next(state for key, state in content["callbacks"].items() if key.startswith(kind))


def _set(place, *names):
    """A change of an entry: removed, and set to what it cannot be."""
    *above, last = names

    def changed(content, value=None):
        for name in above:
            is_callback = isinstance(name, str) and name[0].isupper()
            content = _state({"callbacks": content}, name) if is_callback else content[name]
        content.pop(last)
        if place != "gone":
            content[last] = place

    return changed


@pytest.mark.rule("RUN-055")
@pytest.mark.parametrize(
    "change",
    [
        _set("gone", "callbacks"),
        _set(3, "callbacks"),
        _set("gone", "epoch"),
        _set("two", "epoch"),
        _set(-1, "epoch"),
        _set(7, "epoch"),
        _set(None, "global_step"),
        _set([], "callbacks", "LastCheckpoint", "ended"),
        _set("gone", "callbacks", "LastCheckpoint", "identity"),
        _set("bored", "callbacks", "LastCheckpoint", "ended"),
        _set(None, "callbacks", "History", "rows"),
        _set([{}, {}], "callbacks", "History", "rows"),
        _set([[1], [2]], "callbacks", "History", "rows"),
        _set("gone", "callbacks", "BestCheckpoints", "best_k_models"),
        _set(1.0, "callbacks", "BestCheckpoints", "best_model_path"),
        _set({3: 1.0}, "callbacks", "BestCheckpoints", "best_k_models"),
        _set({"best-epoch=001.ckpt": "x"}, "callbacks", "BestCheckpoints", "best_k_models"),
    ],
)
def test_a_changed_entry_is_refused_with_the_last_good_checkpoint(folder, change):
    path = _change(folder, change)
    with pytest.raises(ConfigError) as refused:
        read_standing(path)
    _require_refusal(refused, folder)


@pytest.mark.rule("RUN-055")
@pytest.mark.parametrize(
    "change",
    [
        _set("soon", "pytorch-lightning_version"),
        _set("gone", "pytorch-lightning_version"),
        _set("gone", "loops"),
        _set(None, "loops"),
        _set([], "optimizer_states"),
        _set({}, "state_dict"),
        _set("gone", "state_dict"),
        _set("x", "callbacks", "LastCheckpoint", "random"),
        # What training would trip over later, somewhere in its first epoch.
        _set({}, *_PROGRESS, "epoch_progress", "total", "ready"),
        _set(-1, *_PROGRESS, "epoch_loop.batch_progress", "total", "started"),
        _set("x", *_PROGRESS, "epoch_loop.val_loop.batch_progress", "current", "ready"),
        _set("x", "callbacks", "EarlyStopping", "wait_count"),
        _set(None, "callbacks", "EarlyStopping", "best_score"),
        _set([], "callbacks", "CollapseGuard", "low_since"),
        _set("fast", "optimizer_states", 0, "param_groups", 0, "lr"),
        _set((0.9, "x"), "optimizer_states", 0, "param_groups", 0, "betas"),
        _set(torch.zeros(7), "optimizer_states", 0, "state", 1, "exp_avg"),
        _set("x", "optimizer_states", 0, "state", 1, "step"),
        _set("gone", "optimizer_states", 0, "state", 1, "exp_avg"),
        _set("x", "lr_schedulers", 0, "last_epoch"),
        _set(["x"], "lr_schedulers", 0, "_last_lr"),
    ],
)
def test_what_the_trainer_cannot_continue_from_is_refused_alike(folder, change, tiny_scan_file):
    _change(folder, change)
    before = _content(folder)
    with pytest.raises(ConfigError) as refused:
        train(_payload(tiny_scan_file, folder, nepochs=4), resume=True)
    _require_refusal(refused, folder)
    assert _content(folder) == before


def _content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.rule("RUN-055")
@pytest.mark.parametrize("entry", ["state_dict", "optimizer_states"])
def test_a_flipped_bit_is_noticed(folder, entry, tiny_scan_file):
    path = folder / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    if entry == "state_dict":
        values = list(content["state_dict"].values())
    else:
        states = content["optimizer_states"][0]["state"].values()
        values = [state["exp_avg"] for state in states]
    largest = max((value for value in values if value.any()), key=torch.numel)
    data = bytearray(path.read_bytes())
    place = data.index(largest.contiguous().view(torch.uint8).numpy().tobytes())
    data[place + 5] ^= 4
    path.write_bytes(data)
    # PyTorch itself reads it without a word.
    assert torch.load(path, weights_only=True)["epoch"] == content["epoch"]
    with pytest.raises(ConfigError) as refused:
        train(_payload(tiny_scan_file, folder), resume=True)
    _require_refusal(refused, folder)
    with pytest.raises(BundleError, check=lambda error: error.names == (CHECKSUM_ENTRY,)):
        load_bundle(path)


@pytest.mark.rule("RUN-046")
@pytest.mark.parametrize("entry", ["best_k_models", "best_model_path"])
@pytest.mark.parametrize("name", ["../../outside", "{outside}", "sub/../../../outside"])
def test_a_checkpoint_that_names_files_elsewhere_is_refused(folder, entry, name, tmp_path, tiny_scan_file):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.tex").write_text("mine")
    named = name.format(outside=outside)

    def point_out(content):
        _state(content, "BestCheckpoints")[entry] = named if entry == "best_model_path" else {named: 1e9}

    _change(folder, point_out)
    with pytest.raises(ConfigError) as refused:
        train(_payload(tiny_scan_file, folder), resume=True)
    _require_refusal(refused, folder)
    assert (outside / "thesis.tex").read_text() == "mine"


@pytest.mark.rule("RUN-042")
def test_checkpoints_that_no_run_wrote_stay(folder, tiny_scan_file):
    mine = folder / "checkpoints" / "mine.ckpt"
    shutil.copy(next((folder / "checkpoints").glob("best-*.ckpt")), mine)
    stray = folder / "checkpoints" / "best-epoch=077.ckpt"
    stray.write_bytes(b"half")
    outcome = train(_payload(tiny_scan_file, folder), resume=True)
    assert len(outcome.history) == 3
    assert mine.is_file()
    assert not stray.exists()
    assert isinstance(outcome.best_checkpoint, Path)
