"""Everything that is known about one setting, and what follows from it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from ptycho_config.coerce import CONVERTERS, READERS, Refused, unwrap_scalar
from ptycho_config.errors import MISSING, ConfigError, Problem, suggest

__all__ = ["FieldSpec"]

_NOUNS = {
    "bool": "true or false",
    "int": "an integer",
    "float": "a finite number",
    "str": "a text",
    "path": "a path",
    "int_list": "a list of integers",
    "paths": "a path or a list of paths",
}
_NULL_WORDS = frozenset({"none", "null"})


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
        Base type: ``"bool"``, ``"int"``, ``"float"``, ``"str"``, ``"path"``, ``"int_list"``, or
        ``"paths"``: one path or several.
    optional : bool
        Whether ``None`` is a value of its own.
    words : tuple of str
        Words accepted beside the base type (``("auto",)`` for ``devices``).
    default : object
        The default, or ``MISSING`` for a required setting.
    help, unit, ge, gt, le, lt, multiple_of, choices, refused, pattern, group
        As given to :func:`ptycho_config.setting`.
    jobs, effect, tests, resume, only_default, no_flag
        As given to :func:`ptycho_config.setting`.
    flags : tuple of str
        Command-line spellings, the canonical one first; empty for a setting without a flag.
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
    jobs: tuple[str, ...]
    effect: str
    tests: tuple[str, ...]
    resume: str
    only_default: str
    no_flag: str
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
        limits = (
            ("of at least", self.ge),
            ("greater than", self.gt),
            ("of at most", self.le),
            ("less than", self.lt),
        )
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
        base = {"int_list": "INT,INT,...", "paths": "PATH"}.get(self.kind, self.kind.upper())
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
