"""What every kind of log has to keep, and how one is chosen."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from ptycho_config import ConfigError, PyTorchExecutionConfig, spec_of
from ptycho_torch.lightning.loggers import LOGS, logger_kind, logger_names, relocate_logs

pytestmark = pytest.mark.filterwarnings("ignore")

EVERY = pytest.mark.parametrize("name", logger_names())


def _kind(name):
    kind = logger_kind(name)
    if kind.require() is not None:
        pytest.skip(f"{name}, an optional extra, is not installed")
    return kind


@pytest.mark.rule("CONFIG-LOGGER-001")
def test_the_choices_of_the_setting_are_the_kinds_that_are_there():
    assert set(spec_of(PyTorchExecutionConfig, "logger_backend").choices) == set(logger_names())


@pytest.mark.rule("CONFIG-LOGGER-001")
def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError) as caught:
        logger_kind("paper")
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("logger_backend", "paper")
    assert all(name in problem.expected for name in logger_names())


@pytest.mark.rule("CONFIG-LOGGER-001")
def test_no_log_is_no_logger(tmp_path):
    assert logger_kind(None).require() is None
    assert logger_kind(None).open(tmp_path / LOGS) is False
    assert not list(tmp_path.iterdir())


@EVERY
def test_it_is_called_by_its_name(name):
    assert logger_kind(name).name == name


@EVERY
def test_numbers_and_pictures_lie_in_the_folder_and_can_be_moved(name, tmp_path):
    kind, folder = _kind(name), tmp_path / "run" / LOGS
    logger = kind.open(folder)
    for step in range(2):
        logger.log_metrics({"train_loss": 1.0 / (1 + step)}, step=step)
    logger.save()
    before = {path for path in folder.rglob("*") if path.is_file()}
    assert before
    kind.picture(logger, "object_phase", np.full((6, 5, 3), 7, np.uint8), epoch=3, folder=folder)
    logger.save()
    logger.finalize("success")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOGS]
    if name != "tensorboard":
        pictures = [path for path in folder.rglob("*.png") if path.is_file()]
        assert [path.name for path in pictures] == ["object_phase-epoch=003.png"]
    relocate_logs(folder, tmp_path / "elsewhere")
    folder.rename(tmp_path / "elsewhere")
    # Goes on where it was moved to, with the step after the last.
    again = kind.open(tmp_path / "elsewhere", continue_at=2)
    again.log_metrics({"train_loss": 0.1}, step=2)
    again.save()
    again.finalize("success")
    assert not folder.exists()


@EVERY
def test_processes_but_the_first_write_nothing(name, tmp_path, monkeypatch):
    kind = _kind(name)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = kind.open(tmp_path / LOGS)
    logger.log_metrics({"train_loss": 1.0}, step=1)
    logger.save()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_missing_extra_is_named_and_asked_for_by_its_own_kind_alone(monkeypatch):
    monkeypatch.setattr("ptycho_torch.lightning.loggers.mlflow._is_installed", lambda: False)
    problem = logger_kind("mlflow").require()
    assert problem is not None
    assert (problem.field, problem.value) == ("logger_backend", "mlflow")
    assert "ptycho-torch-core[mlflow]" in problem.hint
    assert all(logger_kind(name).require() is None for name in ("csv", "tensorboard", None))


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow, an optional extra, is not installed")
def test_the_first_process_alone_makes_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger_kind("mlflow").open(tmp_path / LOGS)
    assert not list(tmp_path.iterdir())


@pytest.mark.rule("RUN-055")
@pytest.mark.parametrize("name", ["csv", "mlflow"])
@pytest.mark.parametrize(
    "damage", [b"\xff\xfe\x00", b"a,b\n1\n", b"a,b\n1,2\n", b"step\nx\n", b'"', b"step\n1,2\n"]
)
def test_a_damaged_log_is_refused_with_what_to_do(name, damage, tmp_path):
    kind, folder = _kind(name), tmp_path / LOGS
    logger = kind.open(folder)
    logger.log_metrics({"train_loss": 1.0}, step=0)
    logger.save()
    logger.finalize("success")
    [file] = [path for path in folder.iterdir() if path.suffix in (".csv", ".db")]
    file.write_bytes(damage)
    with pytest.raises(ConfigError) as refused:
        kind.open(folder, continue_at=1)
    [problem] = refused.value.problems
    assert (problem.field, problem.value) == ("output_dir", str(file.resolve()))
    assert file.read_bytes() == damage
    file.unlink()
    kind.open(folder, continue_at=1)
