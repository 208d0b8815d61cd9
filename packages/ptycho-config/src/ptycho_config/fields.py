"""One place that states a setting, and one that reads the statement back.

:func:`setting` writes default, help, unit, bounds and flags of a setting into the metadata of its dataclass
field; :func:`field_specs` reads them. Validation, ``--help``, the documentation tables and the JSON schema
are all made from the :class:`FieldSpec` objects it returns, so they cannot disagree.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ptycho_config.coerce import CONVERTERS, READERS, Refused, unwrap_scalar
from ptycho_config.errors import MISSING, ConfigError, Problem, suggest

__all__ = ["FieldSpec", "field_specs", "nested", "nested_fields", "setting", "spec_of"]

_KEY = "ptycho_config"
_NOUNS = {
    "bool": "true or false",
    "int": "an integer",
    "float": "a finite number",
    "str": "a text",
    "path": "a path",
    "int_list": "a list of integers",
}
_NULL_WORDS = frozenset({"none", "null"})


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
) -> Any:
    """State one setting of a configuration dataclass.

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """Everything that is known about one setting.

    Attributes
    ----------
    name : str
        Name of the dataclass field.
    owner : str
        Name of the dataclass.
    kind : str
        Base type: ``"bool"``, ``"int"``, ``"float"``, ``"str"``, ``"path"`` or ``"int_list"``.
    optional : bool
        Whether ``None`` is a value of its own.
    words : tuple of str
        Words accepted beside the base type (``("auto",)`` for ``devices``).
    default : object
        The default, or ``MISSING`` for a required setting.
    help, unit, ge, gt, le, lt, multiple_of, choices, refused, pattern, group
        As given to :func:`setting`.
    flags : tuple of str
        Command-line spellings, the canonical one first.
    off_flags : tuple of str
        Spellings that set a yes/no setting to false; empty for every other kind.
    """

    name: str
    owner: str
    kind: str
    optional: bool
    words: tuple[str, ...]
    default: Any
    help: str
    unit: str | None
    ge: float | None
    gt: float | None
    le: float | None
    lt: float | None
    multiple_of: int | None
    choices: tuple[str, ...] | None
    refused: Mapping[str, str]
    pattern: tuple[str, str] | None
    group: str
    flags: tuple[str, ...]
    off_flags: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """What the setting accepts, in words."""
        if self.choices is not None:
            main = "one of " + ", ".join(repr(choice) for choice in self.choices)
        elif self.pattern is not None:
            main = self.pattern[1]
        else:
            main = _NOUNS[self.kind] + self._bounds()
        ends = [repr(word) for word in self.words] + (["None"] if self.optional else [])
        return main + "".join(f" or {end}" for end in ends)

    def _bounds(self) -> str:
        limits = (("of at least", self.ge), ("greater than", self.gt), ("of at most", self.le), ("less than", self.lt))
        texts = [f"{words} {limit:g}" for words, limit in limits if limit is not None]
        if self.multiple_of is not None:
            texts.insert(0, f"divisible by {self.multiple_of}")
        lead = ", each" if texts and self.kind == "int_list" else ""
        return lead + (" " + " and ".join(texts) if texts else "")

    @property
    def required(self) -> bool:
        """Whether the setting has no default."""
        return self.default is MISSING

    @property
    def metavar(self) -> str:
        """Short placeholder for a command line, such as ``INT`` or ``{min,max}``."""
        if self.choices is not None:
            return "{" + ",".join([*self.choices, *(["none"] if self.optional else [])]) + "}"
        base = {"int_list": "INT,INT,..."}.get(self.kind, self.kind.upper())
        return "|".join([base, *self.words])

    def coerce(self, value: Any, *, name: str | None = None) -> tuple[Any, Problem | None]:
        """Convert a Python value to what the setting stores.

        Parameters
        ----------
        value : object
            What was given.
        name : str, optional
            How to call the setting in a problem; its own name by default.

        Returns
        -------
        stored : object
            The plain Python value (``value`` itself when it is wrong).
        problem : Problem or None
            Why it is wrong.
        """
        plain = unwrap_scalar(value)
        if plain is None and self.optional:
            return None, None
        if isinstance(plain, str) and plain in self.words:
            return str(plain), None
        try:
            stored = CONVERTERS[self.kind](plain)
            self._check(stored)
        except Refused as reason:
            hint = str(reason)
            if self.optional and isinstance(plain, str) and plain.lower() in _NULL_WORDS:
                hint = "write None (null in a file) for no value"
            return value, Problem(name or self.name, value, self.allowed, hint)
        return stored, None

    def check(self, value: Any) -> Any:
        """Convert a Python value, or raise.

        Raises
        ------
        ConfigError
            When the value is not allowed.
        """
        stored, problem = self.coerce(value)
        if problem is not None:
            raise ConfigError(problem)
        return stored

    def parse(self, text: str) -> Any:
        """Read the setting from text, as typed on a command line.

        ``none`` and ``null`` mean ``None`` where the setting is optional; yes/no settings take ``true``,
        ``false``, ``yes``, ``no``, ``on``, ``off``, ``1`` and ``0``; lists are separated by commas.

        Parameters
        ----------
        text : str
            What was typed.

        Returns
        -------
        object
            The checked value.

        Raises
        ------
        ConfigError
            When the text means no allowed value.
        """
        word = text.strip()
        if word in self.words:
            return word
        if self.optional and word.lower() in _NULL_WORDS:
            return None
        try:
            read = READERS[self.kind](word)
        except Refused as reason:
            raise ConfigError(Problem(self.name, text, self.allowed, str(reason))) from None
        return self.check(read)

    def _check(self, stored: Any) -> None:
        for item in stored if self.kind == "int_list" else (stored,):
            if self.kind in ("int", "float", "int_list") and not self._within(item):
                raise Refused()
        if self.kind != "str":
            return
        if stored in self.refused:
            raise Refused(self.refused[stored])
        if self.choices is not None and stored not in self.choices:
            raise Refused(suggest(stored, self.choices))
        if self.pattern is not None and re.fullmatch(self.pattern[0], stored) is None:
            raise Refused()

    def _within(self, number: float) -> bool:
        return (
            (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
            and (self.lt is None or number < self.lt)
            and (self.multiple_of is None or number % self.multiple_of == 0)
        )


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
        else:
            raise TypeError(f"a setting cannot be of type {part!r}; use bool, int, float, str, Path or tuple[int, ...]")
    if len(kinds) != 1:
        raise TypeError(f"a setting has exactly one base type, got {annotation!r}; add words with Literal[...]")
    return kinds[0], optional, tuple(words)


def _spell_flags(name: str, kind: str, extra: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    kebab = name.replace("_", "-")
    flags = (f"--{kebab}", *extra)
    if kind != "bool":
        return flags, ()
    off = "--disable-" + kebab.removeprefix("enable-") if kebab.startswith("enable-") else f"--no-{kebab}"
    return flags, (off,)


@functools.cache
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
    hints = typing.get_type_hints(cls)
    specs = []
    for field in dataclasses.fields(cls):
        statement = field.metadata.get(_KEY)
        if statement is None:
            continue
        kind, optional, words = _read_annotation(hints[field.name])
        rest = {key: value for key, value in statement.items() if key != "cli"}
        flags, off_flags = _spell_flags(field.name, kind, statement["cli"])
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
    return {field.name: field.metadata[key]["cls"] for field in dataclasses.fields(cls) if key in field.metadata}
