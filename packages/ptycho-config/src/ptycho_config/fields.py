"""One place that states a setting, and one that reads the statement back.

:func:`setting` writes default, help, unit, bounds and flags of a setting into the metadata of its dataclass
field; :func:`field_specs` reads them. Validation, ``--help``, the documentation tables and the JSON schema
are all made from the :class:`FieldSpec` objects it returns, so they cannot disagree.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ptycho_config.errors import MISSING, ConfigError, Problem, suggest
from ptycho_config.spec import FieldSpec

__all__ = ["FieldSpec", "field_specs", "nested", "nested_fields", "setting", "spec_of"]

_KEY = "ptycho_config"


def setting(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    unit: str | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    multiple_of: int | None = None,
    choices: tuple[str, ...] | None = None,
    refused: Mapping[str, str] | None = None,
    pattern: tuple[str, str] | None = None,
    cli: tuple[str, ...] = (),
    group: str = "",
    jobs: tuple[str, ...] = (),
    effect: str = "",
    tests: tuple[str, ...] = (),
    resume: str = "",
    only_default: str = "",
    no_flag: str = "",
) -> Any:
    """State one setting of a configuration dataclass.

    Everything that the packages know about a setting stands here, so that adding one takes this line, the
    place where it acts, and a test.

    Parameters
    ----------
    default : object
        Value when nobody states one; without it the setting is required.
    help : str
        What the setting does, as shown by ``--help`` and in the documentation.
    unit : str, optional
        Unit of the number (``"px"``, ``"photons"``).
    ge, gt, le, lt : float, optional
        Bounds: at least, greater than, at most, less than. They hold for each item of a list.
    multiple_of : int, optional
        The value must be a whole multiple of this.
    choices : tuple of str, optional
        The words that are allowed.
    refused : mapping of str to str, optional
        Words that people try and that are not allowed, each with the reason why.
    pattern : tuple of (str, str), optional
        Regular expression the whole text must match, and the same in words.
    cli : tuple of str, optional
        Further spellings of the flag; the first spelling is always the name in kebab case.
    group : str, optional
        Heading under which ``--help`` and the tables list the setting.
    jobs : tuple of str
        The jobs in which it has an effect, out of :data:`ptycho_config.JOBS`. Other jobs offer no flag for
        it and refuse any value but the default.
    effect : str
        What the setting changes in a run, in a few words.
    tests : tuple of str
        Names of the test functions that observe the effect.
    resume : str, optional
        Why a training that is continued may have another value than it was started with; empty when it may
        not.
    only_default : str, optional
        Why this version takes the default only. Such a setting has no flag.
    no_flag : str, optional
        Why another setting has no flag, and how to state it.

    Returns
    -------
    dataclasses.Field
        Typed as ``Any`` so that it can stand on the right of an annotation.

    Examples
    --------
    >>> import dataclasses
    >>> @dataclasses.dataclass(kw_only=True)
    ... class Box:
    ...     width: int = setting(4, help="width of the box", unit="px", ge=1)
    >>> field_specs(Box)[0].allowed
    'an integer of at least 1'
    """
    statement = {
        "help": help,
        "unit": unit,
        "ge": ge,
        "gt": gt,
        "le": le,
        "lt": lt,
        "multiple_of": multiple_of,
        "choices": choices,
        "refused": dict(refused or {}),
        "pattern": pattern,
        "cli": cli,
        "group": group,
        "jobs": jobs,
        "effect": effect,
        "tests": tests,
        "resume": resume,
        "only_default": only_default,
        "no_flag": no_flag,
    }
    return dataclasses.field(default=default, metadata={_KEY: statement})


def nested(cls: type, *, help: str) -> Any:
    """State that a configuration contains another one, built from its defaults unless given.

    Parameters
    ----------
    cls : type
        The dataclass of the inner configuration.
    help : str
        What it is for.
    """
    return dataclasses.field(default_factory=cls, metadata={f"{_KEY}.nested": {"cls": cls, "help": help}})


def _read_annotation(annotation: Any) -> tuple[str, bool, tuple[str, ...]]:
    """Split an annotation into base kind, whether None is allowed, and extra words."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    parts = typing.get_args(annotation) if is_union else (annotation,)
    optional = type(None) in parts
    words: list[str] = []
    kinds: list[str] = []
    for part in parts:
        if part is type(None):
            continue
        if typing.get_origin(part) is Literal:
            words.extend(typing.get_args(part))
        elif part in (bool, int, float, str):
            kinds.append(part.__name__)
        elif part is Path:
            kinds.append("path")
        elif part == tuple[int, ...]:
            kinds.append("int_list")
        elif part == tuple[Path, ...]:
            kinds.append("path_list")
        else:
            raise TypeError(
                f"a setting cannot be of type {part!r}; use bool, int, float, str, Path, tuple[int, ...] or "
                "Path | tuple[Path, ...]"
            )
    if sorted(kinds) == ["path", "path_list"]:
        kinds = ["paths"]
    if len(kinds) != 1 or kinds == ["path_list"]:
        raise TypeError(
            f"a setting has exactly one base type, got {annotation!r}; add words with Literal[...]"
        )
    return kinds[0], optional, tuple(words)


def _spell_flags(name: str, kind: str, extra: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    kebab = name.replace("_", "-")
    flags = (f"--{kebab}", *extra)
    if kind != "bool":
        return flags, ()
    off = "--disable-" + kebab.removeprefix("enable-") if kebab.startswith("enable-") else f"--no-{kebab}"
    return flags, (off,)


def field_specs(cls: type) -> tuple[FieldSpec, ...]:
    """Read all settings of a configuration dataclass.

    Parameters
    ----------
    cls : type
        A dataclass whose fields were stated with :func:`setting`. Inner configurations
        (:func:`nested`) are no settings and are left out.

    Returns
    -------
    tuple of FieldSpec
        In the order of the class.

    Examples
    --------
    >>> from ptycho_config import ModelConfig
    >>> field_specs(ModelConfig)[0].flags
    ('--N',)
    """
    return _read_specs(cls)


@functools.cache
def _read_specs(cls: Any) -> tuple[FieldSpec, ...]:
    hints = typing.get_type_hints(cls)
    specs = []
    for field in dataclasses.fields(cls):
        statement = field.metadata.get(_KEY)
        if statement is None:
            continue
        kind, optional, words = _read_annotation(hints[field.name])
        rest = {key: value for key, value in statement.items() if key != "cli"}
        hidden = statement["only_default"] or statement["no_flag"]
        flags, off_flags = ((), ()) if hidden else _spell_flags(field.name, kind, statement["cli"])
        default = MISSING if field.default is dataclasses.MISSING else field.default
        specs.append(
            FieldSpec(
                name=field.name,
                owner=cls.__name__,
                kind=kind,
                optional=optional,
                words=words,
                default=default,
                flags=flags,
                off_flags=off_flags,
                **rest,
            )
        )
    return tuple(specs)


def spec_of(cls: type, name: str) -> FieldSpec:
    """Return the statement of one setting.

    Raises
    ------
    ConfigError
        When the class has no setting of that name.
    """
    known = {spec.name: spec for spec in field_specs(cls)}
    if name not in known:
        raise ConfigError(Problem(name, MISSING, f"a setting of {cls.__name__}", suggest(name, known)))
    return known[name]


def nested_fields(cls: type) -> dict[str, type]:
    """Name -> class of the configurations that a configuration contains."""
    key = f"{_KEY}.nested"
    return {
        field.name: field.metadata[key]["cls"] for field in dataclasses.fields(cls) if key in field.metadata
    }
