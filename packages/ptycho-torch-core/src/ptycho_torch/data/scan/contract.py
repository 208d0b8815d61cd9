"""The scan: what the program holds in memory after a file was read, converted and found sound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.lazy import Frames, FrameStack, scaled_frames, take_frames
from ptycho_torch.diagnosis.finding import Finding
from ptycho_torch.diagnosis.statistics import FrameStatistics
from ptycho_torch.errors import ShapeError

__all__ = ["OBJECT_IS_GUESS", "Domain", "DomainDecision", "Scan", "frame_chunks"]

Domain = Literal["amplitude", "counts"]

_CHUNK_VALUES = 1 << 24

OBJECT_IS_GUESS = "object_is_guess"
"""Metadata entry: the object beside the frames is what somebody has so far, and no truth to compare with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainDecision:
    """What the numbers in the source were, and how that is known.

    Attributes
    ----------
    domain
        ``"counts"`` or ``"amplitude"`` (square root of counts), as stored in the source.
    stated
        True when the caller or the file said so, False when it was decided from the values.
    reason
        One sentence for a log.
    is_whole
        Whether the values are whole counts, or roots of such.
    is_guess
        Whether nothing decided, so that the usual meaning was taken.
    """

    domain: Domain
    stated: bool
    reason: str
    is_whole: bool = field(default=True, compare=False)
    is_guess: bool = field(default=False, compare=False)


def _left_out() -> Any:
    """Default of a field that `Scan` fills from the others, so that its type is never None for a reader."""
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """One ptychographic scan in the program's conventions.

    Positions are ``[y, x]`` (row, column) in object pixels and name the centre of a patch: pixel ``(r, c)``
    of the patch at ``(y, x)`` lies at object coordinate ``(y - N // 2 + r, x - N // 2 + c)``.

    Attributes
    ----------
    diffraction
        (n, N, N) float32 or an integer dtype; counts, zero frequency at ``[N // 2, N // 2]``, zero at bad
        pixels. An array, or for scans of HDF5 files a `ptycho_torch.data.scan.lazy.FrameStack`, which is
        indexed along its first axis like one and reads its file when it is.
    positions
        (n, 2) float64 ``[y, x]``; px.
    probe
        (P, N, N) complex64; incoherent modes, scale as in the source.
    object_truth
        (H, W) complex64 or None; known object.
    object_truth_origin
        (2,) float64 ``[y, x]``; px. Index into ``object_truth`` = coordinate + origin. Zeros when left out.
    scan_index
        (n,) int64; which scan a frame belongs to. Zeros when left out.
    frame_index
        (n,) int64; number of the frame in the measurement, by which formats with two files pair frames and
        positions. 0 to n - 1 when left out.
    bad_pixels
        (N, N) bool or None; True: not measured.
    ceiling
        (N, N) float64 or None; counts from which on a value of a pixel was not measured, whatever frame it
        is in: hits of cosmic rays, full counters. Infinity where there is no such count.
    positions_nominal
        (n, 2) float64 ``[y, x]``; px. Positions as commanded; equal to ``positions`` when left out.
    labels
        (n, N, N) complex64 or None; object patches for supervised training.
    domain
        What the source held. ``diffraction`` is counts whatever it says.
    metadata
        Entries that came with the source.
    source
        File the scan was read from, or None.
    findings
        What `ptycho_torch.diagnosis` says of the source: everything that was looked for, found or not.
    statistics
        What the frames hold taken together, in counts; None where it is not known.

    Raises
    ------
    ShapeError
        Shapes do not fit each other.
    """

    diffraction: Frames = field(repr=False)
    positions: npt.NDArray[np.float64] = field(repr=False)
    probe: npt.NDArray[np.complex64] = field(repr=False)
    object_truth: npt.NDArray[np.complex64] | None = field(default=None, repr=False)
    object_truth_origin: npt.NDArray[np.float64] = field(default_factory=_left_out, repr=False)
    scan_index: npt.NDArray[np.int64] = field(default_factory=_left_out, repr=False)
    frame_index: npt.NDArray[np.int64] = field(default_factory=_left_out, repr=False)
    bad_pixels: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    ceiling: npt.NDArray[np.float64] | None = field(default=None, repr=False)
    positions_nominal: npt.NDArray[np.float64] = field(default_factory=_left_out, repr=False)
    labels: npt.NDArray[np.complex64] | None = field(default=None, repr=False)
    domain: DomainDecision = DomainDecision(domain="counts", stated=True, reason="built in memory as counts")
    metadata: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None
    findings: tuple[Finding, ...] = field(default=(), repr=False)
    statistics: FrameStatistics | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        frames = self.diffraction
        if frames.ndim != 3 or frames.shape[1] != frames.shape[2] or 0 in frames.shape:
            raise ShapeError("diffraction", "(frames, N, N)", frames.shape)
        n, size = frames.shape[:2]
        if self.object_truth_origin is None:
            object.__setattr__(self, "object_truth_origin", np.zeros(2))
        if self.scan_index is None:
            object.__setattr__(self, "scan_index", np.zeros(n, dtype=np.int64))
        if self.frame_index is None:
            object.__setattr__(self, "frame_index", np.arange(n))
        if self.positions_nominal is None:
            object.__setattr__(self, "positions_nominal", self.positions.copy())
        if self.probe.ndim != 3 or self.probe.shape[1:] != (size, size):
            hint = "add a leading mode axis with probe[None]" if self.probe.ndim == 2 else ""
            raise ShapeError("probe", f"(modes, {size}, {size})", self.probe.shape, hint)
        if self.object_truth is not None and self.object_truth.ndim != 2:
            raise ShapeError("object_truth", "(height, width)", self.object_truth.shape)
        required = {
            "positions": (n, 2),
            "positions_nominal": (n, 2),
            "scan_index": (n,),
            "frame_index": (n,),
            "object_truth_origin": (2,),
            "bad_pixels": (size, size),
            "ceiling": (size, size),
            "labels": (n, size, size),
        }
        for name, shape in required.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ShapeError(name, shape, value.shape, f"diffraction holds {n} frames of {size} x {size}")

    @property
    def n_frames(self) -> int:
        """Number of frames, n."""
        return int(self.diffraction.shape[0])

    @property
    def n_left_out(self) -> int:
        """Frames of the source that were found to be no measurement, and are not among these."""
        remedies = (finding.remedy for finding in self.findings if finding.remedy is not None)
        drops = [remedy.drop for remedy in remedies if remedy.drop is not None]
        return int(np.count_nonzero(np.logical_or.reduce(drops))) if drops else 0

    @property
    def N(self) -> int:
        """Edge of a frame and of a patch; px."""
        return int(self.diffraction.shape[1])

    @property
    def n_modes(self) -> int:
        """Number of incoherent probe modes, P."""
        return int(self.probe.shape[0])

    def measured(self, frames: npt.NDArray[Any] | None = None) -> npt.NDArray[np.bool_]:
        """Where the detector measured.

        Parameters
        ----------
        frames
            (k, N, N), some frames of this scan; None: what holds for every frame.

        Returns
        -------
        ndarray
            (N, N) bool, or (k, N, N) where it differs from frame to frame.
        """
        free = np.ones((self.N, self.N), np.bool_) if self.bad_pixels is None else ~self.bad_pixels
        if frames is None or self.ceiling is None:
            return free
        return np.asarray(free & (frames < self.ceiling))

    def counts_per_frame(self) -> npt.NDArray[np.float64]:
        """Total counts of each frame, of a pixel at most its ceiling: (n,) float64, in double precision."""
        frames = self.diffraction
        if isinstance(frames, FrameStack) and (self.ceiling is None or frames.knows_totals):
            return frames.totals()
        totals = np.concatenate([self._totals(frames[part]) for part in frame_chunks(frames)])
        if isinstance(frames, FrameStack):
            frames.remember_totals(totals)
        return totals

    def _totals(self, block: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        if self.ceiling is not None:
            block = np.minimum(block, self.ceiling)
        return np.asarray(block.sum(axis=(1, 2), dtype=np.float64))

    def take(self, indices: npt.ArrayLike) -> Scan:
        """Scan of the frames at ``indices`` (integers or a boolean mask), everything else unchanged.

        Raises
        ------
        ShapeError
            No frame is left, or ``indices`` is not one-dimensional.
        """
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or not wanted.size or (wanted.dtype == np.bool_ and not wanted.any()):
            raise ShapeError("indices", "one axis with at least one frame", wanted.shape)
        chosen = np.arange(self.n_frames)[wanted]
        return replace(
            self,
            diffraction=take_frames(self.diffraction, chosen),
            positions=self.positions[chosen],
            positions_nominal=self.positions_nominal[chosen],
            scan_index=self.scan_index[chosen],
            frame_index=self.frame_index[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            statistics=None,
        )

    def scaled(self, factor: float) -> Scan:
        """Scan whose counts are ``factor`` times as many, as float32; everything else unchanged."""
        return replace(
            self,
            diffraction=scaled_frames(self.diffraction, factor),
            ceiling=None if self.ceiling is None else self.ceiling * factor,
            statistics=None,
        )


def frame_chunks(frames: Frames) -> list[slice]:
    """Slices over the first axis whose working copies stay small beside a large scan.

    Parameters
    ----------
    frames
        (n, N, N), any dtype.

    Returns
    -------
    list of slice
        They cover all frames in order; at most 2**24 values each, at least one frame.
    """
    per_chunk = max(1, _CHUNK_VALUES // max(1, math.prod(frames.shape[1:])))
    return [slice(start, start + per_chunk) for start in range(0, frames.shape[0], per_chunk)]
