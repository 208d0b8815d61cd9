"""What a diagnosis says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = [
    "JUST_BELOW",
    "Diagnosis",
    "Finding",
    "Remedy",
    "Severity",
    "masked_pixels",
    "numbered",
    "where_of",
]

Severity = Literal["note", "warning"]
"""``"note"``: worth knowing, shown by `inspect`. ``"warning"``: the result will be wrong, or was saved
from it.
"""

JUST_BELOW = 1 - 1e-6
"""Factor on a ceiling: rounding to single precision must not put a value below its own."""

_SHOWN = 6
_MOST_MASKED = 0.25

Mask = npt.NDArray[np.bool_]


def numbered(flags: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> str:
    """Numbers for a sentence: ``3, 4, 70`` or ``50 to 79`` or the first of many with their count."""
    where = np.flatnonzero(flags) if flags.dtype == np.bool_ else flags
    if len(where) > 2 and where[-1] - where[0] == len(where) - 1:
        return f"{where[0]} to {where[-1]}"
    shown = ", ".join(str(int(number)) for number in where[:_SHOWN])
    return shown if len(where) <= _SHOWN else f"{shown} and {len(where) - _SHOWN} more"


@dataclass(frozen=True, kw_only=True, eq=False)
class Remedy:
    """What can be done without asking.

    Attributes
    ----------
    bad_pixels
        (N, N) bool, pixels to count as not measured; None: none.
    ceiling
        (N, N) float64, counts from which on a value of a pixel counts as not measured; infinity: none. None:
        none of any pixel.
    clip
        Whether negative values count as zero.
    drop
        (n,) bool, frames to leave out; None: none.
    """

    bad_pixels: npt.NDArray[np.bool_] | None = None
    ceiling: npt.NDArray[np.float64] | None = None
    clip: bool = False
    drop: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """Answer of one diagnosis.

    Attributes
    ----------
    name
        Of the diagnosis.
    found
        Whether something is wrong.
    severity
        See `Severity`.
    text
        One sentence with the numbers: what was found, or that nothing was.
    advice
        What to do about it; empty where nothing was found.
    numbers
        The same for programs.
    remedy
        What is done about it when the scan is opened; None: nothing.
    is_mended
        Whether nothing of it is left once the remedy is applied.
    """

    name: str
    found: bool
    text: str
    severity: Severity = "note"
    advice: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    remedy: Remedy | None = None
    is_mended: bool = True

    @property
    def spoils(self) -> bool:
        """Whether results are made from frames that have this fault still."""
        return self.found and self.severity == "warning" and not (self.remedy and self.is_mended)

    def sentence(self) -> str:
        """Text and advice in one line."""
        return f"{self.text}; {self.advice}" if self.advice else self.text


def where_of(mask: Mask) -> str:
    """Rows and columns that a mask spans."""
    rows, columns = np.nonzero(mask)
    if not rows.size:
        return "none"
    spans = [
        f"{low}" if low == high else f"{low} to {high}"
        for low, high in ((rows.min(), rows.max()), (columns.min(), columns.max()))
    ]
    return f"rows {spans[0]}, columns {spans[1]}"


def masked_pixels(name: str, mask: Mask, what: str, *, refusal: str = "", **numbers: Any) -> Finding:
    """Pixels found, masked unless they are too many to be single faults, or a ``refusal`` says why not."""
    count = int(np.count_nonzero(mask))
    text = f"{count} {'pixel' if count == 1 else 'pixels'} {what} ({where_of(mask)})"
    numbers = {"n_pixels": count, **numbers}
    if count > _MOST_MASKED * mask.size or refusal:
        return Finding(
            name=name,
            found=True,
            severity="warning",
            text=text,
            numbers=numbers,
            advice=refusal or "too many to be masked without being asked: store a mask as bad_pixels",
        )
    return Finding(
        name=name,
        found=True,
        severity="warning",
        text=text,
        numbers=numbers,
        advice="they count as not measured",
        remedy=Remedy(bad_pixels=mask),
    )


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """One entry of the table.

    Attributes
    ----------
    name
        Short, for settings and pages.
    looks_for
        What it finds, in words.
    threshold
        When it says so, and why there.
    examine
        From the evidence to a finding.
    cleans
        Whether what it finds is masked or left out.
    """

    name: str
    looks_for: str
    threshold: str
    examine: Callable[[Any], Finding] = field(repr=False)
    cleans: bool = False
