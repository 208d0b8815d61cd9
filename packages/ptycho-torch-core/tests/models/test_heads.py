"""Amplitude activations mean what their table says, and all start at one."""

from __future__ import annotations

import math

import pytest
import torch

from ptycho_config import ModelConfig, field_specs
from ptycho_torch.errors import ConfigError
from ptycho_torch.models.heads import (
    AMPLITUDE_ACTIVATIONS,
    OBJECT_HEADS,
    amplitude_activation,
    object_head,
    to_object,
    zero_init,
)
from ptycho_torch.models.registry import GeneratorSpec

X = torch.linspace(-8, 8, 321, dtype=torch.float64)
SILU_SHIFT = 1.2784645427610738


@pytest.mark.rule("PHY-032")
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


@pytest.mark.rule("PHY-032")
def test_bounds_are_the_documented_ones():
    ranges = {name: amplitude_activation(name)(X) for name in AMPLITUDE_ACTIVATIONS}
    assert 0 < ranges["sigmoid"].min() < ranges["sigmoid"].max() < 2
    assert ranges["softplus"].min() > 0
    assert ranges["relu"].min() == 0
    assert float(ranges["silu"].min()) == pytest.approx(-0.28, abs=0.005)
    assert all(ranges[name].max() > 8 for name in ("softplus", "relu", "silu", "swish"))


def test_configuration_offers_exactly_these():
    offered = {spec.name: spec.choices for spec in field_specs(ModelConfig)}
    assert set(offered["amp_activation"]) == set(AMPLITUDE_ACTIVATIONS)
    assert set(offered["object_head"]) == set(OBJECT_HEADS)


def test_unknown_activation_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("amp_activation",)):
        amplitude_activation("tanh")


def _head(head="amplitude_phase", activation="sigmoid", **keywords):
    return object_head(GeneratorSpec(n_pixels=32, object_head=head, amp_activation=activation), **keywords)


@pytest.mark.parametrize("head", OBJECT_HEADS)
@pytest.mark.parametrize("bounded", [False, True])
def test_features_of_zero_are_the_transmitting_object(head, bounded):
    zero = torch.zeros(2, 3)
    drawn = _head(head, bounded_phase=bounded)(zero, zero)
    torch.testing.assert_close(drawn, torch.ones(2, 3, dtype=torch.complex64))


@pytest.mark.rule("PHY-038")
@pytest.mark.parametrize("activation", AMPLITUDE_ACTIVATIONS)
def test_amplitude_and_phase_are_the_activation_and_the_feature(activation):
    phase = X.flip(0) / 3
    amplitude = amplitude_activation(activation)(X)
    drawn = _head(activation=activation)(X, phase)
    torch.testing.assert_close(drawn, amplitude * torch.exp(1j * phase))
    bounded = _head(activation=activation, bounded_phase=True)(X, phase)
    torch.testing.assert_close(bounded, amplitude * torch.exp(1j * math.pi * torch.tanh(phase)))


@pytest.mark.rule("PHY-038")
@pytest.mark.parametrize("bounded", [False, True])
def test_real_and_imaginary_part_are_the_features_and_reach_everything(bounded):
    drawn = _head("real_imaginary", bounded_phase=bounded)(X, X.flip(0))
    torch.testing.assert_close(drawn, (1 + X) + 1j * X.flip(0))


def test_parts_have_a_gradient_everywhere():
    # Where the object is zero an amplitude and a phase have none; parts do.
    parts = [torch.tensor([-1.0, 0.3], dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(_head("real_imaginary"), tuple(parts))


def test_unknown_head_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("object_head",)):
        _head("polar")


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
