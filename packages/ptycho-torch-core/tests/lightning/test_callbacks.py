"""What is watched, and what is written beside the loop."""

from __future__ import annotations

import re

import pytest

from ptycho_config import ConfigError
from ptycho_torch.lightning import EpochReport, Objective
from ptycho_torch.lightning.callbacks import monitored_metric
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
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("checkpoint_monitor_metric",)):
        monitored_metric(name, POISSON, has_validation=True)


def test_an_unknown_metric_is_refused_before_anything_is_written(payload, tmp_path):
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("checkpoint_monitor_metric",)):
        train(payload(execution={"checkpoint_monitor_metric": "val_mae"}))
    assert not (tmp_path / "run").exists()


def test_each_epoch_is_one_plain_line(payload):
    lines = []
    train(payload(nepochs=2), callbacks=[EpochReport(lines.append)])
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    pattern = r"train_loss [\d.e-]+  val_loss [\d.e-]+  \d+ groups/s  0:\d\d elapsed, 0:\d\d left"
    assert all(re.search(pattern, line) for line in lines)
    assert lines[-1].endswith(" 0:00 left")
