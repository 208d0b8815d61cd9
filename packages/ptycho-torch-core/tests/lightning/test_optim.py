"""Optimisers and schedules do what their names and numbers say."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from ptycho_config import PyTorchExecutionConfig, TrainingConfig
from ptycho_torch.lightning.optim import build_optimizer, build_schedule


class _Model(nn.Module):
    def __init__(self, probe=False):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        if probe:
            self.probe_modes = nn.Parameter(torch.ones(1, 2, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_each_optimiser_gets_its_settings(name, kind):
    training = TrainingConfig(
        optimizer=name, weight_decay=0.02, momentum=0.7, adam_beta1=0.8, adam_beta2=0.95
    )
    made = build_optimizer(_Model(), training, PyTorchExecutionConfig(learning_rate=0.5))
    assert type(made) is kind
    [group] = made.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.02)
    if name == "sgd":
        assert group["momentum"] == 0.7
    else:
        assert group["betas"] == (0.8, 0.95)


@pytest.mark.rule("PHY-014")
def test_the_probe_has_a_rate_of_its_own_and_no_decay():
    training = TrainingConfig(probe_learning_rate=0.25, weight_decay=0.1)
    model = _Model(probe=True)
    network, probe = build_optimizer(model, training, PyTorchExecutionConfig()).param_groups
    assert probe["params"] == [model.probe_modes]
    assert (probe["lr"], probe["weight_decay"]) == (0.25, 0.0)
    assert len(network["params"]) == 2
    assert network["weight_decay"] == 0.1


def _rates(scheduler, epochs, losses=None, **settings):
    """Learning rate of each epoch."""
    training = TrainingConfig(nepochs=epochs, **settings)
    execution = PyTorchExecutionConfig(scheduler=scheduler, learning_rate=1.0)
    optimizer = build_optimizer(_Model(), training, execution)
    schedule = build_schedule(optimizer, training, execution, monitor="val_loss")
    rates = []
    for epoch in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule is not None:
            schedule["scheduler"].step(*([] if losses is None else [losses[epoch]]))
    return rates


def test_default_is_constant():
    assert _rates("Default", 5) == [1.0] * 5


@pytest.mark.rule("RUN-014")
@pytest.mark.parametrize("epochs", [2, 5, 20])
def test_exponential_falls_by_one_factor_to_the_floor(epochs):
    rates = _rates("Exponential", epochs, lr_min_ratio=0.01)
    ratios = [after / before for before, after in pairwise(rates)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert rates[-1] == pytest.approx(0.01)


@pytest.mark.rule("RUN-014")
@pytest.mark.parametrize("epochs", [4, 8, 20])
def test_multistage_falls_at_a_half_and_three_quarters(epochs):
    rates = _rates("MultiStage", epochs, lr_min_ratio=0.04)
    expected = [1.0 if e < epochs // 2 else 0.2 if e < 3 * epochs // 4 else 0.04 for e in range(epochs)]
    assert rates == pytest.approx(expected)


@pytest.mark.rule("RUN-014")
def test_warmup_cosine_rises_then_falls_to_the_floor():
    rates = _rates("WarmupCosine", 11, lr_warmup_epochs=3, lr_min_ratio=0.1)
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(0.1)
    assert rates[3 + 7 // 2 + 1] < 0.55 < rates[3 + 7 // 2]


@pytest.mark.parametrize("scheduler", ["Exponential", "MultiStage", "WarmupCosine"])
@pytest.mark.parametrize("epochs", [1, 2, 3])
@pytest.mark.parametrize("floor", [0.0, 1.0])
def test_the_shortest_runs_and_extreme_floors_work(scheduler, epochs, floor):
    rates = _rates(scheduler, epochs, lr_min_ratio=floor, lr_warmup_epochs=1)
    assert all(0 <= rate <= 1 for rate in rates)


@pytest.mark.parametrize("scheduler", ["ReduceLROnPlateau", "Adaptive"])
def test_plateau_lowers_the_rate_when_nothing_improves(scheduler):
    losses = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]
    rates = _rates(scheduler, 8, losses, plateau_factor=0.1, plateau_patience=1, plateau_min_lr=0.05)
    # Two epochs without improvement after the second, then again, held at the least rate.
    assert rates == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.05, 0.05])


def test_an_improvement_below_the_threshold_does_not_count():
    losses = [2.0, 1.9, 1.8, 1.7, 1.6, 1.5]
    settings = {"plateau_factor": 0.1, "plateau_patience": 1, "plateau_min_lr": 0.0}
    assert _rates("ReduceLROnPlateau", 6, losses, plateau_threshold=0.01, **settings) == [1.0] * 6
    assert _rates("ReduceLROnPlateau", 6, losses, plateau_threshold=0.5, **settings)[-1] < 1.0


@pytest.mark.rule("RUN-014")
def test_each_plateau_watches_its_own_loss():
    training = TrainingConfig()
    for scheduler, monitor, expected in [
        ("ReduceLROnPlateau", "val_loss", ("val_loss", 3)),
        ("ReduceLROnPlateau", "train_loss", ("train_loss", 1)),
        ("Adaptive", "val_loss", ("train_loss", 1)),
    ]:
        execution = PyTorchExecutionConfig(scheduler=scheduler, check_val_every_n_epoch=3)
        optimizer = build_optimizer(_Model(), training, execution)
        made = build_schedule(optimizer, training, execution, monitor=monitor)
        assert (made["monitor"], made["frequency"]) == expected
