"""Named starting points.

A profile is a function that returns a whole set of values at once. It ranks below a configuration file, so
each of its values can be changed, except those it locks because it would no longer be what its name says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ptycho_config.errors import ConfigError, Problem, suggest

__all__ = ["Profile", "full", "get_profile", "profiles", "quick", "reference_cnn"]


@dataclass(frozen=True)
class Profile:
    """A named set of values.

    Attributes
    ----------
    name : str
        What ``--profile`` takes.
    help : str
        When to use it.
    values : mapping
        Section -> setting -> value.
    locked : frozenset of str
        Dotted addresses whose values no higher layer may change.
    """

    name: str
    help: str
    values: Mapping[str, Mapping[str, Any]]
    locked: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        stated = {f"{section}.{name}" for section, inner in self.values.items() for name in inner}
        problems = [
            Problem(f"profile {self.name}: locked {address}", address, "a setting that the profile states")
            for address in sorted(self.locked - stated)
        ]
        if problems:
            raise ConfigError(problems)


def quick() -> Profile:
    """Return the profile for a first look at a scan."""
    return Profile(
        "quick",
        "a first look at a scan: 10 epochs",
        # No number of groups: stated here it would refuse every smaller scan, where the default gives way.
        {"training": {"nepochs": 10}},
    )


def full() -> Profile:
    """Return the profile for a result worth keeping."""
    return Profile(
        "full",
        "everything the scan holds: all groups, 100 epochs, stops after 20 without improvement",
        {"training": {"nepochs": 100, "n_groups": None}, "execution": {"early_stop_patience": 20}},
    )


def reference_cnn() -> Profile:
    """Return the profile that trains the reference network, for comparisons."""
    return Profile(
        "reference_cnn",
        "the reference encoder with two decoders instead of the default network; several times slower",
        {"model": {"architecture": "cnn", "amp_activation": "sigmoid"}},
        frozenset({"model.architecture"}),
    )


_PROFILES: tuple[Callable[[], Profile], ...] = (quick, full, reference_cnn)


def profiles() -> dict[str, Profile]:
    """Return all profiles by name.

    Examples
    --------
    >>> sorted(profiles())
    ['full', 'quick', 'reference_cnn']
    """
    made = [make() for make in _PROFILES]
    return {profile.name: profile for profile in made}


def get_profile(name: str) -> Profile:
    """Return one profile.

    Raises
    ------
    ConfigError
        When there is none of that name; the message lists those there are.
    """
    known = profiles()
    if name not in known:
        expected = "one of " + ", ".join(repr(word) for word in known)
        raise ConfigError(Problem("profile", name, expected, suggest(name, known)))
    return known[name]
