"""Amplitude activations mean what their table says, and all start at one."""

from __future__ import annotations

import math

import pytest
import torch

from ptycho_config import ModelConfig, field_specs
from ptycho_torch.errors import ConfigError
from ptycho_torch.models.heads import AMPLITUDE_ACTIVATIONS, amplitude_activation, to_object, zero_init

X = torch.linspace(-8, 8, 321, dtype=torch.float64)
SILU_SHIFT = 1.2784645427610738


@pytest.mark.parametrize("name", AMPLITUDE_ACTIVATIONS)
def test_feature_of_zero_is_an_amplitude_of_one_that_can_move_both_ways(name):
    x = torch.zeros((), requires_grad=True)
    amplitude = amplitude_activation(name)(x)
    amplitude.backward()
    assert float(amplitude.detach()) == pytest.approx(1.0, abs=2e-7)
    assert 0.3 < float(x.grad) < 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", 2 / (1 + torch.exp(-X))),
        ("softplus", torch.log1p(torch.exp(X + math.log(math.e - 1)))),
        ("relu", (X + 1).clamp(min=0)),
        ("silu", (X + SILU_SHIFT) / (1 + torch.exp(-X - SILU_SHIFT))),
        ("swish", (X + SILU_SHIFT) / (1 + torch.exp(-X - SILU_SHIFT))),
    ],
)
def test_activation_is_the_documented_function(name, expected):
    torch.testing.assert_close(amplitude_activation(name)(X), expected)


def test_bounds_are_the_documented_ones():
    ranges = {name: amplitude_activation(name)(X) for name in AMPLITUDE_ACTIVATIONS}
    assert 0 < ranges["sigmoid"].min() < ranges["sigmoid"].max() < 2
    assert ranges["softplus"].min() > 0
    assert ranges["relu"].min() == 0
    assert float(ranges["silu"].min()) == pytest.approx(-0.28, abs=0.005)
    assert all(ranges[name].max() > 8 for name in ("softplus", "relu", "silu", "swish"))


def test_configuration_offers_exactly_these():
    offered = {spec.name: spec for spec in field_specs(ModelConfig)}["amp_activation"].choices
    assert set(offered) == set(AMPLITUDE_ACTIVATIONS)


def test_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"amp_activation.*tanh.*one of sigmoid"):
        amplitude_activation("tanh")


def test_object_has_the_given_amplitude_and_phase():
    amplitude, phase = torch.tensor([1.0, 0.5, -0.2]), torch.tensor([0.0, 2.0, 1.0])
    torch.testing.assert_close(to_object(amplitude, phase), amplitude * torch.exp(1j * phase))


def test_object_of_negative_amplitude_has_a_gradient():
    amplitude = torch.tensor([-0.2, 0.7], dtype=torch.float64, requires_grad=True)
    phase = torch.tensor([0.4, -1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(to_object, (amplitude, phase))


def test_zeroed_layer_gives_zero():
    layer = zero_init(torch.nn.Conv2d(2, 3, 3))
    assert torch.equal(layer(torch.ones(1, 2, 8, 8)), torch.zeros(1, 3, 6, 6))
