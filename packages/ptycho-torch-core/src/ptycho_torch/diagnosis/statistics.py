"""One pass over the frames of a scan, as stored, that gathers what all diagnoses share.

Memory beyond the frames is that of a few frames and of one number per frame, however long the scan is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ptycho_torch.control import Progress
from ptycho_torch.diagnosis.outliers import NO_OUTLIERS, Outliers, Watch
from ptycho_torch.diagnosis.spikes import smallest_step, spikes

__all__ = ["LARGEST_VALUE", "FrameStatistics", "Stored", "are_counts", "frame_statistics", "impossible"]

Block = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float64]

LARGEST_VALUE = 1e15
"""Values beyond are no measurement: no detector counts so far, and squares of sums of them are no numbers in
single precision."""

_READ_VALUES = 1 << 24
_BLOCK_VALUES = 1 << 19
_SAMPLE_FRAMES = 32
_SAMPLE_VALUES = 1 << 24
_LEAST_SAMPLE = 4
_LIGHT_SHARE = 0.8
_SENTINELS = (2.0**31 - 1, 2.0**31, 2.0**32 - 1, 2.0**32)
"""What detectors write where they measure nothing, as it comes out of a conversion to floating point."""


class Stored(Protocol):
    """Frames in memory or in a file: an index reads."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, N, N)``."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what an index gives."""

    def __getitem__(self, index: Any, /) -> Block:
        """Some frames."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameStatistics:
    """Sums and extremes over frames as they are stored: counts or amplitudes.

    Values that no detector counts (`impossible`), and single ones that no light makes (`outliers`), are
    counted apart and are zero everywhere else.

    Attributes
    ----------
    dtype
        Of the frames.
    left_out
        (N, N) bool: pixels that the numbers per frame do not include: those that were not measured, and
        those that never change or stand alone in a sample of the frames.
    totals, squares
        (n,) float64: sum of each frame, and of its squares (zeros for integers, which are no amplitudes).
    peaks
        (n,) float64: largest value of each frame.
    centres
        (n, 2) float64 ``[y, x]``: centre of mass; px. The middle of the frame where it is empty.
    shares
        (n,) float64: part of the sum of each frame in the pixels that hold most of the light of the scan.
    mean, mean_square
        (N, N) float64: per frame; all pixels.
    highest, lowest
        (N, N) float64: extremes of each pixel.
    n_zeros
        (N, N) int64: frames in which a pixel is zero.
    n_top, n_negative, n_broken
        (N, N) int64: frames in which a pixel holds the largest value of its type (or larger than any count),
        is negative, or is no finite number, or larger than `LARGEST_VALUE`.
    top
        Value from which on a pixel is at the end of its type; of numbers in floating point the smallest that
        detectors write there.
    most_negative
        Smallest value of all.
    impossible_in_frame
        (n,) int64: pixels of each frame that hold no possible value, ``left_out`` aside.
    sample
        (k, N, N): some frames, evenly spread, with impossible values as zero.
    outliers
        Single values far above what all frames count there.
    torn
        (n,) float64: part of the usual light in lines, rows or columns with more than most, in which a frame
        is dark.
    lit_area
        Share of the pixels that hold most of the light of the scan, and so what a frame without a beam has
        in ``shares``.
    """

    dtype: np.dtype[Any]
    left_out: Mask
    totals: Map
    squares: Map
    peaks: Map
    centres: Map
    shares: Map
    mean: Map
    mean_square: Map
    highest: Map
    lowest: Map
    n_zeros: npt.NDArray[np.int64]
    n_top: npt.NDArray[np.int64]
    n_negative: npt.NDArray[np.int64]
    n_broken: npt.NDArray[np.int64]
    top: float
    most_negative: float
    impossible_in_frame: npt.NDArray[np.int64]
    sample: Map
    torn: Map
    outliers: Outliers = NO_OUTLIERS
    lit_area: float = 1.0

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.totals)

    @property
    def size(self) -> int:
        """Edge of a frame; px."""
        return len(self.mean)


def are_counts(values: Block) -> Mask:
    """Which real numbers are finite and at most `LARGEST_VALUE`; of the shape given."""
    # Numbers of half precision do not go so far, and are infinite instead.
    most = min(LARGEST_VALUE, float(np.finfo(values.dtype).max))
    return np.asarray(np.abs(values) <= most)


def impossible(values: Block) -> tuple[Mask, Mask, Mask]:
    """Values that are no counts: at the top of their type, negative, no number; each of the shape given.

    The top is the largest value of an integer type, and from 2**31 - 1 on any integer; numbers in floating
    point are at the top where they are one of the fill values 2**31 - 1 and 2**32 - 1, as they are or
    rounded. No numbers are NaN, infinity and what is beyond `LARGEST_VALUE`.
    """
    none = np.zeros(values.shape, dtype=np.bool_)
    kind = values.dtype.kind
    if kind == "b":
        return none, none, none
    if kind == "f":
        with np.errstate(invalid="ignore"):
            broken = ~are_counts(values)
        fills = [fill for fill in _SENTINELS if fill <= float(np.finfo(values.dtype).max)]
        return np.isin(values, np.asarray(fills, dtype=values.dtype)), values < 0, broken
    return values >= _top_of(values.dtype), values < 0 if kind == "i" else none, none


def _top_of(dtype: np.dtype[Any]) -> int:
    """Largest value of a type that may be a count; of larger integers what detectors fill gaps with."""
    return 2 if dtype.kind == "b" else min(int(np.iinfo(dtype).max), 2**31 - 1)


@dataclass
class _Sums:
    """Running numbers; see `FrameStatistics`."""

    weights: Map
    light: Mask
    usual: tuple[Map, Map]
    watch: Watch
    dtype: np.dtype[Any]
    n: int
    size: int

    def __post_init__(self) -> None:
        pixels = self.size**2
        self.per_frame = {name: np.zeros(self.n) for name in ("totals", "squares", "peaks", "light", "torn")}
        self.centres = np.zeros((self.n, 2))
        self.bad_in_frame = np.zeros(self.n, dtype=np.int64)
        self.mean, self.mean_square, self.highest = (np.zeros(pixels) for _ in range(3))
        self.lowest = np.full(pixels, np.inf)
        self.zeros, self.top, self.negative, self.broken = (np.zeros(pixels, np.int64) for _ in range(4))
        self.most_negative = 0.0
        self.is_float = self.dtype.kind == "f"
        self.kept = self.weights > 0
        # Most scans need no copy without some of the pixels.
        self.all_kept = bool(self.kept.all())
        self.lit = np.flatnonzero(self.kept & self.light.ravel())
        # Exact for whole numbers; floating point is summed as elsewhere, so that sums agree to the last bit.
        wide = self.is_float or self.dtype.itemsize > 2
        self.sum_as = np.dtype(np.float64 if wide else np.uint32 if self.dtype.kind in "bu" else np.int32)

    def add(self, first: int, block: Block) -> None:
        """Add frames ``first`` and following, ``(b, N, N)``."""
        rows = slice(first, first + len(block))
        flat = block.reshape(len(block), -1)
        high, low = flat.max(axis=0), flat.min(axis=0)
        suspects = self._suspects(high, low)
        if suspects.size:
            flat = self._without_impossible(flat, suspects, rows)
            high[suspects], low[suspects] = (pick(flat[:, suspects], axis=0) for pick in (np.max, np.min))
        flat = self.watch.without_outliers(first, flat, high)
        np.maximum(self.highest, high, out=self.highest)
        np.minimum(self.lowest, low, out=self.lowest)
        self.zeros += len(flat) - np.add.reduce(flat != 0, axis=0, dtype=np.uint32).astype(np.int64)
        self.mean += np.add.reduce(flat, axis=0, dtype=self.sum_as)
        seen = flat if self.all_kept else np.where(self.kept, flat, np.zeros((), dtype=flat.dtype))
        self.per_frame["peaks"][rows] = seen.max(axis=1)
        self.per_frame["light"][rows] = seen[:, self.lit].sum(axis=1, dtype=np.float64)
        frames = seen.reshape(block.shape)
        self._add_moments(rows, frames)
        if self.is_float:
            squares = np.square(flat, dtype=np.float64)
            self.mean_square += np.add.reduce(squares, axis=0)
            self.per_frame["squares"][rows] = squares @ self.kept

    def _add_moments(self, rows: slice, frames: Block) -> None:
        by_y = np.add.reduce(frames, axis=2, dtype=self.sum_as).astype(np.float64)
        by_x = np.add.reduce(frames, axis=1, dtype=self.sum_as).astype(np.float64)
        dark = [(lines == 0) @ usual for lines, usual in zip((by_y, by_x), self.usual, strict=True)]
        self.per_frame["torn"][rows] = np.maximum(*dark)
        totals = frames.sum(axis=(1, 2), dtype=np.float64) if self.is_float else by_y.sum(axis=1)
        self.per_frame["totals"][rows] = totals
        axis = np.arange(self.size)
        with np.errstate(divide="ignore", invalid="ignore"):
            centre = np.stack([by_y @ axis, by_x @ axis], axis=1) / totals[:, None]
        self.centres[rows] = np.where(totals[:, None] > 0, centre, (self.size - 1) / 2)

    def _suspects(self, high: Block, low: Block) -> npt.NDArray[np.intp]:
        flags = np.zeros(high.shape, dtype=np.bool_)
        for extreme in (high, low):
            for found in impossible(extreme):
                flags |= found
        return np.flatnonzero(flags)

    def _without_impossible(self, flat: Block, suspects: npt.NDArray[np.intp], rows: slice) -> Block:
        values = flat[:, suspects]
        top, negative, broken = impossible(values)
        for counts, flags in ((self.top, top), (self.negative, negative), (self.broken, broken)):
            counts[suspects] += flags.sum(axis=0)
        if negative.any():
            self.most_negative = min(self.most_negative, float(values[negative].min()))
        flags = top | negative | broken
        self.bad_in_frame[rows] = (flags & self.kept[suspects]).sum(axis=1)
        flat = flat.copy()
        flat[:, suspects] = np.where(flags, np.zeros((), dtype=values.dtype), values)
        return flat

    def result(self, sample: Map) -> FrameStatistics:
        """All of it."""
        shape = (self.size, self.size)
        totals, light = self.per_frame["totals"], self.per_frame["light"]
        return FrameStatistics(
            dtype=self.dtype,
            left_out=~self.kept.reshape(shape),
            totals=totals,
            squares=self.per_frame["squares"],
            peaks=self.per_frame["peaks"],
            centres=self.centres,
            shares=np.divide(light, totals, out=np.zeros(self.n), where=totals > 0),
            mean=(self.mean / self.n).reshape(shape),
            mean_square=(self.mean_square / self.n).reshape(shape),
            highest=self.highest.reshape(shape),
            lowest=self.lowest.reshape(shape),
            n_zeros=self.zeros.reshape(shape),
            n_top=self.top.reshape(shape),
            n_negative=self.negative.reshape(shape),
            n_broken=self.broken.reshape(shape),
            top=_SENTINELS[0] if self.is_float else _top_of(self.dtype),
            most_negative=self.most_negative,
            impossible_in_frame=self.bad_in_frame,
            sample=sample,
            torn=self.per_frame["torn"],
            outliers=self.watch.found(),
            lit_area=len(self.lit) / max(1, int(np.count_nonzero(self.kept))),
        )


def _sample(frames: Stored) -> Map:
    n, pixels = frames.shape[0], frames.shape[1] * frames.shape[2]
    count = min(n, _SAMPLE_FRAMES, max(_LEAST_SAMPLE, _SAMPLE_VALUES // pixels))
    rows = np.unique(np.linspace(0, n - 1, count).astype(np.int64))
    values = np.asarray(frames[rows])
    flags = np.logical_or.reduce(impossible(values))
    return np.where(flags, 0, values).astype(np.float64)


def _stuck(sample: Map) -> Mask:
    """Pixels of a sample that never change though others do, or stand alone above all around them."""
    changes = np.ptp(sample, axis=0) > 0
    lit = sample.max(axis=0) > 0
    stuck = np.zeros(changes.shape, dtype=np.bool_)
    step = smallest_step(sample)
    # Block without noise may repeat each other: then nothing can be told from what does not change.
    if len(sample) >= _LEAST_SAMPLE and np.count_nonzero(changes) > 0.5 * np.count_nonzero(lit):
        stuck = lit & ~changes & (sample[0] >= 16 * step)
    if len(sample) < _LEAST_SAMPLE:
        return stuck | spikes(sample.mean(axis=0) / step, n_frames=len(sample))
    # One hit of a frame makes no stuck pixel.
    usual = (sample.sum(axis=0) - sample.max(axis=0)) / (len(sample) - 1)
    return stuck | spikes(usual / step, n_frames=len(sample) - 1)


def _lines(sample: Map, left_out: Mask) -> tuple[Map, Map]:
    """Part of the light of a sample in each row and in each column that has more than most, (N,) both."""
    seen = np.where(left_out, 0, sample)
    usual = [np.median(seen.sum(axis=axis), axis=0) for axis in (2, 1)]
    rows, columns = (lines / max(float(lines.sum()), 1e-30) for lines in usual)
    return np.where(rows >= 1 / len(rows), rows, 0), np.where(columns >= 1 / len(columns), columns, 0)


def _lit(sample: Map, left_out: Mask) -> Mask:
    """The fewest pixels that hold most of the light of a sample; without the largest value of each pixel."""
    quiet = sample.sum(axis=0) - (sample.max(axis=0) if len(sample) > _LEAST_SAMPLE else 0)
    quiet = np.where(left_out, 0, quiet)
    order = np.argsort(quiet, axis=None)[::-1]
    reached = np.cumsum(quiet.ravel()[order])
    light = np.zeros(quiet.size, dtype=np.bool_)
    light[order[: int(np.searchsorted(reached, _LIGHT_SHARE * reached[-1])) + 1]] = reached[-1] > 0
    return light.reshape(quiet.shape)


def frame_statistics(
    frames: Stored,
    *,
    unmeasured: Mask | None = None,
    progress: Progress | None = None,
    speckles_are_wide: bool = True,
) -> FrameStatistics:
    """Go through the frames once, in pieces.

    Parameters
    ----------
    frames
        (n, N, N), real dtype, indexed along its first axis: an array, or frames that stay in a file.
    unmeasured
        (N, N) bool; True: not measured.
    progress
        Called with frames done and frames in all.
    speckles_are_wide
        Whether light is slow from pixel to pixel, so that what stands alone is none.
    """
    n, size = frames.shape[0], frames.shape[1]
    sample = _sample(frames)
    left_out = _stuck(sample)
    if unmeasured is not None:
        left_out |= unmeasured
    if left_out.all():
        left_out = np.zeros_like(left_out) if unmeasured is None else unmeasured
    weights = (~left_out).astype(np.float64).ravel()
    watch = Watch.over(sample, left_out, whole=frames.dtype.kind != "f", wide=speckles_are_wide)
    sums = _Sums(weights, _lit(sample, left_out), _lines(sample, left_out), watch, frames.dtype, n, size)
    read = max(1, _READ_VALUES // size**2)
    step = max(1, _BLOCK_VALUES // size**2)
    for start in range(0, n, read):
        piece = np.asarray(frames[start : start + read])
        for first in range(0, len(piece), step):
            sums.add(start + first, piece[first : first + step])
        if progress is not None:
            progress(min(start + read, n), n)
    return sums.result(sample)
