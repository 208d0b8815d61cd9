"""What all configuration dataclasses share: checking, remembering, copying.

A configuration is checked when it is built, converts what it is given to plain Python values, and remembers
which settings its caller stated. The last is what lets a layer of settings hold only what somebody asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ptycho_config.errors import ConfigError, Problem, suggest
from ptycho_config.fields import nested_fields, spec_of
from ptycho_config.validation import Rule, check_values

__all__ = [
    "Config",
    "config_class",
    "evolve",
    "from_dict",
    "moved_value",
    "plain",
    "stated_fields",
    "to_dict",
]

ConfigT = TypeVar("ConfigT", bound="Config")
_STATED = "_stated"
_MOVED = "_moved"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of the configuration dataclasses."""

    # `dataclasses.replace` passes every field to the constructor, and of a variable such as this one what the
    # attribute of its name says: the object itself. So the constructor learns what had been stated.
    _origin: dataclasses.InitVar[Config | None] = None

    rules: ClassVar[tuple[Rule, ...]] = ()
    deprecated: ClassVar[Mapping[str, str]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}
    moved: ClassVar[Mapping[str, type[Config]]] = {}

    def __post_init__(self, _origin: Config | None) -> None:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        stored, problems = check_values(type(self), values, self.rules)
        if problems:
            raise ConfigError(problems)
        for name, value in stored.items():
            object.__setattr__(self, name, value)


setattr(Config, "_origin", property(lambda self: self))  # noqa: B010 - a type checker refuses the assignment


def config_class(cls: type[ConfigT]) -> type[ConfigT]:
    """Decorate a configuration dataclass so that it remembers what was stated and takes older spellings.

    Parameters
    ----------
    cls : type
        A keyword-only dataclass that inherits from :class:`Config`. Its class variable ``deprecated`` maps
        older keywords to the fields that took their place, ``aliases`` further names of fields to these, and
        ``moved`` keywords to the class that has them now.

    Returns
    -------
    type
        The same class.
    """
    build = cls.__init__

    @functools.wraps(build)
    def __init__(self: Any, **stated: Any) -> None:
        origin = stated.pop("_origin", None)
        before = {} if origin is None else _forget(origin, stated, {**cls.deprecated, **cls.aliases})
        elsewhere, problems = _take_moved(cls.moved, stated)
        problems += _rename(cls, stated)
        try:
            build(self, **{**before, **stated})
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)
        known = frozenset() if origin is None else frozenset(stated_fields(origin))
        object.__setattr__(self, _STATED, known | frozenset(stated))
        object.__setattr__(self, _MOVED, {**getattr(origin, _MOVED, {}), **elsewhere})

    setattr(cls, "__init__", __init__)  # noqa: B010 - a type checker refuses the plain assignment
    return cls


def _forget(origin: Config, given: dict[str, Any], deprecated: Mapping[str, str]) -> dict[str, Any]:
    """Take out of what was given for a copy the values that its original has."""
    replaced = {new for old, new in deprecated.items() if old in given}
    names = [field.name for field in dataclasses.fields(origin) if field.name in given]
    before = {name: given.pop(name) for name in names if given[name] is getattr(origin, name)}
    return {name: value for name, value in before.items() if name not in replaced}


def _take_moved(
    moved: Mapping[str, type[Config]], given: dict[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """Take out what another class has now, checked."""
    taken: dict[str, Any] = {}
    problems = []
    for name, cls in moved.items():
        if name in given:
            taken[name], problem = spec_of(cls, name).coerce(given.pop(name))
            problems += [] if problem is None else [problem]
    return taken, problems


def moved_value(config: Config, name: str) -> Any:
    """What was stated under a keyword that another class has now, or the default there.

    Parameters
    ----------
    config : Config
        Of the class that had it.
    name : str
        The keyword.
    """
    return getattr(config, _MOVED, {}).get(name, spec_of(config.moved[name], name).default)


def _rename(cls: type[Config], stated: dict[str, Any]) -> list[Problem]:
    problems = []
    for old, new in {**cls.deprecated, **cls.aliases}.items():
        value = stated.pop(old, None)
        if value is None:
            continue
        if old in cls.deprecated:
            text = f"{old} is the older spelling of {new}; write {new}={value!r}"
            warnings.warn(text, DeprecationWarning, stacklevel=3)
        if stated.setdefault(new, value) != value:
            expected = f"the same value as {new} = {stated[new]!r}, which it is the older spelling of"
            problems.append(Problem(old, value, expected, f"keep only {new}"))
    return problems


def stated_fields(config: Config) -> dict[str, Any]:
    """Return the settings that were passed to the constructor, with their values.

    Parameters
    ----------
    config : Config
        Any configuration.

    Returns
    -------
    dict
        Name -> value; a setting passed with its default value counts as stated, as does one that another
        class has now. For an object of a subclass that replaced the constructor: every setting that differs
        from its default.

    Notes
    -----
    What was stated survives ``copy``, ``pickle``, ``dataclasses.replace`` and :func:`evolve`, and plays no
    part in equality.

    Examples
    --------
    >>> from ptycho_config import PyTorchExecutionConfig
    >>> stated_fields(PyTorchExecutionConfig(num_workers=2))
    {'num_workers': 2}
    """
    names = getattr(config, _STATED, None)
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in names if names is not None else value != _default_of(field):
            found[field.name] = value
    return {**found, **getattr(config, _MOVED, {})}


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def evolve(config: ConfigT, **changes: Any) -> ConfigT:
    """Copy a configuration with some settings changed, checked again.

    Parameters
    ----------
    config : Config
        Where to start; it is not changed.
    **changes
        New values.

    Returns
    -------
    Config
        Of the same class. It has stated what ``config`` had stated, and the changes.

    Raises
    ------
    ConfigError
        When a value is not allowed or a name does not exist.

    Examples
    --------
    >>> from ptycho_config import ModelConfig
    >>> evolve(ModelConfig(N=128), gridsize=2).N
    128
    """
    renamed = {**config.deprecated, **config.aliases}
    known = [field.name for field in dataclasses.fields(config)] + [*renamed, *config.moved]
    unknown = [name for name in changes if name not in known]
    if unknown:
        owner = type(config).__name__
        raise ConfigError(
            Problem(name, changes[name], f"a setting of {owner}", suggest(name, known)) for name in unknown
        )
    start = stated_fields(config)
    for old, new in renamed.items():
        if old in changes and new not in changes:
            start.pop(new, None)  # the older spelling replaces the value, it does not compete with it
    return type(config)(**{**start, **changes})


def plain(value: Any) -> Any:
    """Turn a stored value into one that JSON and YAML know: paths become strings, tuples lists.

    Parameters
    ----------
    value : object
        A stored value, or a mapping, list or tuple of such.
    """
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def to_dict(config: Config) -> dict[str, Any]:
    """Return all settings as plain values, an inner configuration as an inner dictionary.

    Examples
    --------
    >>> from ptycho_config import InferenceConfig
    >>> to_dict(InferenceConfig())["model"]["N"]
    64
    """
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        values[field.name] = to_dict(value) if isinstance(value, Config) else plain(value)
    return values


def from_dict(cls: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Build a configuration from what :func:`to_dict` returned.

    Parameters
    ----------
    cls : type
        The configuration class.
    values : mapping
        Name -> value; settings that are left out take their defaults.

    Raises
    ------
    ConfigError
        With every unknown name and every wrong value.
    """
    inner = nested_fields(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    problems: list[Problem] = []
    ready: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names and name not in {**cls.deprecated, **cls.aliases, **cls.moved}:
            problems.append(
                Problem(str(name), value, f"a setting of {cls.__name__}", suggest(str(name), names))
            )
        elif name in inner and isinstance(value, Mapping):
            try:
                ready[name] = from_dict(inner[name], value)
            except ConfigError as error:
                problems += error.problems
        else:
            ready[name] = value
    try:
        built = cls(**ready)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return built
