"""A model from its configuration: reproducible, and every setting arrives."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.models import generator_names

EVERY = pytest.mark.parametrize("architecture", generator_names())


@pytest.mark.rule("PHY-033")
@EVERY
def test_seed_decides_the_weights(architecture, model_of):
    first, again, other = (model_of(architecture, seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.rule("PHY-033")
@EVERY
def test_global_random_state_is_left_alone(architecture, model_of, monkeypatch):
    reseeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    before = torch.random.get_rng_state()
    model_of(architecture)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not reseeded


@EVERY
def test_global_random_state_has_no_influence(architecture, model_of):
    first = model_of(architecture).state_dict()
    torch.rand(7)
    again = model_of(architecture).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(
    ("settings", "decoded", "split"),
    [
        ({}, True, True),
        ({"probe_big": False}, False, True),
        ({"pad_object": False}, True, False),
        ({"pad_object": False, "probe_big": False}, True, False),
    ],
)
def test_border_settings_arrive(settings, decoded, split, model_of):
    model = model_of("cnn", **settings)
    assert model.decode_border is decoded
    assert (model.generator.amplitude.margin > 0) is split
    assert (model.generator.amplitude.border is not None) is (decoded and split)
    assert bool((model.decoded == 1).all()) is decoded


def test_trainable_parts_arrive(model_of):
    names = dict(model_of(trainable_probe=True, trainable_scale=False).named_parameters())
    assert "scans.0.probe_modes" in names
    assert "log_gain" not in names
