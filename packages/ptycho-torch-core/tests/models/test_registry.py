"""Names of generators: what is known, what is refused, what can be added."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from ptycho_torch.errors import ConfigError
from ptycho_torch.models import GeneratorSpec, build_generator, generator_names, register_generator, registry
from ptycho_torch.models.cnn import CNNGenerator
from ptycho_torch.models.fno import FNOGenerator
from ptycho_torch.models.registry import ENTRY_POINTS
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

        def forward(self, amplitude, optics, offsets=None):
            return torch.ones_like(amplitude).to(optics.probe.dtype)

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


@pytest.fixture
def installed(tmp_path, monkeypatch, own_registry):
    """A distribution with a network of its own, as pip would leave it on the path."""

    def make(target="flat_network:Flat", name="flat_installed"):
        (tmp_path / "flat_network.py").write_text(
            "import torch\n"
            "class Flat(torch.nn.Module):\n"
            "    def __init__(self, spec):\n"
            "        super().__init__()\n"
            "        self.weight = torch.nn.Parameter(torch.zeros(()))\n"
            "    def forward(self, amplitude, optics, offsets=None):\n"
            "        return torch.ones_like(amplitude).to(optics.probe.dtype) * (1 + self.weight)\n"
        )
        info = tmp_path / "flat_network-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flat-network\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{name} = {target}\n")
        monkeypatch.syspath_prepend(tmp_path)
        return name

    yield make
    sys.modules.pop("flat_network", None)


@pytest.mark.rule("PHY-030")
def test_a_network_of_an_installed_distribution_is_known_by_name(installed, model_of, frames):
    name = installed()
    assert name in generator_names()
    assert "flat_network" not in sys.modules
    model = model_of(name)
    assert type(model.generator).__module__ == "flat_network"
    torch.testing.assert_close(model(frames()), torch.ones(3, 1, 32, 32, dtype=torch.complex64))
    assert type(model_of(name).generator) is type(model.generator)


def test_an_unknown_name_lists_installed_networks_too(installed):
    name = installed()
    with pytest.raises(ConfigError) as caught:
        build_generator("flat_instaled", GeneratorSpec(n_pixels=32))
    (problem,) = caught.value.problems
    assert name in problem.expected
    assert "unrolled" in problem.expected
    assert name in problem.hint


@pytest.mark.rule("PHY-030")
@pytest.mark.parametrize("target", ["no_such_module:Flat", "flat_network:Round", "flat_network:torch"])
def test_what_an_installed_distribution_only_promises_is_refused(target, installed):
    name = installed(target)
    with pytest.raises(ConfigError) as caught:
        build_generator(name, GeneratorSpec(n_pixels=32))
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("architecture", name)
    assert "flat-network" in problem.hint
    # Others can be built all the same.
    assert isinstance(build_generator("cnn", GeneratorSpec(n_pixels=32, width=1)), CNNGenerator)


def test_an_installed_distribution_does_not_replace_a_network_in_silence(installed):
    installed(name="cnn")
    with pytest.raises(ValueError, match="'cnn' is already registered"):
        build_generator("cnn", GeneratorSpec(n_pixels=32))
