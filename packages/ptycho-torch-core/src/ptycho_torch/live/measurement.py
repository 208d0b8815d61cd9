"""What is known of a scan beside its frames and positions: probe, mask, geometry, and what turns what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_config import ConfigError, OrientationConfig, Problem
from ptycho_torch.data.hdf5.units import scale_of
from ptycho_torch.data.scan.geometry import OBJECT_PIXEL, ScanGeometry, beyond_middle
from ptycho_torch.data.scan.orientation import position_orientation
from ptycho_torch.errors import ShapeError
from ptycho_torch.live.arrivals import Window

__all__ = ["POSITION_UNITS", "Measurement"]

POSITION_UNITS = ("px", "m", "mm", "um", "nm")
"""Units of positions that come."""

_LARGEST_CANVAS_PX = 2**27
_SPREAD = 8.0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Facts that hold for every frame of a scan.

    Attributes
    ----------
    probe
        (P, N, N) complex64; None: one is made from the mean of the frames that came.
    bad_pixels
        bool, of the size of the frames as they come or of what is cut from them; True: not measured.
    metadata
        Entries of the scan, see `ptycho_torch.data.scan.geometry`; ``photon_energy_eV`` and the like.
    position_unit
        Unit of the positions in the table; None: not known yet.
    orientation
        How frames and positions are turned.
    """

    probe: npt.NDArray[np.complex64] | None = field(default=None, repr=False)
    bad_pixels: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    position_unit: str | None = None
    orientation: OrientationConfig = field(default_factory=OrientationConfig)

    def __post_init__(self) -> None:
        unit = self.position_unit
        if unit is not None and unit not in POSITION_UNITS:
            raise ConfigError(Problem("position_unit", unit, f"one of {', '.join(POSITION_UNITS)}"))
        if self.probe is not None and (self.probe.ndim != 3 or self.probe.shape[1] != self.probe.shape[2]):
            raise ShapeError("probe", "(modes, N, N)", self.probe.shape)

    def factor_to(self, unit: str | None) -> float | None:
        """Factor from a unit to that of the table; None where there is none, as from pixels to metres."""
        if unit is None or unit == self.position_unit:
            return 1.0
        theirs, ours = (scale_of(name or "", "m") for name in (unit, self.position_unit))
        return None if theirs is None or ours is None else theirs / ours

    def told(self, metadata: Mapping[str, Any], bad_pixels: npt.NDArray[np.bool_] | None) -> Measurement:
        """With what a source said; what was stated before outranks it."""
        return replace(
            self,
            metadata={**metadata, **self.metadata},
            bad_pixels=bad_pixels if self.bad_pixels is None else self.bad_pixels,
        )

    def in_pixels(self, positions: npt.NDArray[np.float64], N: int) -> npt.NDArray[np.float64]:
        """Positions ``(k, 2)`` ``[y, x]`` in object pixels, of pixel ``N // 2`` of each patch.

        Positions in pixels are that already. Those in metres are of the middles of patches, as in every file
        that says positions in metres; coordinate zero is that of the stage.

        Raises
        ------
        MissingMetadata
            The size of an object pixel does not follow from what is known.
        """
        if self.position_unit == "px":
            return positions
        scale = scale_of(self.position_unit or "m", "m")
        assert scale is not None
        return positions * scale / np.asarray(self._pixel_m(N)) + beyond_middle(N)

    def _pixel_m(self, N: int) -> tuple[float, float]:
        stated = [self.metadata.get(name) for name in OBJECT_PIXEL]
        if all(isinstance(value, int | float) and value > 0 for value in stated):
            return float(stated[0] or 0), float(stated[1] or 0)
        return ScanGeometry.from_entries(self.metadata, N).object_pixel_m

    def mask_of(self, window: Window, N: int) -> npt.NDArray[np.bool_] | None:
        """Bad pixels of what is cut from the frames, (N, N); None where a mask does not fit them."""
        mask = self.bad_pixels
        if mask is None or mask.shape == (N, N):
            return mask
        cut = window.of((mask.shape[0], mask.shape[1])) if mask.ndim == 2 else ""
        if isinstance(cut, str):
            return None
        square = mask[cut]
        return square if square.shape == (N, N) else None

    def turned(self, positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Positions turned about coordinate zero, which stays where it is while a scan grows."""
        matrix = np.asarray(position_orientation(self.orientation), dtype=np.float64)
        return positions * self.orientation.position_scale @ matrix.T


def near(positions: npt.NDArray[np.float64], N: int) -> npt.NDArray[np.bool_]:
    """Which of some positions in pixels are not absurdly far from the others; (n,) bool.

    All of them, where they fit onto a canvas. A single wrong number must not ask for a canvas that no machine
    has.
    """
    kept = np.ones(len(positions), dtype=np.bool_)
    if np.prod(np.ptp(positions, axis=0) + N) <= _LARGEST_CANVAS_PX:
        return kept
    low, middle, high = np.quantile(positions, (0.1, 0.5, 0.9), axis=0)
    room = _SPREAD * np.maximum(high - low, N)
    kept = np.asarray((np.abs(positions - middle) <= room).all(axis=1))
    return kept
