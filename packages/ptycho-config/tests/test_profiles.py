"""Named starting points."""

from __future__ import annotations

import pytest

from ptycho_config import SECTIONS, Config, ConfigError, Profile, get_profile, profiles, resolve


@pytest.mark.parametrize("name", ["quick", "full", "reference_cnn"])
def test_every_profile_resolves_to_what_it_says(name: str) -> None:
    profile = get_profile(name)
    assert profile.help
    done = resolve(SECTIONS, profile=profile)
    for section, values in profile.values.items():
        for field, value in values.items():
            assert getattr(done.configs[section], field) == value
            assert done.provenance[f"{section}.{field}"].layer == "profile"
            assert done.provenance[f"{section}.{field}"].source == name


def test_names_are_those_of_the_registry() -> None:
    assert {name: profile.name for name, profile in profiles().items()} == {name: name for name in profiles()}


def test_an_unknown_profile_is_suggested() -> None:
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("profile",) and error.problems[0].value == "quik"
    ):
        get_profile("quik")


@pytest.mark.rule("CFG-020")
def test_an_unlocked_value_can_be_changed(training_schema: dict[str, type[Config]]) -> None:
    done = resolve(training_schema, cli={"nepochs": 3}, profile="quick")
    assert str(done.provenance["nepochs"]) == "nepochs = 3  [cli]  over profile=10  over default=50"


@pytest.mark.rule("CFG-020")
@pytest.mark.parametrize("layer", ["overrides", "cli", "file"])
def test_a_locked_value_cannot(training_schema: dict[str, type[Config]], layer: str) -> None:
    with pytest.raises(
        ConfigError,
        check=lambda error: error.fields == ("architecture",) and layer in error.problems[0].hint,
    ):
        resolve(training_schema, profile="reference_cnn", **{layer: {"architecture": "unrolled"}})  # type: ignore[arg-type]


def test_saying_the_locked_value_again_is_no_contradiction(training_schema: dict[str, type[Config]]) -> None:
    done = resolve(training_schema, profile="reference_cnn", cli={"architecture": "cnn"})
    assert done.provenance["architecture"].layer == "cli"


def test_a_lock_needs_a_value() -> None:
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("profile odd: locked model.N",)):
        Profile("odd", "odd", {"model": {"gridsize": 1}}, frozenset({"model.N"}))


def test_settings_of_other_commands_are_left_aside(inference_schema: dict[str, type[Config]]) -> None:
    done = resolve(inference_schema, profile="quick")
    assert any("nepochs belongs to training" in note for note in done.notes)
