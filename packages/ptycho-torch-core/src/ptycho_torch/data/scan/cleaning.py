"""Look through frames and positions as they are stored, and leave out what is no measurement.

What is found, and what is done about it, is in `ptycho_torch.diagnosis`; here it is asked in the right
order, and applied: pixels to the mask, frames with their positions out of the scan.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import Domain, DomainDecision
from ptycho_torch.data.scan.crop import crop_fourier
from ptycho_torch.data.scan.domain import decide_domain
from ptycho_torch.data.scan.lazy import Frames, take_frames
from ptycho_torch.data.scan.magnitudes import too_faint
from ptycho_torch.diagnosis.domain import Witness, hear_witnesses, unit_of
from ptycho_torch.diagnosis.evidence import Evidence, far_field, in_counts, speckles_are_wide
from ptycho_torch.diagnosis.finding import JUST_BELOW, Finding, Remedy, numbered
from ptycho_torch.diagnosis.statistics import FrameStatistics, frame_statistics
from ptycho_torch.diagnosis.table import DIAGNOSES, examine
from ptycho_torch.errors import DataError, Fault, fault

__all__ = ["Cleaned", "clean_frames"]

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.float64]

DOMAIN = "domain"
"""Name of the finding about counts and amplitudes."""

UNREAD = "unread"
"""Name of the finding about positions that are no numbers."""

UNWRITTEN = "unwritten"
"""Name of the finding about frames that are not in the file."""

_LEAST_READ = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Cleaned:
    """A scan looked through.

    Attributes
    ----------
    rows
        int64: frames to keep, ascending.
    bad_pixels
        (N, N) bool: those that came with the scan and those found; None: none.
    ceiling
        (N, N) float64: counts from which on a value was not measured; None: none of any pixel.
    clip
        Whether negative values are to count as zero.
    findings
        Of every diagnosis; those applied and those that found nothing too.
    statistics
        What the frames that are kept hold, in counts, seen through the mask where ``is_final``.
    is_final
        Whether the numbers per frame among the statistics are those of the measured pixels.
    is_refused
        Whether something is left that no scan may hold: values that are no counts, frames without any.
    is_dark
        Whether no value with light is below the ceiling of its pixel.
    decision
        Measurement domain.
    """

    rows: npt.NDArray[np.int64]
    bad_pixels: Mask | None
    ceiling: npt.NDArray[np.float64] | None
    clip: bool
    findings: tuple[Finding, ...]
    statistics: FrameStatistics
    is_final: bool
    is_refused: bool
    is_dark: bool
    decision: DomainDecision

    def why_too_faint(self, name: str) -> list[Fault]:
        """The problem of frames, by this name, whose largest count is none; empty where it is one."""
        said = too_faint(float(self.statistics.highest.max(initial=0.0)))
        return [] if said is None else [fault(name, said)]


def clean_frames(
    frames: Frames,
    *,
    positions: Positions,
    probe: npt.NDArray[Any],
    unmeasured: Mask | None,
    requested: str,
    in_file: str | None,
    in_layout: Domain | None,
    clean: Collection[str],
    ceiling: float | None = None,
    ceilings: npt.NDArray[np.float64] | None = None,
    progress: Progress | None = None,
) -> Cleaned:
    """Examine a scan and apply the remedies that are wanted.

    Parameters
    ----------
    frames
        (n, N, N) as stored.
    positions
        (n, 2) ``[y, x]``; px. NaN where they were not read.
    probe
        (P, M, M) complex; M is not N where frames were cropped from M, or a probe made for other frames.
    unmeasured
        (N, N) bool: mask that came with the scan.
    requested, in_file, in_layout
        As for `ptycho_torch.data.scan.domain.decide_domain`.
    clean
        Names of the diagnoses whose remedies are applied.
    ceiling
        Largest value that the detector counts to, where it is known.
    ceilings
        (N, N) float64: counts from which on values were not measured, as they came with the scan; None: none.
    progress
        Called with frames done and frames in all.

    Raises
    ------
    DataError
        The measurement domain cannot be what is stated, or most positions are no numbers.
    """
    n, size = frames.shape[0], frames.shape[1]
    if probe.shape[-1] > size:
        # The probe is that of the frames before they were cropped, and so are the pixels of the positions.
        positions, probe = positions * (size / probe.shape[-1]), crop_fourier(probe, size)
    elif probe.shape[-1] < size:
        probe = np.ones((1, size, size), dtype=np.complex64)
    read, written = _read(positions), _written(frames)
    rows = np.flatnonzero((read | (UNREAD not in clean)) & (written | (UNWRITTEN not in clean)))
    if not rows.size:
        said = "no frame that was written has a position that was read; look for those of one scan"
        raise DataError(fault("diff3d", said))
    stored = frames if len(rows) == n else take_frames(frames, rows)
    wide = speckles_are_wide(probe)
    seen = frame_statistics(stored, unmeasured=unmeasured, progress=progress, speckles_are_wide=wide)
    faulty = _not_to_be_looked_at(seen, unmeasured)
    decision = decide_domain(
        stored,
        requested=requested,
        in_file=in_file,
        in_layout=in_layout,
        bad_pixels=faulty,
        hear=lambda: _heard(seen, probe, faulty),
    )

    def look(statistics: FrameStatistics, chosen: npt.NDArray[np.int64]) -> Evidence:
        counts = in_counts(statistics, amplitudes=decision.domain == "amplitude")
        return Evidence(
            frames=counts,
            positions=np.nan_to_num(positions[chosen]),
            probe=probe,
            unmeasured=unmeasured,
            per_count=1.0 if decision.is_whole else _value_of_a_count(counts),
            whole=decision.is_whole,
            stated_ceiling=ceiling,
        )

    evidence = look(seen, rows)
    found = list(examine(evidence))
    drop = _dropped(found, clean, len(rows))
    if drop.any():
        # What is left out may have hidden, or made up, what there is to say about the rest.
        told = [
            _among_all(finding, rows, n)
            for finding in found
            if finding.name in clean and finding.remedy is not None and finding.remedy.drop is not None
        ]
        names = {finding.name for finding in told}
        rows = rows[~drop]
        seen = frame_statistics(take_frames(frames, rows), unmeasured=unmeasured, speckles_are_wide=wide)
        evidence = look(seen, rows)
        found = [*told, *examine(evidence, [entry for entry in DIAGNOSES if entry.name not in names])]
    told = [_domain(decision), _unread(read), _unwritten(written), *found]
    return _told(told, clean, (unmeasured, ceilings), rows, evidence.frames, decision)


def _told(
    found: list[Finding],
    clean: Collection[str],
    stated: tuple[Mask | None, npt.NDArray[np.float64] | None],
    rows: npt.NDArray[np.int64],
    seen: FrameStatistics,
    decision: DomainDecision,
) -> Cleaned:
    """What comes of the findings: mask and ceilings, and each finding with what was done about it."""
    unmeasured, known = stated
    mask = _mask(found, clean, unmeasured)
    ceiling, clip = _ceiling(found, clean, known), _clips(found, clean)
    refused = seen.n_broken + (0 if clip else seen.n_negative) > 0
    hidden = np.zeros_like(seen.left_out) if mask is None else mask
    # Numbers per frame hold where the pixels that they leave out, or hold, are those of the mask.
    wrong = (hidden != seen.left_out) & (seen.mean > 0)
    order = [DOMAIN, UNREAD, UNWRITTEN, *(entry.name for entry in DIAGNOSES)]
    findings = [_as_done(_unless_known(finding, known), clean, mask is unmeasured) for finding in found]
    return Cleaned(
        rows=rows,
        bad_pixels=mask,
        ceiling=ceiling,
        clip=clip,
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.name))),
        statistics=_through(seen, hidden),
        is_final=not wrong.any() and ceiling is None and not len(seen.outliers),
        is_dark=ceiling is not None and _is_dark(seen.sample, ceiling, hidden),
        is_refused=bool((refused & ~hidden).any() or (seen.totals <= 0).any()),
        decision=decision,
    )


def _is_dark(sample: npt.NDArray[np.float64], ceiling: npt.NDArray[np.float64], hidden: Mask) -> bool:
    lit = (sample > 0) & ~hidden
    return bool(lit.any() and not (lit & (sample < ceiling)).any())


def _heard(seen: FrameStatistics, probe: npt.NDArray[Any], faulty: Mask | None) -> list[Witness]:
    return hear_witnesses(
        sample=seen.sample,
        mean=seen.mean,
        mean_square=seen.mean_square,
        own=far_field(probe),
        free=np.ones_like(seen.left_out) if faulty is None else ~faulty,
    )


def _value_of_a_count(counts: FrameStatistics) -> float:
    sample = np.where(counts.left_out, 0, counts.sample)
    positive = sample[sample > 0]
    return unit_of(sample) or (float(positive.min()) if positive.size else 1.0)


def _domain(decision: DomainDecision) -> Finding:
    if not decision.is_guess:
        return Finding(name=DOMAIN, found=False, text=f"the values are {decision.domain}: {decision.reason}")
    return Finding(
        name=DOMAIN,
        found=True,
        severity="warning",
        text=f"the values are taken as amplitudes, which is a guess: {decision.reason}",
        advice="state measurement_domain",
    )


def _unread(read: Mask) -> Finding:
    if read.all():
        return Finding(name=UNREAD, found=False, text="every position is a number")
    count = int((~read).sum())
    return Finding(
        name=UNREAD,
        found=True,
        severity="warning",
        text=f"{count} of {read.size} positions are NaN or infinity (numbers {numbered(~read)})",
        advice="their frames are left out",
        numbers={"positions": np.flatnonzero(~read).tolist()},
        remedy=Remedy(drop=~read),
    )


def _read(positions: Positions) -> Mask:
    read: Mask = np.asarray(np.isfinite(positions).all(axis=1))
    if np.count_nonzero(read) < _LEAST_READ * len(read):
        said = f"most positions are not finite: {numbered(~read)}; look for them in the log of the scan"
        raise DataError(fault("xcoords, ycoords", said))
    return read


def _written(frames: Frames) -> Mask:
    lacks = getattr(frames, "unwritten", None)
    return np.ones(frames.shape[0], dtype=np.bool_) if lacks is None else ~np.asarray(lacks)


def _unwritten(written: Mask) -> Finding:
    if written.all():
        return Finding(name=UNWRITTEN, found=False, text="the values of every frame are there")
    count = int((~written).sum())
    return Finding(
        name=UNWRITTEN,
        found=True,
        severity="warning",
        text=(
            f"{count} of {written.size} frames were never written, or a virtual dataset maps nothing to them "
            f"(numbers {numbered(~written)}): the file gives a fill value for them"
        ),
        advice="they are left out, with their positions",
        numbers={"frames": np.flatnonzero(~written).tolist()},
        remedy=Remedy(drop=~written),
    )


def _not_to_be_looked_at(seen: FrameStatistics, unmeasured: Mask | None) -> Mask | None:
    """Pixels that say nothing about the domain of the others."""
    faulty = (seen.n_top + seen.n_negative + seen.n_broken > 0) | seen.left_out
    if unmeasured is not None:
        faulty |= unmeasured
    return faulty if faulty.any() and not faulty.all() else unmeasured


def _as_done(finding: Finding, clean: Collection[str], masks_nothing: bool) -> Finding:
    """A finding that says what was done: nothing, where its remedy was not wanted."""
    remedy = finding.remedy
    if remedy is None or (finding.name in clean and not (masks_nothing and remedy.bad_pixels is not None)):
        return finding
    return replace(finding, remedy=None, advice="nothing was done about it")


def _unless_known(finding: Finding, known: npt.NDArray[np.float64] | None) -> Finding:
    """A finding about values that came with the scan as not measured, as one that found nothing."""
    ceiling = None if finding.remedy is None else finding.remedy.ceiling
    if ceiling is None or known is None or (known > ceiling / JUST_BELOW**4).any():
        return finding
    return Finding(name=finding.name, found=False, text=f"{finding.text}: the scan calls them not measured")


def _dropped(found: Collection[Finding], clean: Collection[str], n: int) -> Mask:
    drop = np.zeros(n, dtype=np.bool_)
    for finding in found:
        if finding.name in clean and finding.remedy is not None and finding.remedy.drop is not None:
            drop |= finding.remedy.drop
    return drop if not drop.all() else np.zeros(n, dtype=np.bool_)


def _among_all(finding: Finding, rows: npt.NDArray[np.int64], n: int) -> Finding:
    """A finding about some of the frames as one about all of them."""
    if finding.remedy is None or finding.remedy.drop is None or len(rows) == n:
        return finding
    drop = np.zeros(n, dtype=np.bool_)
    drop[rows[finding.remedy.drop]] = True
    return replace(finding, remedy=Remedy(drop=drop))


def _wanted(found: Collection[Finding], clean: Collection[str]) -> list[Remedy]:
    return [finding.remedy for finding in found if finding.name in clean and finding.remedy is not None]


def _ceiling(
    found: Collection[Finding], clean: Collection[str], known: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.float64] | None:
    ceilings = [remedy.ceiling for remedy in _wanted(found, clean) if remedy.ceiling is not None]
    ceilings += [] if known is None else [known]
    return np.minimum.reduce(ceilings) if ceilings else None


def _clips(found: Collection[Finding], clean: Collection[str]) -> bool:
    return any(remedy.clip for remedy in _wanted(found, clean))


def _mask(found: Collection[Finding], clean: Collection[str], unmeasured: Mask | None) -> Mask | None:
    masks = [] if unmeasured is None else [unmeasured]
    # A mask of the other polarity leaves nothing but faults to be seen.
    questioned = any(finding.name == "mask" and finding.found for finding in found)
    for finding in found:
        if finding.name in clean and finding.remedy is not None and finding.remedy.bad_pixels is not None:
            masks += [] if questioned else [finding.remedy.bad_pixels]
    if not masks:
        return None
    mask: Mask = np.logical_or.reduce(masks)
    return unmeasured if mask.all() else mask


def _through(counts: FrameStatistics, hidden: Mask) -> FrameStatistics:
    """Maps without the pixels that are not measured."""
    if not hidden.any():
        return counts

    def seen(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.where(hidden, np.zeros((), dtype=values.dtype), values)

    return replace(
        counts,
        mean=seen(counts.mean),
        highest=seen(counts.highest),
        lowest=seen(counts.lowest),
        n_zeros=seen(counts.n_zeros),
    )
