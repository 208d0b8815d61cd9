"""What a source of a live scan hands on, whatever it came over.

Everything in a message is of a type that is written here: what came over a network is checked by its source,
and is never unpickled, evaluated or imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.assemble import SATURATION_ENTRY
from ptycho_torch.data.scan.geometry import GEOMETRY_ENTRIES, ZERO, finite_number

__all__ = ["FACTS", "End", "Frames", "Message", "Positions", "Refused", "Start", "facts"]

FACTS = (*GEOMETRY_ENTRIES, SATURATION_ENTRY)
"""Metadata entries that a source may state: lengths in metres, energies in electronvolts, counts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """A scan begins, or more about it is known.

    Attributes
    ----------
    metadata
        Numbers by the names of `FACTS`; what is not known is left out. Made by `facts`.
    bad_pixels
        (height, width) bool of the whole detector; True: not measured.
    centre
        ``(row, column)`` of the beam in the frames as they come; px.
    n_frames
        How many frames will come, where that is known.
    """

    metadata: Mapping[str, float] = field(default_factory=dict)
    bad_pixels: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    centre: tuple[int, int] | None = None
    n_frames: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Frames of the scan, and their positions where they came with them.

    Attributes
    ----------
    numbers
        (n,) whole numbers: which frame of the scan each is.
    frames
        (n, height, width) real; counts.
    positions
        (n, 2) ``[y, x]``, or None.
    unit
        Unit of ``positions``, one of `ptycho_torch.live.measurement.POSITION_UNITS`; None: that of the scan.
    """

    numbers: Sequence[int] | npt.NDArray[Any]
    frames: npt.NDArray[Any] = field(repr=False)
    positions: npt.NDArray[Any] | None = field(default=None, repr=False)
    unit: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Positions:
    """Positions of frames.

    Attributes
    ----------
    numbers
        (n,) whole numbers: of which frame of the scan each is.
    positions
        (n, 2) ``[y, x]``.
    unit
        As for `Frames`.
    """

    numbers: Sequence[int] | npt.NDArray[Any]
    positions: npt.NDArray[Any] = field(repr=False)
    unit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Something came that cannot be used. It is counted, and the run goes on.

    Attributes
    ----------
    why
        In a few words, without anything of what came: messages are counted by it.
    frames
        How many frames are lost with it, as far as that is known.
    """

    why: str
    frames: int = 0


@dataclass(frozen=True)
class End:
    """The source says that the scan is over: nothing more will come from it."""


Message: TypeAlias = Start | Frames | Positions | Refused | End


def facts(stated: Mapping[str, Any]) -> dict[str, float]:
    """Entries of `FACTS` that are usable numbers; all others are left out.

    Parameters
    ----------
    stated
        Anything by name. Lengths, energies and counts are above zero, coordinates finite.
    """
    found = {}
    for name in FACTS:
        value = finite_number(stated.get(name))
        if value is not None and (value > 0 or name in ZERO) and math.isfinite(value):
            found[name] = value
    return found
