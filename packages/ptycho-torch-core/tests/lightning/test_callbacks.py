"""What is watched, and what is written beside the loop."""

from __future__ import annotations

import re
from importlib.util import find_spec

import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from ptycho_config import ConfigError
from ptycho_torch.lightning import EpochReport, Objective
from ptycho_torch.lightning.callbacks import monitored_metric
from ptycho_torch.lightning.loggers import build_logger
from ptycho_torch.workflows import train

POISSON = Objective({"poisson": 1.0})


@pytest.mark.rule("RUN-011")
@pytest.mark.parametrize(
    ("name", "has_validation", "found"),
    [
        ("val_loss", True, "val_loss"),
        ("val_loss", False, "train_loss"),
        ("val_poisson", False, "train_poisson"),
        ("val_contrast", True, "val_contrast"),
        ("val_contrast", False, "train_loss"),
        ("train_loss", True, "train_loss"),
    ],
)
def test_the_monitored_metric_exists(name, has_validation, found):
    assert monitored_metric(name, POISSON, has_validation=has_validation) == found


@pytest.mark.rule("RUN-011")
@pytest.mark.parametrize("name", ["val_mae", "accuracy"])
def test_a_metric_that_is_not_logged_is_refused_with_those_that_are(name):
    with pytest.raises(ConfigError, match=r"train_poisson.*val_residual"):
        monitored_metric(name, POISSON, has_validation=True)


def test_an_unknown_metric_is_refused_before_anything_is_written(payload, tmp_path):
    with pytest.raises(ConfigError, match="checkpoint_monitor_metric"):
        train(payload(execution={"checkpoint_monitor_metric": "val_mae"}))
    assert not (tmp_path / "run").exists()


@pytest.mark.rule("CONFIG-LOGGER-001")
def test_an_unknown_logger_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="csv, tensorboard, mlflow or none"):
        build_logger("paper", tmp_path)
    assert build_logger(None, tmp_path) is False


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow, an optional extra, is not installed")
def test_the_first_process_alone_opens_a_store(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = build_logger("mlflow", tmp_path)
    logger.log_metrics({"train_loss": 1.0}, step=1)
    assert not list(tmp_path.iterdir())


def test_each_epoch_is_one_plain_line(payload):
    lines = []
    train(payload(nepochs=2), callbacks=[EpochReport(lines.append)])
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    pattern = r"train_loss [\d.e-]+  val_loss [\d.e-]+  \d+ groups/s  0:\d\d elapsed, 0:\d\d left"
    assert all(re.search(pattern, line) for line in lines)
    assert lines[-1].endswith(" 0:00 left")
