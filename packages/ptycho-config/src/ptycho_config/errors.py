"""What went wrong in a configuration, in words a person can act on.

One :class:`Problem` is one wrong setting; a :class:`ConfigError` carries all of them, because a
user who fixes one typo at a time, one run at a time, has been told too little.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["MISSING", "ConfigError", "MissingType", "Problem", "suggest"]

_LONGEST_VALUE = 80
_MOST_PARTS = 10_000


class MissingType:
    """Type of :data:`MISSING`, the mark for "nobody gave a value" (``None`` is a value)."""

    _only: MissingType | None = None

    def __new__(cls) -> MissingType:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = MissingType()


def _is_huge(value: object) -> bool:
    """Whether a value has more parts than anybody reads; a few lines of YAML can make billions of them."""
    ahead, count = [value], 0
    while ahead and count <= _MOST_PARTS:
        part = ahead.pop()
        inner = (*part.keys(), *part.values()) if isinstance(part, dict) else part
        if isinstance(inner, list | tuple):
            count += len(inner)
            ahead.extend(inner[:_MOST_PARTS])
    return count > _MOST_PARTS


def _shown(value: object) -> str:
    text = reprlib.repr(value) if _is_huge(value) else repr(value)
    if len(text) <= _LONGEST_VALUE:
        return text
    # Of a path the end says most, of a list the beginning.
    half = (_LONGEST_VALUE - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


@dataclass(frozen=True)
class Problem:
    """One wrong setting.

    Parameters
    ----------
    field : str
        Name of the setting, dotted with its section where that helps (``"training.nepochs"``).
    value : object
        What was given; :data:`MISSING` when nothing was.
    expected : str
        What would have been right, as the end of the sentence "expected ...".
    hint : str
        What to do about it; may be empty.
    """

    field: str
    value: Any
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        head = f"{self.field}: missing" if self.value is MISSING else f"{self.field} = {_shown(self.value)}"
        middle = f"expected {self.expected}"
        text = f"{head}; {middle}" if self.value is MISSING else f"{head}: {middle}"
        return f"{text}; {self.hint}" if self.hint else text


class ConfigError(ValueError):
    """A configuration that cannot be used, with every reason.

    Parameters
    ----------
    problems : Problem or iterable of Problem
        At least one.

    Attributes
    ----------
    problems : tuple of Problem
        All of them, in the order in which they were found.
    fields : tuple of str
        The settings that are wrong, in the same order.
    """

    problems: tuple[Problem, ...]

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(self.problems)

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(problem.field for problem in self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        return f"{len(self.problems)} problems in the configuration:\n{lines}"


def suggest(word: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant.

    Parameters
    ----------
    word : str
        What was written.
    known : iterable of str
        The names that exist.

    Returns
    -------
    str
        ``"did you mean 'nepochs'?"``, or an empty string when nothing is close.

    Examples
    --------
    >>> suggest("nepoch", ["nepochs", "batch_size"])
    "did you mean 'nepochs'?"
    """
    import difflib  # here, because only a mistake needs it

    names = list(known)
    folded = {name.lower().replace("-", "_"): name for name in names}
    asked = word.lower().replace("-", "_")
    if asked in folded:
        return f"did you mean {folded[asked]!r}?"
    close = difflib.get_close_matches(asked, list(folded), n=2, cutoff=0.6)
    if not close:
        return ""
    return "did you mean " + " or ".join(repr(folded[name]) for name in close) + "?"
