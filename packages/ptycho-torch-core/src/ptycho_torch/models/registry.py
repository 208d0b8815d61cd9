"""Names of generator architectures, and how one is added.

A generator turns normalised amplitudes into object patches. To add one, write a module in this
folder, decorate its class, and import the module in :mod:`ptycho_torch.models`::

    @register_generator("mine")
    class MyGenerator(nn.Module):
        def __init__(self, spec: GeneratorSpec) -> None: ...
        def forward(self, amplitude, probe, measured=None, offsets=None): ...
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from torch import nn

from ptycho_config.errors import ConfigError, Problem

__all__ = ["GeneratorSpec", "build_generator", "generator_names", "register_generator"]

GeneratorClass = TypeVar("GeneratorClass", bound=type[nn.Module])

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

    The class takes one :class:`GeneratorSpec`; its ``forward(amplitude, probe, measured=None,
    offsets=None)`` takes normalised amplitudes ``(batch, channel, N, N)``, a probe ``(modes, N, N)`` of
    power ``(N / 2) ** 2``, an optional mask of measured pixels ``(N, N)`` and, where the frames of a group
    show one object, their places ``(batch, channel, 2)``, ``[y, x]`` in px from the centre of the group. It
    returns complex object patches ``(batch, channel, N, N)``.

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


def generator_names() -> tuple[str, ...]:
    """Registered names in alphabetical order."""
    return tuple(sorted(_REGISTRY))


def build_generator(name: str, spec: GeneratorSpec) -> nn.Module:
    """Build a registered generator.

    Raises
    ------
    ConfigError
        If the name is unknown; the message lists the known ones.
    """
    registry = MappingProxyType(_REGISTRY)
    if name not in registry:
        close = difflib.get_close_matches(name, registry, n=1)
        hint = f"did you mean {close[0]!r}?" if close else ""
        raise ConfigError(Problem("architecture", name, f"one of {', '.join(generator_names())}", hint))
    return registry[name](spec)
