"""One keyword of the reference: its default, and what this package makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

__all__ = ["Keyword", "keyword", "keywords"]

_KEY = "keyword"


@dataclass(frozen=True, kw_only=True, slots=True)
class Keyword:
    """What becomes of a keyword.

    Attributes
    ----------
    name
        Of the field.
    default
        What is taken where a caller leaves it out.
    becomes
        Settings of this package that take its value, by name; empty: it has no effect.
    note
        How it is translated, or why it has no effect.
    """

    name: str
    default: Any
    becomes: tuple[str, ...]
    note: str


def keyword(default: Any, *becomes: str, note: str = "") -> Any:
    """A field of a class of keywords.

    Parameters
    ----------
    default
        What is taken where a caller leaves it out.
    becomes
        Settings that take its value. None: the keyword has no effect, and ``note`` says why.
    note
        How it is translated, or why it has no effect.
    """
    return field(default=default, metadata={_KEY: (becomes, note)})


def keywords(owner: type) -> Iterator[Keyword]:
    """Every keyword of a class, in the order in which they are declared."""
    for entry in fields(owner):
        becomes, note = entry.metadata[_KEY]
        yield Keyword(name=entry.name, default=_default(entry), becomes=becomes, note=note)


def _default(entry: Field[Any]) -> Any:
    return None if entry.default is MISSING else entry.default
