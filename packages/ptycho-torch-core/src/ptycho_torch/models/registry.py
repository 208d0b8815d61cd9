"""Names of generator architectures, and how one is added.

A generator turns normalised amplitudes into object patches. To add one, write a module in this
folder, decorate its class, and import the module in :mod:`ptycho_torch.models`::

    @register_generator("mine")
    class MyGenerator(nn.Module):
        def __init__(self, spec: GeneratorSpec) -> None: ...
        def forward(self, amplitude, optics, offsets=None): ...

A distribution of its own names such a class in its ``pyproject.toml``, and needs no decorator::

    [project.entry-points."ptycho_torch.generators"]
    mine = "my_package.networks:MyGenerator"
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from torch import nn

from ptycho_config.errors import ConfigError, Problem

__all__ = ["ENTRY_POINTS", "GeneratorSpec", "build_generator", "generator_names", "register_generator"]

GeneratorClass = TypeVar("GeneratorClass", bound=type[nn.Module])

ENTRY_POINTS = "ptycho_torch.generators"
"""Group of entry points in which distributions offer generators."""

_REGISTRY: dict[str, type[nn.Module]] = {}


@dataclass(frozen=True, kw_only=True)
class GeneratorSpec:
    """What every generator is built from.

    Attributes
    ----------
    n_pixels
        Side ``N`` of a patch in px, a multiple of 16.
    n_channels
        Patches per group.
    width
        Multiplier of the number of feature maps, positive.
    object_head
        What the last two feature maps are, see :func:`ptycho_torch.models.heads.object_head`.
    amp_activation
        Name of the amplitude activation, see :func:`ptycho_torch.models.heads.amplitude_activation`.
    decode_border
        False: only the central ``N / 2`` square of a patch is decoded.
    split_border
        True: the border is decoded by a branch of its own, where the architecture has one.
    """

    n_pixels: int
    n_channels: int = 1
    width: float = 2
    object_head: str = "amplitude_phase"
    amp_activation: str = "sigmoid"
    decode_border: bool = True
    split_border: bool = True


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def register_generator(name: str) -> Callable[[GeneratorClass], GeneratorClass]:
    """Class decorator that makes a generator known by ``name``.

    The class takes one :class:`GeneratorSpec`; its ``forward(amplitude, optics, offsets=None)`` takes
    normalised amplitudes ``(batch, channel, N, N)``, the :class:`~ptycho_torch.physics.optics.Optics` of
    the scan with a probe of power ``(N / 2) ** 2`` and, where the frames of a group show one object, their
    places ``(batch, channel, 2)``, ``[y, x]`` in px from the centre of the group. It returns complex object
    patches ``(batch, channel, N, N)``.

    Raises
    ------
    ValueError
        If the name is taken by another class.
    """

    def register(cls: GeneratorClass) -> GeneratorClass:
        known = _REGISTRY.get(name)
        if known is not None and _full_name(known) != _full_name(cls):
            raise ValueError(f"architecture {name!r} is already registered by {_full_name(known)}")
        _REGISTRY[name] = cls
        return cls

    return register


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def generator_names() -> tuple[str, ...]:
    """Names of all generators, registered or installed, in alphabetical order; none is imported for it."""
    return tuple(sorted({*_REGISTRY, *_installed()}))


def build_generator(name: str, spec: GeneratorSpec) -> nn.Module:
    """Build a generator that is registered, or that an installed distribution offers.

    Parameters
    ----------
    name
        Name of the architecture.
    spec
        What it is built from.

    Raises
    ------
    ConfigError
        If the name is unknown, when the message lists the known ones, or if the distribution that offers it
        cannot be imported or offers something else than a network.
    ValueError
        If a distribution offers the name of a registered generator.
    """
    point = _installed().get(name)
    if point is not None:
        register_generator(name)(_loaded(point))
    elif name not in _REGISTRY:
        known = generator_names()
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else ""
        raise ConfigError(Problem("architecture", name, f"one of {', '.join(known)}", hint))
    return _REGISTRY[name](spec)


def _loaded(point: EntryPoint) -> type[nn.Module]:
    offered = f"{point.value}, which {point.dist.name if point.dist else 'a distribution'} offers"
    try:
        cls = point.load()
    except (ImportError, AttributeError) as error:
        hint = f"{offered}, cannot be imported: {error}"
        raise ConfigError(Problem("architecture", point.name, "a network that is installed", hint)) from error
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        hint = f"{offered}, is {cls!r}"
        raise ConfigError(Problem("architecture", point.name, "a class of networks (torch.nn.Module)", hint))
    return cls
