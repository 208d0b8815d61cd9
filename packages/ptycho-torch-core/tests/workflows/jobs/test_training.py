"""A training run: what it leaves behind, what is best, how it ends."""

from __future__ import annotations

import csv
import logging
import os
import signal
import warnings

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_config import ConfigError
from ptycho_torch.bundle import load_bundle
from ptycho_torch.errors import DataError
from ptycho_torch.workflows import TrainingFailed, TrainingInterrupted, train
from ptycho_torch.workflows.jobs import training as training_module

pytestmark = pytest.mark.usefixtures("undrawn")


def _states_equal(first, second):
    first, second = first.state_dict(), second.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


def _checkpoint(path):
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items()}


def _log(outcome):
    with (outcome.output_dir / "logs" / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


class _At(Callback):
    """Do something at the start of one epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action = epoch, action

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            self.action(pl_module)


def test_a_run_leaves_everything_behind(trained):
    names = [path.name for path in trained.files]
    pictures = ["training.png", "patches.png", "report.html"]
    assert names == ["wts.h5.zip", "resolved_config.json", *pictures, "verdict.json", "checkpoints", "logs"]
    assert {path.name for path in trained.output_dir.iterdir()} == {*names, ".run-train.json"}
    assert trained.bundle == trained.output_dir / "wts.h5.zip"
    assert trained.best_checkpoint.is_file()
    assert (trained.output_dir / "training.png").read_bytes().startswith(b"\x89PNG")
    assert [row["epoch"] for row in trained.history] == [0, 1, 2]
    assert next(trained.model.parameters()).device.type == "cpu"
    assert len(repr(trained)) < 2000


@pytest.mark.rule("RUN-018")
def test_losses_fall_and_are_logged_every_epoch(trained):
    rows = _log(trained)
    for name in ("train_loss", "val_loss", "train_poisson", "val_poisson", "val_residual", "val_contrast"):
        logged = [float(row[name]) for row in rows if row[name]]
        assert len(logged) == 3, name
        assert logged == pytest.approx([row[name] for row in trained.history]), name
    losses = [row["val_loss"] for row in trained.history]
    assert losses[-1] < losses[0]


@pytest.mark.rule("PHY-036")
def test_a_falling_loss_is_not_a_flat_image(trained):
    # A collapse lowers the loss as well; only the contrast inside a patch tells the two apart.
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]
    assert trained.metrics["val_contrast"] > 0.02
    assert trained.history[-1]["val_contrast"] > trained.history[0]["val_contrast"]


@pytest.mark.rule("RUN-006")
def test_a_relative_directory_works_and_nothing_else_is_written(payload, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    made = payload()
    object.__setattr__(
        made.training_config, "output_dir", made.training_config.output_dir.relative_to(tmp_path)
    )
    outcome = train(made)
    assert not outcome.output_dir.is_absolute()
    assert outcome.bundle.is_file()
    assert outcome.best_checkpoint.is_file()
    assert [path.name for path in (tmp_path / "cwd").iterdir()] == ["run"]
    assert [path.name for path in tmp_path.iterdir()] == ["cwd"]


def test_a_linked_directory_works(payload, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    outcome = train(payload("link/run"))
    assert outcome.best_checkpoint == tmp_path / "link" / "run" / "checkpoints" / outcome.best_checkpoint.name
    assert outcome.best_checkpoint.is_file()


@pytest.mark.rule("RUN-010")
def test_two_runs_of_one_seed_are_equal_bit_for_bit(payload):
    first, second, other = (
        train(payload(name, nepochs=2, seed=seed)).model for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert _states_equal(first, second)
    assert not _states_equal(first, other)


def test_a_run_does_not_depend_on_the_global_random_state(payload):
    torch.manual_seed(1)
    first = train(payload("a"))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert _states_equal(train(payload("b")).model, first.model)
    assert torch.equal(torch.get_rng_state(), before)


def test_accumulated_batches_equal_one_large_batch(payload):
    settings = {"optimizer": "sgd", "momentum": 0.0, "n_groups": 24}
    execution = {"val_fraction": 0.0, "learning_rate": 0.1}
    large = train(payload("large", execution, batch_size=24, **settings))
    small = train(payload("small", {**execution, "accum_steps": 4}, batch_size=6, **settings))
    start = training_module.prepare_training(payload("start", execution, **settings).task).model.state_dict()
    moved = 0.0
    for name, value in large.model.state_dict().items():
        if value.is_floating_point():
            moved = max(moved, float((value - start[name]).abs().max()))
        # Sums in another order: a few units in the last place of gradients of order one.
        torch.testing.assert_close(small.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert moved > 1e-4


@pytest.mark.rule("RUN-020")
@pytest.mark.parametrize(("algorithm", "bound"), [("norm", 1e-3), ("value", 1e-5)])
def test_clipping_bounds_the_gradients(payload, algorithm, bound):
    # One step of plain gradient descent at rate one moves the weights by the clipped gradient.
    settings = {"optimizer": "sgd", "momentum": 0.0, "gradient_clip_algorithm": algorithm, "batch_size": 30}
    execution = {"val_fraction": 0.0, "learning_rate": 1.0}
    start = training_module.prepare_training(payload("start", execution, **settings).task).model

    def step(name, **more):
        ended = train(payload(name, {**execution, **more}, **settings)).model
        moved = [(b - a).detach() for a, b in zip(start.parameters(), ended.parameters(), strict=True)]
        flat = torch.cat([value.flatten() for value in moved])
        return float(flat.norm()) if algorithm == "norm" else float(flat.abs().max())

    assert step("free") > 2 * bound
    # Differences of weights of order one carry their rounding.
    assert step("clipped", gradient_clip_val=bound) == pytest.approx(bound, rel=0.02)


def _learning_rates(outcome):
    return [row["learning_rate"] for row in outcome.history]


@pytest.mark.rule("RUN-014")
@pytest.mark.parametrize(
    ("scheduler", "settings", "expected"),
    [
        ("Default", {}, [1, 1, 1, 1]),
        ("Exponential", {"lr_min_ratio": 0.001}, [1, 0.1, 0.01, 0.001]),
        ("MultiStage", {"lr_min_ratio": 0.01}, [1, 1, 0.1, 0.01]),
        ("WarmupCosine", {"lr_min_ratio": 0.1, "lr_warmup_epochs": 1}, [0.5, 1, 0.55, 0.1]),
    ],
)
def test_schedules_change_the_logged_learning_rate(payload, scheduler, settings, expected):
    made = payload(
        nepochs=4, n_groups=8, execution={"scheduler": scheduler, "learning_rate": 1e-4}, **settings
    )
    outcome = train(made)
    logged = [float(row["learning_rate"]) for row in _log(outcome) if row["learning_rate"]]
    assert logged == pytest.approx([1e-4 * factor for factor in expected], rel=1e-5)
    assert _learning_rates(outcome) == pytest.approx(logged)


@pytest.mark.parametrize("val_fraction", [0.3, 0.0])
@pytest.mark.parametrize("scheduler", ["ReduceLROnPlateau", "Adaptive"])
def test_plateau_schedules_lower_the_logged_learning_rate(payload, scheduler, val_fraction):
    # Nothing counts as an improvement of 90 %.
    settings = {
        "plateau_threshold": 0.9,
        "plateau_patience": 0,
        "plateau_factor": 0.1,
        "plateau_min_lr": 1e-6,
    }
    execution = {"scheduler": scheduler, "learning_rate": 1e-4, "val_fraction": val_fraction}
    outcome = train(payload(nepochs=4, n_groups=8, execution=execution, **settings))
    assert _learning_rates(outcome) == pytest.approx([1e-4, 1e-4, 1e-5, 1e-6], rel=1e-5)


@pytest.mark.rule("RUN-013")
def test_early_stopping_stops(payload):
    # Without a learning rate worth the name nothing improves.
    execution = {"early_stop_patience": 2, "learning_rate": 1e-30}
    assert len(train(payload(nepochs=9, n_groups=8, execution=execution)).history) == 3


@pytest.mark.filterwarnings("ignore:the network predicts a nearly flat object")
def test_patience_is_counted_in_epochs_when_validation_is_rare(payload):
    execution = {"early_stop_patience": 4, "learning_rate": 1e-30, "check_val_every_n_epoch": 2}
    outcome = train(payload(nepochs=12, n_groups=8, execution=execution))
    assert len(outcome.history) == 6
    validated = ["val_loss" in row for row in outcome.history]
    assert validated == [False, True] * 3


@pytest.mark.rule("RUN-012")
@pytest.mark.parametrize(("top_k", "kept"), [(0, 0), (1, 1), (2, 2), (-1, 3)])
def test_the_best_k_checkpoints_are_kept_and_the_last(payload, top_k, kept):
    outcome = train(payload(nepochs=3, n_groups=8, execution={"checkpoint_save_top_k": top_k}))
    found = sorted(path.name for path in (outcome.output_dir / "checkpoints").glob("*.ckpt"))
    assert len([name for name in found if name.startswith("best")]) == kept
    assert ("last.ckpt" in found) == (top_k != 0)


@pytest.mark.rule("BUN-005")
def test_without_checkpoints_the_last_weights_are_saved_and_said_to_be(payload, caplog):
    with caplog.at_level(logging.WARNING):
        outcome = train(payload(execution={"enable_checkpointing": False}))
    assert "weights of the last epoch" in caplog.text
    assert outcome.best_checkpoint is None
    assert not (outcome.output_dir / "checkpoints").exists()
    assert _states_equal(load_bundle(outcome.bundle)[0], outcome.model)


@pytest.mark.rule("BUN-005")
def test_the_bundle_holds_the_best_weights_and_not_the_last(payload):
    def spoil(module):
        with torch.no_grad():
            module.model.log_gain.add_(1.0)

    outcome = train(payload(nepochs=3, execution={"learning_rate": 1e-5}), callbacks=[_At(2, spoil)])
    losses = [row["val_loss"] for row in outcome.history]
    assert np.argmin(losses) == 1
    assert "epoch=001" in outcome.best_checkpoint.name
    saved = load_bundle(outcome.bundle)[0].state_dict()
    best, last = (
        _checkpoint(path)
        for path in (outcome.best_checkpoint, outcome.best_checkpoint.with_name("last.ckpt"))
    )
    assert all(torch.equal(saved[name], best[name]) for name in best)
    assert last["log_gain"] > 0.9 > saved["log_gain"]


def test_the_largest_can_be_the_best(payload):
    execution = {"checkpoint_mode": "max", "checkpoint_monitor_metric": "val_loss", "learning_rate": 3e-3}
    outcome = train(payload(nepochs=3, execution=execution))
    losses = [row["val_loss"] for row in outcome.history]
    assert f"epoch={np.argmax(losses):03d}" in outcome.best_checkpoint.name


def test_without_validation_data_the_training_loss_decides(payload):
    outcome = train(payload(nepochs=2, execution={"val_fraction": 0.0, "learning_rate": 3e-3}))
    losses = [row["train_loss"] for row in outcome.history]
    assert not any(name.startswith("val_") for row in outcome.history for name in row)
    assert f"epoch={np.argmin(losses):03d}" in outcome.best_checkpoint.name


@pytest.mark.rule("CONFIG-LOGGER-001")
def test_tensorboard_files_hold_the_same_numbers(payload):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    outcome = train(payload(nepochs=2, execution={"logger_backend": "tensorboard"}))
    events = EventAccumulator(str(outcome.output_dir / "logs"))
    events.Reload()
    for name in ("train_loss", "val_loss", "learning_rate", "val_contrast"):
        logged = [event.value for event in events.Scalars(name)]
        assert logged == pytest.approx([row[name] for row in outcome.history]), name


def test_no_logger_writes_no_log(payload):
    outcome = train(payload(execution={"logger_backend": None}))
    assert not (outcome.output_dir / "logs").exists()
    assert "val_loss" in outcome.metrics


def test_training_ends_when_its_time_is_up(payload):
    made = payload(nepochs=1000, execution={"max_time": "00:00:00:01", "logger_backend": None})
    outcome = train(made)
    assert 1 <= len(outcome.history) < 1000
    assert load_bundle(outcome.bundle)[0].n_pixels == 32


def test_mixed_precision_trains(payload):
    outcome = train(payload(nepochs=2, execution={"precision": "bf16-mixed", "learning_rate": 3e-3}))
    exact = train(payload("exact", nepochs=2, execution={"learning_rate": 3e-3}))
    assert outcome.metrics["train_loss"] != exact.metrics["train_loss"]
    # bfloat16 carries three decimal digits.
    assert outcome.metrics["train_loss"] == pytest.approx(exact.metrics["train_loss"], rel=0.05)
    assert all(value.dtype != torch.bfloat16 for value in outcome.model.state_dict().values())


@pytest.mark.rule("PHY-014")
def test_a_trainable_probe_changes_and_keeps_its_power(payload):
    outcome = train(payload(probe_trainable=True, probe_learning_rate=0.01))
    start = training_module.prepare_training(payload("start").task).model
    probe = outcome.model.probe.detach()
    assert (probe - start.probe).abs().max() > 1e-3
    assert float(probe.abs().square().sum()) == pytest.approx(256, rel=1e-5)
    fixed = train(payload("fixed"))
    assert torch.equal(fixed.model.probe, start.probe)


@pytest.mark.rule("PHY-015")
def test_the_intensity_scale_is_trained_only_when_asked(payload):
    assert train(payload("on", intensity_scale_trainable=True)).model.log_gain != 0
    assert train(payload("off", intensity_scale_trainable=False)).model.log_gain == 0


@pytest.mark.parametrize(
    ("settings", "terms"),
    [
        ({"torch_loss_mode": "mae"}, {"mae"}),
        ({"mae_weight": 0.5, "realspace_weight": 0.1}, {"poisson", "mae", "tv"}),
    ],
)
def test_loss_settings_decide_what_is_logged(payload, settings, terms):
    metrics = train(payload(n_groups=8, **settings)).metrics
    assert {name.removeprefix("val_") for name in metrics if name.startswith("val_")} == (
        terms | {"loss", "residual", "contrast", "std_ratio", "dead_fraction"}
    )


@pytest.mark.rule("RUN-015")
@pytest.mark.parametrize("val_fraction", [0.2, 0.0])
def test_a_loss_that_is_no_number_fails_with_words(payload, tmp_path, val_fraction):
    def poison(module):
        with torch.no_grad():
            next(iter(module.model.generator.parameters())).fill_(float("nan"))

    with pytest.raises(TrainingFailed, match=r"loss became nan in epoch 2; lower the learning rate"):
        train(payload(nepochs=5, execution={"val_fraction": val_fraction}), callbacks=[_At(1, poison)])
    assert not (tmp_path / "run" / "wts.h5.zip").exists()


@pytest.mark.rule("RUN-016")
@pytest.mark.parametrize("epoch", [0, 1])
def test_an_interruption_names_the_last_checkpoint_and_restores_ctrl_c(payload, tmp_path, epoch):
    def interrupt(module):
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted) as caught:
        train(payload(nepochs=3), callbacks=[_At(epoch, interrupt)])
    assert signal.getsignal(signal.SIGINT) is before
    if epoch == 0:
        assert caught.value.checkpoint is None
        assert "no checkpoint was written yet" in str(caught.value)
    else:
        assert caught.value.checkpoint == tmp_path / "run" / "checkpoints" / "last.ckpt"
        assert str(caught.value.checkpoint) in str(caught.value)
        assert _checkpoint(caught.value.checkpoint)
    assert not (tmp_path / "run" / "wts.h5.zip").exists()


@pytest.fixture
def interruptible():
    """The handler that a shell takes away from what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_a_real_signal_interrupts(payload, interruptible):
    with pytest.raises(TrainingInterrupted):
        train(payload(nepochs=3), callbacks=[_At(1, lambda module: os.kill(os.getpid(), signal.SIGINT))])
    assert signal.getsignal(signal.SIGINT) is interruptible


def test_an_error_of_a_callback_is_its_own(payload):
    def fail(module):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        train(payload(), callbacks=[_At(0, fail)])


def test_results_of_another_run_are_refused_and_kept(payload, trained):
    before = trained.bundle.read_bytes()
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
        train(payload(output_dir=trained.output_dir))
    assert trained.bundle.read_bytes() == before


def test_overwriting_keeps_the_old_run_until_the_new_one_is_complete(payload, tmp_path):
    first = train(payload(n_groups=8))
    held = first.bundle.read_bytes()
    seen = []

    def fail(module):
        seen.append(first.bundle.read_bytes() == held)
        raise LookupError("in between")

    with pytest.raises(LookupError):
        train(payload(n_groups=8, nepochs=2, seed=1), overwrite=True, callbacks=[_At(1, fail)])
    assert seen == [True]
    assert first.bundle.read_bytes() == held
    second = train(payload(n_groups=8, seed=1), overwrite=True)
    assert second.bundle.read_bytes() != held
    assert second.best_checkpoint.is_file()
    names = {path.name for path in second.files}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*names, ".run-train.json"}
    # Logs are those of the second run alone.
    assert len(_log(second)) == 2


@pytest.mark.rule("RUN-005")
def test_refused_data_leave_nothing_behind(payload, tmp_path):
    np.savez(
        tmp_path / "bad.npz",
        diff3d=np.full((4, 32, 32), np.nan, np.float32),
        xcoords=np.arange(4.0),
        ycoords=np.arange(4.0),
        probeGuess=np.ones((32, 32), np.complex64),
    )
    with pytest.raises(DataError):
        train(payload(scan=tmp_path / "bad.npz"))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npz"]


def test_auto_warns_on_a_machine_without_a_gpu(payload, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    made = payload(n_groups=8, accelerator="auto")
    with pytest.warns(UserWarning, match="POLICY-001") as caught:
        train(made)
    assert len([w for w in caught if "POLICY-001" in str(w.message)]) == 1


def test_a_run_warns_of_nothing(payload):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(payload(n_groups=8))
