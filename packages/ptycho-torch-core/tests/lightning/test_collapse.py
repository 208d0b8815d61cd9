"""A network that learns nothing is noticed, one that learns is left in peace."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from ptycho_torch.lightning import CollapseGuard
from ptycho_torch.lightning.collapse import dead_fraction
from ptycho_torch.workflows import train
from ptycho_torch.workflows.jobs.preparation import prepare_training


class _Freeze(Callback):
    """Hold the last layers of the network at zero."""

    def on_train_start(self, trainer, pl_module):
        self._last = [
            layer
            for name, layer in pl_module.model.generator.named_modules()
            if name.endswith(("last", "centre", "border.2"))
        ]
        assert self._last
        self._still()

    def _still(self):
        for layer in self._last:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def on_train_batch_end(self, *args):
        self._still()


def _collapse(caught):
    return [item for item in caught if "nearly flat object" in str(item.message)]


def _run(payload, epochs, callbacks=(), **settings):
    made = payload(
        nepochs=epochs,
        intensity_scale_trainable=False,
        execution={"learning_rate": 3e-3, "val_fraction": 0.2, **settings.pop("execution", {})},
        **settings,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcome = train(made, callbacks=callbacks)
    return outcome, _collapse(caught)


@pytest.mark.rule("PHY-037")
def test_a_network_whose_last_layer_stays_at_zero_is_called_collapsed_once(payload):
    outcome, said = _run(payload, 7, [_Freeze()])
    assert len(said) == 1
    assert issubclass(said[0].category, UserWarning)
    text = str(said[0].message)
    assert "after 5 epochs" in text
    assert "train longer" in text
    assert all(row["val_std_ratio"] < 0.01 for row in outcome.history)


@pytest.mark.rule("PHY-037")
def test_a_network_that_learns_is_left_in_peace(payload):
    outcome, said = _run(payload, 7)
    assert not said
    assert outcome.history[-1]["val_std_ratio"] > 0.3
    assert all(0 <= row["val_dead_fraction"] < 0.5 for row in outcome.history)


def test_five_epochs_are_waited_for(payload):
    assert not _run(payload, 4, [_Freeze()])[1]


def test_epochs_without_validation_count(payload):
    outcome, said = _run(payload, 6, [_Freeze()], execution={"check_val_every_n_epoch": 3})
    assert sum("val_std_ratio" in row for row in outcome.history) == 2
    assert len(said) == 1


@pytest.mark.parametrize(
    ("ratios", "epochs_said"),
    [
        ([0.05] * 9, [4]),
        ([0.05] * 4 + [0.4] + [0.05] * 4, []),
        ([0.5] * 3 + [0.02] * 6, [7]),
        ([0.02] * 5 + [0.5] + [0.02] * 6, [4]),
        ([math.nan] * 9, []),
    ],
)
def test_when_it_speaks(ratios, epochs_said):
    guard, said = CollapseGuard(), []
    for epoch, ratio in enumerate(ratios):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            guard._judge(ratio, 0.25, epoch)
        if _collapse(caught):
            said.append(epoch)
            assert "25% of its channels answer to nothing" in str(caught[0].message)
    assert said == epochs_said


@pytest.mark.rule("PHY-037")
@pytest.mark.parametrize("architecture", ["cnn", "unrolled"])
def test_channels_that_answer_to_nothing_are_counted(payload, architecture):
    prepared = prepare_training(payload(architecture=architecture).task)
    model, batch = prepared.model, prepared.train.__getitems__(range(4))
    alive = dead_fraction(model, batch)
    assert alive < 0.5
    with torch.no_grad():
        for layer in model.generator.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.zero_()
                layer.bias.fill_(-1.0)
    assert dead_fraction(model, batch) == 1.0


def test_half_of_the_channels(payload):
    class _Half(nn.Module):
        def forward(self, amplitude, optics, offsets=None):
            maps = torch.cat([amplitude, -amplitude.abs() - 1], dim=1)
            return torch.relu(maps)[:, :1] + 0j

    prepared = prepare_training(payload().task)
    batch = prepared.train.__getitems__(range(4))
    prepared.model.generator = _Half()
    assert dead_fraction(prepared.model, batch) == 0.5


def test_a_network_without_rectifiers_has_no_such_share(payload):
    class _Linear(nn.Module):
        def forward(self, amplitude, optics, offsets=None):
            return torch.ones_like(amplitude) + 0j

    prepared = prepare_training(payload().task)
    prepared.model.generator = _Linear()
    assert math.isnan(dead_fraction(prepared.model, prepared.train.__getitems__([0, 1])))


@pytest.mark.parametrize("since", [None, 0, 3])
def test_its_state_is_made_of_numbers_and_comes_back(since):
    guard, other = CollapseGuard(), CollapseGuard()
    guard.load_state_dict({"low_since": since, "warned": False})
    assert all(isinstance(value, int) for value in guard.state_dict().values())
    other.load_state_dict(guard.state_dict())
    assert (
        other.state_dict()
        == guard.state_dict()
        == {"low_since": -1 if since is None else since, "warned": False}
    )
