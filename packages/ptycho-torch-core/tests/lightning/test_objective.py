"""The loss is the weighted sum it says it is."""

from __future__ import annotations

import pytest
import torch

from ptycho_config import ModelConfig, TrainingConfig
from ptycho_torch.data.groups.dataset import Batch
from ptycho_torch.lightning import Objective
from ptycho_torch.models import build_patch_model
from ptycho_torch.physics import calibrate

_SUPERVISED = ModelConfig(model_type="supervised")
_OFFSETS, _FRAME = torch.zeros(3, 1, 2), torch.arange(3)[:, None]


@pytest.fixture
def scene():
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(1, 32, 32, dtype=torch.complex64, generator=generator)
    model = build_patch_model(ModelConfig(N=32, n_filters_scale=1), calibrate(probe, 1e4))
    patches = torch.randn(3, 1, 32, 32, dtype=torch.complex64, generator=generator)
    labels = torch.randn(3, 1, 32, 32, dtype=torch.complex64, generator=generator)
    counts = torch.poisson(torch.full((3, 1, 32, 32), 10.0), generator=generator)
    return model, patches, Batch(counts=counts, offsets=_OFFSETS, frame=_FRAME, labels=labels)


def _loss(scene, **weights):
    return Objective(**{"nll_weight": 0.0, "mae_weight": 0.0, "tv_weight": 0.0, **weights})(*scene)


def test_terms_are_reported_unweighted_and_summed_weighted(scene):
    parts = _loss(scene, nll_weight=2.0, mae_weight=3.0, tv_weight=0.5, label_weight=4.0)
    expected = 2 * parts["poisson"] + 3 * parts["mae"] + 0.5 * parts["tv"] + 4 * parts["labels"]
    torch.testing.assert_close(parts["loss"], expected)
    assert all(value > 0 for value in parts.values())


@pytest.mark.parametrize(
    ("weight", "term"),
    [
        ("nll_weight", "poisson"),
        ("mae_weight", "mae"),
        ("tv_weight", "tv"),
        ("label_weight", "labels"),
    ],
)
def test_a_term_without_a_weight_is_not_computed(scene, weight, term):
    assert set(_loss(scene, **{weight: 1.0})) == {"loss", term}
    assert Objective(**{"nll_weight": 0.0, "mae_weight": 0.0, "tv_weight": 0.0, weight: 1.0}).terms == (term,)


def test_the_loss_of_a_batch_is_the_mean_over_its_frames(scene):
    model, patches, batch = scene
    objective = Objective(nll_weight=1.0, mae_weight=1.0, tv_weight=1.0, label_weight=1.0)
    whole = objective(model, patches, batch)["loss"]
    single = [
        objective(model, patches[i : i + 1], {name: values[i : i + 1] for name, values in batch.items()})
        for i in range(3)
    ]
    torch.testing.assert_close(whole, torch.stack([terms["loss"] for terms in single]).mean())


def test_pixels_that_were_not_measured_carry_no_loss(scene):
    model, patches, batch = scene
    model.measured[5, 6] = False
    objective = Objective(nll_weight=1.0, mae_weight=1.0, tv_weight=0.0)
    before = objective(model, patches, batch)["loss"]
    batch["counts"][..., 5, 6] = 1e6
    torch.testing.assert_close(objective(model, patches, batch)["loss"], before)


@pytest.mark.rule("PHY-026", "PHY-027")
@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, (1.0, 0.0, 0.0, 0.0)),
        ({"mae_weight": 0.3, "realspace_weight": 0.1}, (1.0, 0.3, 0.1, 0.0)),
        ({"torch_loss_mode": "mae"}, (0.0, 1.0, 0.0, 0.0)),
        ({"torch_loss_mode": "mae", "mae_weight": 0.3}, (0.0, 0.3, 0.0, 0.0)),
        ({"realspace_mae_weight": 0.2}, (1.0, 0.0, 0.0, 0.2)),
        ({"model": _SUPERVISED}, (0.0, 0.0, 0.0, 1.0)),
        ({"model": _SUPERVISED, "realspace_mae_weight": 0.2, "mae_weight": 3.0}, (0.0, 0.0, 0.0, 0.2)),
        ({"model": _SUPERVISED, "realspace_weight": 0.1}, (0.0, 0.0, 0.1, 1.0)),
    ],
)
def test_settings_become_weights(settings, weights):
    made = Objective.from_config(TrainingConfig(**settings))
    assert (made.nll_weight, made.mae_weight, made.tv_weight, made.label_weight) == weights
