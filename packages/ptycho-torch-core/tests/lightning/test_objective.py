"""The loss is the weighted sum it says it is."""

from __future__ import annotations

import pytest
import torch

from ptycho_config import ConfigError, ModelConfig, TrainingConfig, field_specs
from ptycho_torch.data.groups.dataset import Batch
from ptycho_torch.lightning import Objective
from ptycho_torch.lightning.loss_terms import LOSS_TERMS, LossTerm
from ptycho_torch.models import build_patch_model
from ptycho_torch.physics import calibrate

_SUPERVISED = ModelConfig(model_type="supervised")
NAMES = [term.name for term in LOSS_TERMS]
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
    return Objective(weights)(*scene)


def test_terms_are_reported_unweighted_and_summed_weighted(scene):
    parts = _loss(scene, poisson=2.0, mae=3.0, tv=0.5, labels=4.0)
    expected = 2 * parts["poisson"] + 3 * parts["mae"] + 0.5 * parts["tv"] + 4 * parts["labels"]
    torch.testing.assert_close(parts["loss"], expected)
    assert all(value > 0 for value in parts.values())


@pytest.mark.parametrize("term", NAMES)
def test_a_term_without_a_weight_is_not_computed(scene, term):
    others = dict.fromkeys(NAMES, 0.0)
    assert set(_loss(scene, **(others | {term: 1.0}))) == {"loss", term}
    assert Objective({term: 1.0}).terms == (term,)


def test_the_loss_of_a_batch_is_the_mean_over_its_frames(scene):
    model, patches, batch = scene
    objective = Objective(dict.fromkeys(NAMES, 1.0))
    whole = objective(model, patches, batch)["loss"]
    single = [
        objective(model, patches[i : i + 1], {name: values[i : i + 1] for name, values in batch.items()})
        for i in range(3)
    ]
    torch.testing.assert_close(whole, torch.stack([terms["loss"] for terms in single]).mean())


def test_pixels_that_were_not_measured_carry_no_loss(scene):
    model, patches, batch = scene
    model.measured[5, 6] = False
    objective = Objective({"poisson": 1.0, "mae": 1.0})
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
    assert tuple(made.weights.get(name, 0.0) for name in ("poisson", "mae", "tv", "labels")) == weights


def test_every_weight_of_the_settings_is_that_of_one_term():
    """Whoever adds a term states its weight, which flags and the rule about all weights then know."""
    settings = [spec.name for spec in field_specs(TrainingConfig) if spec.name.endswith("_weight")]
    assert sorted(term.weight for term in LOSS_TERMS) == sorted(settings)
    assert len(set(NAMES)) == len(NAMES)


BRIGHTNESS = LossTerm(
    name="brightness",
    weight="realspace_weight",
    value=lambda prediction, batch, model: (prediction.patches.abs() - 1).square().mean(),
    needs=("groups",),
    left_out_by=("mae",),
)


def test_a_further_term_is_one_entry(scene):
    table = (*LOSS_TERMS, BRIGHTNESS)
    config = TrainingConfig(realspace_weight=0.5, model=ModelConfig(gridsize=2))
    objective = Objective.from_config(config, table)
    parts = objective(*scene)
    assert objective.terms == ("poisson", "tv", "brightness")
    assert objective.needs("groups")
    assert not objective.needs("labels")
    torch.testing.assert_close(
        parts["loss"], parts["poisson"] + 0.5 * parts["tv"] + 0.5 * parts["brightness"]
    )
    by_amplitude = TrainingConfig(realspace_weight=0.5, model=config.model, torch_loss_mode="mae")
    assert Objective.from_config(by_amplitude, table).terms == ("mae", "tv")


@pytest.mark.parametrize("model", [{"gridsize": 1}, {"gridsize": 2, "object_big": False}])
def test_a_term_over_groups_is_refused_where_patches_stand_alone(model):
    config = TrainingConfig(realspace_weight=0.5, model=ModelConfig(**model))
    with pytest.raises(ConfigError) as caught:
        Objective.from_config(config, (*LOSS_TERMS, BRIGHTNESS))
    assert [problem.field for problem in caught.value.problems] == ["realspace_weight"]


def test_a_weight_of_no_term_is_refused():
    with pytest.raises(ValueError, match="beauty"):
        Objective({"beauty": 1.0})
