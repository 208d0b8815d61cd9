"""Names of generators: what is known, what is refused, what can be added."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ptycho_torch.errors import ConfigError
from ptycho_torch.models import GeneratorSpec, build_generator, generator_names, register_generator, registry
from ptycho_torch.models.cnn import CNNGenerator
from ptycho_torch.models.fno import FNOGenerator
from ptycho_torch.models.unrolled import UnrolledGenerator


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


def test_architectures_are_known_by_name():
    assert {"cnn", "fno", "unrolled"} <= set(generator_names())
    assert list(generator_names()) == sorted(generator_names())
    spec = GeneratorSpec(n_pixels=32, width=1)
    assert isinstance(build_generator("cnn", spec), CNNGenerator)
    assert isinstance(build_generator("fno", spec), FNOGenerator)
    assert isinstance(build_generator("unrolled", spec), UnrolledGenerator)


@pytest.mark.rule("PHY-030")
def test_unknown_name_lists_the_known_ones_and_suggests():
    with pytest.raises(ConfigError) as caught:
        build_generator("unroled", GeneratorSpec(n_pixels=32))
    message = str(caught.value)
    assert "did you mean 'unrolled'?" in message
    assert all(name in message for name in generator_names())
    assert "'unroled'" in message


def test_name_that_resembles_nothing_gets_no_suggestion():
    with pytest.raises(ConfigError) as caught:
        build_generator("zzz", GeneratorSpec(n_pixels=32))
    assert "did you mean" not in str(caught.value)


def test_new_generator_is_built_by_its_name(own_registry):
    @register_generator("flat")
    class Flat(nn.Module):
        def __init__(self, spec):
            super().__init__()
            self.spec = spec

        def forward(self, amplitude, probe, measured=None, offsets=None):
            return torch.ones_like(amplitude).to(probe.dtype)

    built = build_generator("flat", GeneratorSpec(n_pixels=48))
    assert isinstance(built, Flat)
    assert built.spec.n_pixels == 48
    assert "flat" in generator_names()


def test_name_is_not_given_away_twice(own_registry):
    register_generator("cnn")(CNNGenerator)
    with pytest.raises(ValueError, match=r"'cnn' is already registered by .*cnn\.CNNGenerator"):
        register_generator("cnn")(UnrolledGenerator)
    namesake = type("CNNGenerator", (nn.Module,), {"__module__": "elsewhere"})
    with pytest.raises(ValueError, match="already registered"):
        register_generator("cnn")(namesake)
