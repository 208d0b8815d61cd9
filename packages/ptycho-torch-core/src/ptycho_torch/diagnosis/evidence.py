"""Everything that diagnoses look at, in counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.diagnosis.spikes import smallest_step
from ptycho_torch.diagnosis.statistics import FrameStatistics

__all__ = ["Evidence", "diameter_of", "far_field", "in_counts", "speckles_are_wide"]

Map = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


_SMALL_PROBE = 0.45


def far_field(probe: npt.NDArray[Any]) -> Map:
    """Intensity of the modes of a probe (P, N, N) on the detector, (N, N), its sum one."""
    field = np.fft.fft2(np.fft.ifftshift(probe.astype(np.complex128), axes=(-2, -1)))
    light: Map = np.fft.fftshift((np.abs(field) ** 2).sum(axis=0))
    return light / light.sum()


def diameter_of(probe: npt.NDArray[Any]) -> float:
    """Of a disk with the participation area of a probe (P, N, N); px."""
    light = (np.abs(probe).astype(np.float64) ** 2).sum(axis=0)
    light /= light.max()
    return float(2 * np.sqrt(light.sum() ** 2 / (light**2).sum() / np.pi))


def speckles_are_wide(probe: npt.NDArray[Any]) -> bool:
    """Whether a probe (P, N, N) is small enough for light to be slow from pixel to pixel of the detector."""
    return diameter_of(probe) <= _SMALL_PROBE * probe.shape[-1]


def in_counts(frames: FrameStatistics, *, amplitudes: bool) -> FrameStatistics:
    """Statistics of the squares of the values where those are amplitudes."""
    if not amplitudes:
        return frames
    return replace(
        frames,
        totals=frames.squares,
        peaks=frames.peaks**2,
        mean=frames.mean_square,
        highest=frames.highest**2,
        lowest=frames.lowest**2,
        top=frames.top**2,
        sample=frames.sample**2,
        outliers=replace(frames.outliers, values=frames.outliers.values**2),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """A scan, its frames summed up.

    Attributes
    ----------
    frames
        What one pass over the frames gathered; counts.
    positions
        (n, 2) float64 ``[y, x]``; px.
    probe
        (P, N, N) complex.
    unmeasured
        (N, N) bool: the mask that came with the scan; None: none.
    per_count
        Value of one count: frames that were divided by something hold no whole numbers.
    whole
        Whether the values are whole numbers of counts, or roots of such.
    stated_ceiling
        Largest value that the detector counts to, where the file says so; counts.
    """

    frames: FrameStatistics
    positions: npt.NDArray[np.float64]
    probe: npt.NDArray[Any]
    unmeasured: Mask | None = None
    per_count: float = 1.0
    whole: bool = True
    stated_ceiling: float | None = None
    scan_index: npt.NDArray[np.int64] | None = None

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.frames.n_frames

    @property
    def size(self) -> int:
        """Edge of a frame; px."""
        return self.frames.size

    @property
    def stated(self) -> Mask:
        """The mask that came with the scan, all False where there is none."""
        if self.unmeasured is None:
            return np.zeros((self.size, self.size), dtype=np.bool_)
        return self.unmeasured

    @cached_property
    def step(self) -> float:
        """Smallest step between values, in the unit of the frames: a photon may be several of them."""
        seen = self.frames.sample[:, ~self.frames.left_out]
        return smallest_step(seen / self.per_count) * self.per_count

    @cached_property
    def sums(self) -> Map:
        """(N, N) photons of every pixel over all frames."""
        return self.frames.mean * self.n_frames / self.step

    @cached_property
    def far_field(self) -> Map:
        """Light of the bare probe on the detector, (N, N), its sum one."""
        return far_field(self.probe)

    @cached_property
    def diameter(self) -> float:
        """Of a disk with the participation area of the probe; px."""
        return diameter_of(self.probe)

    def near(self, values: Map, n_neighbours: int = 6) -> Map:
        """Median of ``values`` (n,) over the frames that lie nearest to each in the sample, (n,)."""
        from scipy.spatial import cKDTree

        k = min(n_neighbours + 1, self.n_frames)
        _, rows = cKDTree(self.positions).query(self.positions, k=k)
        others: Map = (
            np.median(values[np.reshape(rows, (self.n_frames, k))[:, 1:]], axis=1) if k > 1 else values
        )
        return others

    @cached_property
    def repeats_itself(self) -> bool:
        """Whether many frames are the same, as those of an empty scan without noise."""
        frames = self.frames
        lit = frames.highest > 0
        changes = (frames.highest > frames.lowest) & lit
        marks = np.column_stack([frames.totals, frames.centres])
        same = len(np.unique(marks, axis=0)) < 0.95 * self.n_frames
        return same or int(np.count_nonzero(changes)) < 0.5 * int(np.count_nonzero(lit))

    @cached_property
    def is_noisy(self) -> bool:
        """Whether frames differ as counting makes them: nothing can be told from ties in frames without
        noise.
        """
        if self.repeats_itself:
            return False
        sample = self.frames.sample / self.step
        mean, variance = sample.mean(axis=0), sample.var(axis=0)
        lit = (mean >= 10) & (sample.max(axis=0) < sample.max()) & (variance > 0)
        return bool(np.count_nonzero(lit & (variance < 0.25 * mean)) <= 0.05 * np.count_nonzero(lit))

    @cached_property
    def speckles_are_wide(self) -> bool:
        """Whether the probe is small enough for light to be slow from pixel to pixel of the detector."""
        return speckles_are_wide(self.probe)

    @cached_property
    def typical_total(self) -> float:
        """Median light of a frame; counts."""
        return float(np.median(self.frames.totals)) / self.per_count
