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
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_config import ConfigError, PyTorchExecutionConfig
from ptycho_torch import atomic
from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.lightning.checkpoint_io import AtomicCheckpointIO
from ptycho_torch.lightning.checkpoints import LastCheckpoint
from ptycho_torch.workflows import TrainingInterrupted, train
from ptycho_torch.workflows.jobs import training as training_module
from ptycho_torch.workflows.jobs.training_pictures import TRAINING_PICTURES

LONG = {"nepochs": 4, "n_groups": 16}
SETTINGS = {"val_fraction": 0.25, "learning_rate": 3e-3}


@pytest.fixture(autouse=True)
def quick_figure(monkeypatch):
    def touch(leaving, *rest):
        for name in TRAINING_PICTURES:
            (leaving.folder / name).touch()

    monkeypatch.setattr(training_module, "write_training_pictures", touch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_scan_file):
    """The run of `LONG` and `SETTINGS`, not interrupted; its directory is not to be changed."""
    made = create_training_payload(
        tiny_scan_file,
        tmp_path_factory.mktemp("whole") / "run",
        overrides={"batch_size": 8, "n_filters_scale": 1, **LONG},
        execution_config=PyTorchExecutionConfig(accelerator="cpu", **SETTINGS),
    )
    return train(made)


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
    kept = [
        sorted(path.name for path in (run.output_dir / "checkpoints").iterdir()) for run in (resumed, whole)
    ]
    assert kept[0] == kept[1]
    saved = load_bundle(resumed.bundle)[0].state_dict()
    assert all(torch.equal(saved[name], theirs[name]) for name in theirs)


@pytest.mark.rule("RUN-050")
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


@pytest.mark.rule("RUN-050")
def test_early_stopping_counts_across_an_interruption(payload):
    # Nothing improves on the first epoch without learning, so three epochs are waited for.
    execution = {**SETTINGS, "learning_rate": 1e-12, "early_stop_patience": 3, "checkpoint_mode": "max"}
    settings = {**LONG, "nepochs": 9}
    whole = train(payload("whole", execution, **settings))
    interrupted(payload("run", execution, **settings), 2)
    resumed = train(payload("run", execution, **settings), resume=True)
    assert len(whole.history) < 9
    assert_same_run(resumed, whole)


@pytest.mark.rule("RUN-050", "RUN-051", "RUN-052")
def test_a_run_killed_at_the_worst_moments_ends_as_if_it_had_not_been(
    whole, payload, tmp_path, tiny_scan_file
):
    # On writing the second of the last checkpoints, when the best one knows an epoch more; on writing that
    # again; on writing the bundle, when training has ended.
    moments = ("last.ckpt:2", "last.ckpt:1", "wts.h5.zip:1")
    worker = Path(__file__).with_name("killed_training.py")
    # The order of sums, and with it the last bits of a weight, depends on the number of threads.
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
    run = subprocess.run(
        [sys.executable, str(worker), str(tiny_scan_file), str(tmp_path / "run"), *moments],
        capture_output=True, text=True, env=environment, timeout=240, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str([-signal.SIGKILL] * 3), run.stderr
    assert not (tmp_path / "run" / "wts.h5.zip").exists()
    resumed = train(payload("run", SETTINGS, **LONG), resume=True)
    assert_same_run(resumed, whole)
    hidden = [path.name for path in (tmp_path / "run").rglob("*") if path.name.startswith(".")]
    assert hidden == [".run-train.json"]


@pytest.mark.rule("RUN-052")
def test_a_run_killed_before_its_first_checkpoint_starts_anew_and_says_so(whole, payload, caplog):
    made = payload("run", SETTINGS, **LONG)
    interrupted(made, 0)
    (made.training_config.output_dir / "checkpoints").mkdir(exist_ok=True)
    (made.training_config.output_dir / "checkpoints" / "best-epoch=000.ckpt").write_bytes(b"half")
    with caplog.at_level(logging.INFO, "ptycho_torch"):
        resumed = train(made, resume=True)
    assert "no checkpoint yet: the run starts from the beginning" in caplog.text
    assert_same_run(resumed, whole)


@pytest.mark.rule("RUN-053")
def test_a_complete_run_is_left_as_it_is(payload, caplog):
    first = train(payload("run", SETTINGS, **LONG))
    before = {path: path.stat().st_mtime_ns for path in first.output_dir.rglob("*")}
    with caplog.at_level(logging.INFO, "ptycho_torch"):
        again = train(payload("run", SETTINGS, **LONG), resume=True)
    assert "is complete after 4 epochs; raise nepochs to train on" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in first.output_dir.rglob("*")} == before
    assert_same_run(again, first)


@pytest.mark.rule("RUN-053")
def test_more_epochs_extend_a_run(whole, payload):
    train(payload("run", SETTINGS, **{**LONG, "nepochs": 2}))
    extended = train(payload("run", SETTINGS, **LONG), resume=True)
    assert_same_run(extended, whole)
    assert '"nepochs": 4' in (extended.output_dir / "resolved_config.json").read_text()


@pytest.mark.rule("RUN-049")
def test_an_extended_run_without_its_bundle_is_not_complete_whatever_the_times_of_files(
    whole, payload, tmp_path, monkeypatch
):
    train(payload("run", SETTINGS, **{**LONG, "nepochs": 2}))
    with monkeypatch.context() as patch:

        def die(*_):
            raise KeyboardInterrupt

        patch.setattr(training_module, "save_bundle", die)
        with pytest.raises(KeyboardInterrupt):
            train(payload("run", SETTINGS, **LONG), resume=True)
    # Copied in an order in which the results are the newest files.
    shutil.copytree(tmp_path / "run", tmp_path / "copy", copy_function=shutil.copy)
    later = (tmp_path / "copy" / "checkpoints" / "last.ckpt").stat().st_mtime + 60
    for name in ("wts.h5.zip", *TRAINING_PICTURES):
        os.utime(tmp_path / "copy" / name, (later, later))
    assert_same_run(train(payload("copy", SETTINGS, **LONG), resume=True), whole)


@pytest.mark.rule("RUN-049")
def test_a_run_whose_record_was_left_behind_is_continued(payload, tmp_path, caplog):
    first = train(payload("run", SETTINGS, **LONG))
    (first.output_dir / ".run-train.json").unlink()
    again = train(payload("run", SETTINGS, **LONG), resume=True)
    assert_same_run(again, first)
    with caplog.at_level(logging.INFO, "ptycho_torch"):
        train(payload("run", SETTINGS, **LONG), resume=True)
    assert "is complete after 4 epochs" in caplog.text


@pytest.mark.rule("RUN-053")
def test_time_spent_before_an_interruption_counts(payload):
    execution = {**SETTINGS, "max_time": "00:00:00:02", "logger_backend": None}
    made = payload("run", execution, n_groups=16, nepochs=100000)
    ended = train(made)
    epochs = len(ended.history)
    again = train(made, resume=True)
    assert (
        again.history
        == torch.load(ended.output_dir / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"][
            "History"
        ]["rows"]
    )
    assert epochs - 1 <= len(again.history) <= epochs
    # On a busy machine an epoch may take any time.
    longer = payload("run", {**execution, "max_time": "00:01:00:00"}, n_groups=16, nepochs=epochs + 2)
    assert len(train(longer, resume=True).history) == epochs + 2


@pytest.mark.rule("RUN-054")
def test_a_run_can_be_continued_elsewhere(whole, payload, tmp_path):
    interrupted(payload("run", SETTINGS, **LONG), 2)
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    resumed = train(payload("elsewhere", SETTINGS, **LONG), resume=True)
    assert_same_run(resumed, whole)


def test_a_run_that_was_to_replace_another_is_continued(whole, payload, tmp_path):
    old = train(payload("run", n_groups=8))
    held = old.bundle.read_bytes()
    interrupted(payload("run", SETTINGS, **LONG), 2, overwrite=True)
    assert old.bundle.read_bytes() == held
    resumed = train(payload("run", SETTINGS, **LONG), resume=True)
    assert not (tmp_path / "run" / "incomplete-train").exists()
    assert_same_run(resumed, whole)


@pytest.fixture
def interrupted_when_logged(monkeypatch):
    """Train until the second epoch is logged, and not yet in a checkpoint."""
    save = LastCheckpoint._save

    def stop(keeper, trainer):
        if trainer.current_epoch == 2:
            for logger in trainer.loggers:
                logger.save()
            raise KeyboardInterrupt
        save(keeper, trainer)

    def run(made):
        with monkeypatch.context() as patch:
            patch.setattr(LastCheckpoint, "_save", stop)
            with pytest.raises(TrainingInterrupted):
                train(made)

    return run


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow, an optional extra, is not installed")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_goes_on_with_its_run_and_holds_every_epoch_once(payload, tmp_path, interrupted_when_logged):
    from mlflow.tracking import MlflowClient

    execution = {**SETTINGS, "logger_backend": "mlflow"}
    interrupted_when_logged(payload("run", execution, **LONG))
    client = MlflowClient(f"sqlite:///{tmp_path / 'run' / 'logs' / 'mlflow.db'}")
    [experiment] = client.search_experiments(filter_string="name = 'ptycho-torch'")
    [before] = client.search_runs([experiment.experiment_id])
    # Two epochs of two batches: the second will be trained again.
    assert [metric.step for metric in client.get_metric_history(before.info.run_id, "train_loss")] == [1, 3]
    resumed = train(payload("run", execution, **LONG), resume=True)
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == before.info.run_id
    assert run.info.status == "FINISHED"
    for name in ("train_loss", "val_loss"):
        logged = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in logged] == [1, 3, 5, 7]
        assert [metric.value for metric in logged] == pytest.approx([row[name] for row in resumed.history])
        assert run.data.metrics[name] == logged[-1].value


@pytest.mark.rule("RUN-006")
@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow, an optional extra, is not installed")
@pytest.mark.filterwarnings("ignore")
def test_a_store_of_mlflow_that_was_moved_goes_on_where_it_is(payload, tmp_path, interrupted_when_logged):
    from mlflow.tracking import MlflowClient

    execution = {**SETTINGS, "logger_backend": "mlflow"}
    interrupted_when_logged(payload("run", execution, **LONG))
    (tmp_path / "run").rename(tmp_path / "moved")
    train(payload("moved", execution, **LONG), resume=True)
    assert not (tmp_path / "run").exists()
    client = MlflowClient(f"sqlite:///{tmp_path / 'moved' / 'logs' / 'mlflow.db'}")
    [experiment] = client.search_experiments(filter_string="name = 'ptycho-torch'")
    [run] = client.search_runs([experiment.experiment_id])
    place = (tmp_path / "moved" / "logs" / "artifacts").resolve().as_uri()
    assert experiment.artifact_location == place
    assert run.info.artifact_uri == f"{place}/{run.info.run_id}/artifacts"


@pytest.mark.rule("RUN-050")
def test_tensorboard_shows_every_epoch_once(payload, interrupted_when_logged):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    execution = {**SETTINGS, "logger_backend": "tensorboard"}
    interrupted_when_logged(payload("run", execution, **LONG))
    resumed = train(payload("run", execution, **LONG), resume=True)
    events = EventAccumulator(str(resumed.output_dir / "logs"))
    events.Reload()
    logged = [event.value for event in events.Scalars("train_loss")]
    assert logged == pytest.approx([row["train_loss"] for row in resumed.history])


@pytest.mark.rule("RUN-054")
@pytest.mark.parametrize(
    ("settings", "execution"),
    [({"batch_size": 4}, {}), ({"seed": 9}, {"learning_rate": 1e-3}), ({"nepochs": 1}, {})],
)
def test_settings_that_contradict_the_run_are_refused(payload, settings, execution):
    made = payload("run", SETTINGS, **LONG)
    interrupted(made, 2)
    before = {
        path: path.read_bytes() for path in made.training_config.output_dir.rglob("*") if path.is_file()
    }
    other = payload("run", {**SETTINGS, **execution}, **{**LONG, **settings})
    with pytest.raises(ConfigError) as refused:
        train(other, resume=True)
    assert {problem.field: problem.value for problem in refused.value.problems} == {**settings, **execution}
    for path, content in before.items():
        assert path.read_bytes() == content


@pytest.mark.rule("RUN-054")
def test_a_schedule_over_all_epochs_cannot_be_stretched(payload):
    execution = {**SETTINGS, "scheduler": "WarmupCosine"}
    train(payload("run", execution, **{**LONG, "nepochs": 2}))
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("nepochs",) and error.problems[0].value == 4
    ):
        train(payload("run", execution, **LONG), resume=True)


@pytest.mark.rule("RUN-054")
def test_other_data_are_refused(payload, tmp_path):
    from ptycho_torch.data.formats.npz import save_scan
    from ptycho_torch.data.simulation.simulate import simulate_scene

    made = payload("run", SETTINGS, **LONG)
    interrupted(made, 1)
    shutil.copy(made.training_config.train_data_file, tmp_path / "moved.npz")
    other = simulate_scene("lines", N=32, grid=(5, 6), step_px=4.0, jitter_px=1.0, photons=1e5, seed=4)
    save_scan(tmp_path / "other.npz", other)
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("train_data_file",)):
        train(payload("run", SETTINGS, scan=tmp_path / "other.npz", **LONG), resume=True)
    assert len(train(payload("run", SETTINGS, scan=tmp_path / "moved.npz", **LONG), resume=True).history) == 4


@pytest.mark.rule("RUN-055")
def test_without_a_run_there_is_nothing_to_resume(payload, tmp_path):
    with pytest.raises(ConfigError) as refused:
        train(payload("run"), resume=True)
    assert [problem.field for problem in refused.value.problems] == ["output_dir"]
    assert "to resume" in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.rule("RUN-055")
def test_a_run_without_checkpoints_is_not_trained_again(payload):
    made = payload("run", {**SETTINGS, "checkpoint_save_top_k": 0}, n_groups=8)
    bundle = train(made).bundle
    held = bundle.read_bytes()
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
        train(made, resume=True)
    assert bundle.read_bytes() == held


@pytest.mark.rule("RUN-055")
def test_a_damaged_checkpoint_is_refused(payload):
    made = payload("run", SETTINGS, **LONG)
    interrupted(made, 2)
    last = made.training_config.output_dir / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
        train(made, resume=True)


@pytest.mark.rule("RUN-056")
def test_a_full_disk_is_reported_and_damages_nothing(whole, payload, monkeypatch):
    made = payload("run", SETTINGS, **LONG)
    save, fsync = AtomicCheckpointIO.save_checkpoint, os.fsync
    saved = []

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(self, checkpoint, path, storage_options=None):
        saved.append(Path(path).name)
        if saved.count("last.ckpt") == 2:
            monkeypatch.setattr(atomic.os, "fsync", full)
        save(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", fill)
    with pytest.raises(OSError, match=r"No space left on device.*what was written before is whole.*--resume"):
        train(made)
    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)
    resumed = train(made, resume=True)
    assert_same_run(resumed, whole)
