"""How large and how small the numbers of a scan may be; what is beyond comes of damage or of a wrong unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.geometry import finite_number
from ptycho_torch.diagnosis.statistics import LARGEST_VALUE
from ptycho_torch.errors import Fault, fault

__all__ = [
    "FARTHEST_PX",
    "LARGEST_NUMBER",
    "are_in_range",
    "canonical_origin",
    "counts_of",
    "too_faint",
    "wrong_counts",
]

FARTHEST_PX = 1e12
"""Coordinates beyond are on no stage; px. Distances between them would not be numbers."""

LARGEST_NUMBER = 2**53
"""Numbers of frames and scans beyond cannot be told apart once they were floating point."""

_SMALLEST_PEAK = 1e-15
_LARGEST_COUNTS = 1e18
_SHOWN = 24


def are_in_range(values: npt.NDArray[Any], name: str, problems: list[str]) -> bool:
    """Whether all values of a probe or object are numbers that can be calculated with in single precision.

    Parameters
    ----------
    values
        Complex or real.
    name
        For the sentence that is appended to ``problems`` if not.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.abs(values)
    wrong = int(np.count_nonzero(~(sizes <= LARGEST_VALUE)))
    if wrong:
        said = f"NaN, infinity or more than {LARGEST_VALUE:g} in {wrong} of {values.size} values"
        problems.append(fault(name, f"{said}; repair or scale it"))
        return False
    faint = too_faint(float(sizes.max(initial=0.0)))
    if faint is not None:
        problems.append(fault(name, faint))
    return faint is None


def too_faint(peak: float) -> str | None:
    """What to say of values of which none is larger than this; None where it can be, or all are zero."""
    if not 0 < peak < _SMALLEST_PEAK:
        return None
    return f"no value is larger than {peak:g}, expected at least {_SMALLEST_PEAK:g}; scale them"


def canonical_origin(
    values: npt.NDArray[Any], name: str, problems: list[str]
) -> npt.NDArray[np.float64] | None:
    """Origin of an object as (2,) float64 ``[y, x]``; px. None with a problem where it is none."""
    if values.shape == (2,) and values.dtype.kind in "iuf":
        origin = values.astype(np.float64)
        if (np.abs(origin) <= FARTHEST_PX).all():
            return origin
    said = f"expected two numbers [y, x], at most {FARTHEST_PX:g}, got {values.dtype} of shape {values.shape}"
    problems.append(fault(name, said))
    return None


def counts_of(metadata: Mapping[str, Any], name: str) -> float | None:
    """A number of counts in the metadata; None where the entry is none, or no number that counts can be."""
    number = finite_number(metadata.get(name))
    return number if number is not None and 0 < number <= _LARGEST_COUNTS else None


def wrong_counts(metadata: Mapping[str, Any], names: Iterable[str]) -> list[Fault]:
    """Problems of entries that are numbers, but none of counts. Text and the like are no statement."""
    found = []
    for name in names:
        value = metadata.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and counts_of(metadata, name) is None:
            said = f"{name} is {str(value)[:_SHOWN]}, expected more than 0, at most {_LARGEST_COUNTS:g}"
            found.append(fault("_metadata", f"{said}; correct it or leave it out"))
    return found
