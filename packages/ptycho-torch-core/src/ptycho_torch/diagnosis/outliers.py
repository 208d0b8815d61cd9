"""Single values of single frames that no light makes: cosmic rays, and glitches of the readout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.diagnosis.spikes import SPIKE, around

__all__ = ["NO_OUTLIERS", "Outliers", "Watch"]

Map = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[Any]

_LEAST = 25.0
_ERRORS = 6.0
_FEWEST = 8
_ONE_OF = 12
_MOST_OF_FRAME = 0.005
_MOST = 1_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Outliers:
    """Where they are.

    Attributes
    ----------
    frames, pixels
        (k,) int64: number of the frame, and index of the pixel in the flattened frame.
    values
        (k,) float64: what is stored there.
    """

    frames: npt.NDArray[np.int64] = field(repr=False)
    pixels: npt.NDArray[np.int64] = field(repr=False)
    values: Map = field(repr=False)

    def __len__(self) -> int:
        return len(self.frames)


NO_OUTLIERS = Outliers(frames=np.zeros(0, np.int64), pixels=np.zeros(0, np.int64), values=np.zeros(0))
"""None of them."""


class Watch:
    """Looks for outliers in one pass over frames.

    A value is one where it stands far above what its pixel and those around it count in a sample of the
    frames, and in its own frame above the median of those around it (where light is narrow, above all but
    one of them). A hit leaves up to a few neighbouring values, also in a line; light is slower.

    Parameters
    ----------
    limit
        (N * N,) float64: values above may be outliers; None: nothing is looked for.
    unit
        Value of the fewest counts.
    rank
        Which of the eight neighbours, ascending, it has to stand above.
    """

    def __init__(self, limit: Map | None, unit: float, rank: int) -> None:
        self.limit, self.unit, self.rank = limit, unit, rank
        self.parts: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Map]] = []
        self.count = 0

    @classmethod
    def over(cls, sample: Map, left_out: Mask, *, whole: bool, wide: bool) -> Watch:
        """Limits from a sample of frames, in which no single value decides.

        Parameters
        ----------
        sample
            (k, N, N).
        left_out
            (N, N) bool: pixels that are not looked at.
        whole
            Whether the values are whole numbers of counts.
        wide
            Whether light is slow from pixel to pixel.
        """
        from scipy import ndimage

        if len(sample) < _FEWEST:
            return cls(None, 1.0, 0)
        rank = 1 + max(1, len(sample) // _ONE_OF)
        usual = np.where(left_out, 0, np.partition(sample, -rank, axis=0)[-rank])
        unit = 1.0 if whole else float(sample[sample > 0].min(initial=np.inf))
        if not np.isfinite(unit):
            return cls(None, 1.0, 0)
        limit = _far_above(ndimage.maximum_filter(usual, 3), unit)
        limit[left_out] = np.inf
        return cls(limit.ravel(), unit, 3 if wide else 6)

    def without_outliers(self, first: int, flat: Values, high: Values) -> Values:
        """Frames ``first`` and following, (b, N * N), outliers as zero; ``high`` is put right too."""
        if self.limit is None or self.count > _MOST:
            return flat
        suspects = np.flatnonzero(high > self.limit)
        if not suspects.size:
            return flat
        rows, columns = np.nonzero(flat[:, suspects] > self.limit[suspects])
        pixels = suspects[columns]
        keep = np.zeros(len(rows), dtype=np.bool_)
        for row in np.unique(rows):
            here = rows == row
            # More of them than hits leave: the frame as a whole is another matter.
            if np.count_nonzero(here) <= max(4.0, _MOST_OF_FRAME * flat.shape[1]):
                keep[here] = self._stand_alone(flat[row], pixels[here])
        if not keep.any():
            return flat
        rows, pixels = rows[keep], pixels[keep]
        self.parts.append((first + rows, pixels, flat[rows, pixels].astype(np.float64)))
        self.count += len(rows)
        flat = flat.copy()
        flat[rows, pixels] = np.zeros((), dtype=flat.dtype)
        changed = np.unique(pixels)
        high[changed] = flat[:, changed].max(axis=0)
        return flat

    def _stand_alone(self, frame: Values, pixels: npt.NDArray[np.intp]) -> Mask:
        size = int(np.sqrt(frame.size))
        beside = around(frame.reshape(size, size).astype(np.float64))[self.rank].ravel()[pixels]
        return np.asarray(frame[pixels] > _far_above(beside, self.unit))

    def found(self) -> Outliers:
        """All of them, in the order of the frames."""
        if not self.parts:
            return NO_OUTLIERS
        frames, pixels, values = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        return Outliers(frames=frames, pixels=pixels, values=values)


def _far_above(values: Map, unit: float) -> Map:
    """What counting noise about light that is far brighter than this does not reach."""
    expected = SPIKE * values
    return np.asarray(expected + _ERRORS * np.sqrt(expected * unit) + _LEAST * unit)
