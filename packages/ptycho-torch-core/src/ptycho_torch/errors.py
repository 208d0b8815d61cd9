"""Errors of the package: each is a `ValueError` with fields that a program can read.

A message says what was wrong with its value, what was expected and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from ptycho_config.errors import ConfigError

__all__ = [
    "BundleError",
    "ConfigError",
    "DataError",
    "Fault",
    "FaultKind",
    "MissingMetadata",
    "ResultWarning",
    "ScanWarning",
    "ShapeError",
    "fault",
]

FaultKind: TypeAlias = Literal["", "never written", "too large"]


class Fault(str):
    """A problem of a source: a sentence, the name of what is wrong, and the kind of problem.

    Parameters
    ----------
    sentence
        What a person reads.
    name
        Key of an array, dataset, archive member, entry or argument; empty when it is the source as a whole.
    kind
        ``"too large"`` for what takes more memory than it may, ``"never written"`` for an array without
        values; empty for all others.
    """

    name: str
    kind: FaultKind

    def __new__(cls, sentence: str, name: str = "", kind: FaultKind = "") -> Self:
        made = super().__new__(cls, sentence)
        made.name = name
        made.kind = kind
        return made

    def reworded(self, sentence: str, name: str | None = None) -> Fault:
        """The same problem in other words, and about ``name`` if it is given."""
        return Fault(sentence, self.name if name is None else name, self.kind)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.name, self.kind)


def fault(name: str, sentence: str) -> Fault:
    """A problem that reads ``name: sentence``, as most do; its kind is that of ``sentence``, if any."""
    said = f"{name}: {sentence}"
    return sentence.reworded(said, name) if isinstance(sentence, Fault) else Fault(said, name)


def _listed(source: Path | None, problems: tuple[str, ...]) -> str:
    where = "" if source is None else f"{source}: "
    if len(problems) == 1:
        return f"{where}{problems[0]}"
    lines = "".join(f"\n  - {problem}" for problem in problems)
    return f"{where}{len(problems)} problems{lines}"


class _SourceError(ValueError):
    """Problems found in one source, reported together.

    Parameters
    ----------
    problems
        One sentence per problem, or a single string; a `Fault` also says what it is about.
    source
        File or directory the problems were found in.
    """

    def __init__(self, problems: str | Iterable[str], source: str | PathLike[str] | None = None) -> None:
        said = (problems,) if isinstance(problems, str) else problems
        self.problems: tuple[Fault, ...] = tuple(
            problem if isinstance(problem, Fault) else Fault(problem) for problem in said
        )
        if not self.problems:
            raise TypeError(f"{type(self).__name__} needs at least one problem")
        self.source: Path | None = None if source is None else Path(source)
        super().__init__(_listed(self.source, self.problems))

    @property
    def names(self) -> tuple[str, ...]:
        """What each problem is about, in their order; empty text where it is the source as a whole."""
        return tuple(problem.name for problem in self.problems)

    @property
    def kinds(self) -> tuple[FaultKind, ...]:
        """Kind of each problem, in their order; empty text where it has none."""
        return tuple(problem.kind for problem in self.problems)

    def __reduce__(self) -> tuple[Any, ...]:
        # Worker processes send exceptions by pickle, which would otherwise replay the joined message only.
        return type(self), (self.problems, self.source)


class DataError(_SourceError):
    """A scan breaks the data contract; ``problems`` lists everything found in ``source``."""


class MissingMetadata(DataError):
    """A scan lacks metadata that a file format cannot do without.

    Parameters
    ----------
    problems, source
        As for `DataError`.
    entries
        Names of the metadata that are missing or no positive number.
    """

    def __init__(
        self,
        problems: str | Iterable[str],
        source: str | PathLike[str] | None = None,
        entries: Iterable[str] = (),
    ) -> None:
        super().__init__(problems, source)
        self.entries = tuple(entries)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems, self.source, self.entries)


class BundleError(_SourceError):
    """A model bundle is missing, incomplete, damaged or of another kind; ``problems`` says how."""


class ShapeError(ValueError):
    """An array has another shape than its axes require.

    Parameters
    ----------
    name
        Name of the argument.
    expected
        Axes in words, or the shape required.
    actual
        Shape that came.
    hint
        What to do about it.
    """

    def __init__(self, name: str, expected: object, actual: object, hint: str = "") -> None:
        self.name = name
        self.expected = expected
        self.actual = actual
        self.hint = hint
        message = f"{name}: expected {expected}, got {actual}"
        super().__init__(f"{message}; {hint}" if hint else message)

    @property
    def problems(self) -> tuple[str, ...]:
        """The message as a tuple of one, so that all errors of the package read alike."""
        return (str(self),)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.expected, self.actual, self.hint)


class ScanWarning(UserWarning):
    """Something in a scan spoils its result, or would have if it had not been masked or left out."""


class ResultWarning(UserWarning):
    """A result explains its frames no better than an empty object."""
