"""The scan of what has come: as it will be reconstructed at the end, and as the engines see it meanwhile."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.domain import to_counts
from ptycho_torch.data.scan.lazy import Frames
from ptycho_torch.data.scan.memory import scan_of
from ptycho_torch.data.scan.orientation import frame_orientation, turn_frames
from ptycho_torch.data.scan.probe_guess import mean_frame, probe_of_mean_frame
from ptycho_torch.diagnosis.finding import Finding
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import DataError, fault
from ptycho_torch.live.arrivals import Arrivals, Numbers
from ptycho_torch.live.frame_store import StoredFrames
from ptycho_torch.live.measurement import Measurement, near

__all__ = ["Look", "raw_scan"]


def raw_scan(arrivals: Arrivals, known: Measurement) -> Scan:
    """All frames that have a position, by their numbers, as a file would hold them.

    Which frames came, and nothing about how they came, decides what it holds.

    Raises
    ------
    DataError
        No frame has a position.
    MissingMetadata
        Positions in metres cannot be turned to pixels.
    """
    numbers = np.sort(arrivals.joined())
    if not len(numbers) or arrivals.N is None:
        said = f"no frame has a position; {arrivals.counters(ended=True).sentence()}"
        raise DataError(fault("frames", said))
    positions = known.in_pixels(arrivals.positions(numbers), arrivals.N)
    kept = near(positions, arrivals.N)
    numbers, positions = numbers[kept], positions[kept]
    frames = arrivals.frames(numbers)
    mask = known.mask_of(arrivals.window, arrivals.N)
    return Scan(
        diffraction=frames,
        positions=positions,
        probe=_probe(frames, mask, known),
        frame_index=numbers,
        bad_pixels=mask,
        metadata=dict(known.metadata),
    )


def _probe(
    frames: Frames, mask: npt.NDArray[np.bool_] | None, known: Measurement
) -> npt.NDArray[np.complex64]:
    if known.probe is not None:
        return known.probe
    mean = mean_frame(frames, mask)
    if not mean.any():
        raise DataError(fault("frames", "no light in any frame, and no probe was given"))
    return probe_of_mean_frame(mean)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was found when all frames that had come were looked through.

    Between two looks, frames are taken as the last one found them: with its mask, its probe, its positions.

    Attributes
    ----------
    scan
        The frames that are used, in the order in which they were joined, turned as the engines want them.
    n_seen
        How many joined frames were looked at.
    left_out
        Numbers of those that are no measurement.
    findings
        What was found wrong.
    frames
        The frames of ``scan`` as they came.
    """

    scan: Scan
    frames: StoredFrames
    n_seen: int
    left_out: frozenset[int]
    findings: tuple[Finding, ...]

    @classmethod
    def at(cls, arrivals: Arrivals, known: Measurement, clean: Collection[str] = CLEANING) -> Look:
        """Look through everything that is joined.

        Raises
        ------
        DataError
            There is nothing, or nothing that is a measurement.
        MissingMetadata
            As for `raw_scan`.
        """
        joined = arrivals.joined()
        whole = raw_scan(arrivals, known)
        here = joined[np.isin(joined, whole.frame_index)]
        mask = whole.bad_pixels
        turned = Scan(
            diffraction=_turned(arrivals.frames(here), known),
            positions=_places(arrivals, known, here),
            frame_index=here,
            probe=whole.probe,
            bad_pixels=None if mask is None else np.asarray(_turned(mask[None], known)[0]),
            metadata=whole.metadata,
        )
        checked = scan_of(turned, clean=clean)
        kept = frozenset(checked.frame_index.tolist())
        return cls(
            scan=checked,
            frames=arrivals.frames(checked.frame_index),
            n_seen=len(joined),
            left_out=frozenset(joined.tolist()) - kept,
            findings=tuple(finding for finding in checked.findings if finding.found),
        )

    def with_more(self, arrivals: Arrivals, known: Measurement) -> tuple[Look, int]:
        """This look with the frames that were joined since, and how many these are."""
        fresh = arrivals.joined(self.n_seen)
        if not len(fresh):
            return self, 0
        N, before = self.scan.N, self.scan.n_frames
        positions = np.concatenate([self.scan.positions, _places(arrivals, known, fresh)])
        used = near(positions, N)[before:]
        left = self.left_out | set(fresh[~used].tolist())
        seen = replace(self, n_seen=self.n_seen + len(fresh), left_out=frozenset(left))
        if not used.any():
            return seen, 0
        frames = self.frames.followed_by(arrivals.frames(fresh[used]))
        scan = Scan(
            diffraction=to_counts(_turned(frames, known), "counts", bad_pixels=self.scan.bad_pixels),
            positions=positions[np.concatenate([np.ones(before, dtype=np.bool_), used])],
            frame_index=np.concatenate([self.scan.frame_index, fresh[used]]),
            probe=self.scan.probe,
            bad_pixels=self.scan.bad_pixels,
            metadata=self.scan.metadata,
        )
        return replace(seen, scan=scan, frames=frames), int(used.sum())


def _places(arrivals: Arrivals, known: Measurement, numbers: Numbers) -> npt.NDArray[np.float64]:
    """Positions of the engines, which turn about coordinate zero."""
    assert arrivals.N is not None
    return known.turned(known.in_pixels(arrivals.positions(numbers), arrivals.N))


def _turned(frames: Frames, known: Measurement) -> Frames:
    return turn_frames(frames, frame_orientation(known.orientation))
