"""What detectors of DECTRIS send, whatever the version of their stream: a start, images and an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.geometry import finite_number
from ptycho_torch.live.messages import Start

__all__ = ["SeriesEnd", "SeriesImage", "SeriesMessage", "SeriesStart", "centre_of", "distance_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesStart:
    """A series begins.

    Attributes
    ----------
    series
        Its number.
    start
        What the detector says of it.
    """

    series: int
    start: Start


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesImage:
    """One image of a series.

    Attributes
    ----------
    series
        Number of the series.
    number
        Number of the image in it, from zero.
    frame
        (height, width), an integer or real dtype in the byte order of this machine.
    """

    series: int
    number: int
    frame: npt.NDArray[Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SeriesEnd:
    """A series is over."""

    series: int


SeriesMessage: TypeAlias = SeriesStart | SeriesImage | SeriesEnd


def centre_of(row: Any, column: Any) -> tuple[int, int] | None:
    """Pixel of the beam; None where the detector was not told, which leaves zeros."""
    found = [finite_number(value) for value in (row, column)]
    if any(value is None or not 0 < value < np.iinfo(np.int32).max for value in found):
        return None
    return round(found[0] or 0), round(found[1] or 0)


def distance_of(translation: Any) -> float | None:
    """Distance of the detector from its translation ``[x, y, z]``; m."""
    if not isinstance(translation, Sequence) or isinstance(translation, str | bytes):
        return None
    along = finite_number(translation[2]) if len(translation) == 3 else None
    return None if along is None else abs(along)
