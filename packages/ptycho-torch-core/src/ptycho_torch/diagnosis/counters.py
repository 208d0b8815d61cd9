"""Counters that came to their end: pixels that stop there, and pixels that start again at zero."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptycho_torch.diagnosis.evidence import Evidence
from ptycho_torch.diagnosis.finding import JUST_BELOW, Diagnosis, Finding, Remedy, where_of

__all__ = ["COUNTER_DIAGNOSES", "at_ceiling", "saturated", "steady", "wrapped"]

Mask = npt.NDArray[np.bool_]

_EDGE = np.ones((3, 3), dtype=np.bool_)
_LEAST_CEILING = 64.0
_LEAST_TIES = 4
_MOST_LIGHT = 0.3
_MOSTLY = 0.5
_MOST_AT_END = 0.1
_STEADY = 0.8
_LEAST_SAMPLE = 16
_LEAST_LIT = 20
_WRAPS = (2.0**8, 2.0**12, 2.0**14, 2.0**16, 2.0**32)


def saturated(evidence: Evidence) -> Finding:
    """Pixels that reached the end of their counter."""
    frames = evidence.frames
    if _ends_by_chance(evidence):
        return Finding(
            name="saturated", found=False, text="values at the end of the counter are no more than below it"
        )
    at_type = (frames.n_top > 0) & (frames.n_top < 0.9 * evidence.n_frames) & ~evidence.stated
    mask = at_type | at_ceiling(evidence)
    if not mask.any():
        return Finding(name="saturated", found=False, text="no pixel reached the end of its counter")
    shared = _ceiling(evidence)
    ceiling = frames.top if shared is None else min(shared, frames.top)
    said = "the largest value of their type" if shared is None else f"{shared:.6g}"
    count, share = int(mask.sum()), float(evidence.far_field[mask].sum())
    text = f"{count} {'pixel stops' if count == 1 else 'pixels stop'} counting at {said} ({where_of(mask)})"
    always = (
        np.where(at_type, frames.n_top / evidence.n_frames, (frames.sample >= ceiling).mean(axis=0)) > _MOSTLY
    )
    lost = float(evidence.far_field[mask & always].sum())
    advice = "such values count as not measured, each in its frame"
    if lost > _MOST_LIGHT:
        advice += (
            f"; {lost:.0%} of the light of the probe falls where most frames have them: attenuate the "
            "beam, or put a "
            "beam stop before the detector"
        )
    return Finding(
        name="saturated",
        found=True,
        severity="warning",
        text=text,
        advice=advice,
        numbers={"n_pixels": count, "ceiling": float(ceiling), "share": share, "share_mostly_lost": lost},
        remedy=Remedy(ceiling=np.full(mask.shape, ceiling * JUST_BELOW)),
        is_mended=lost <= _MOST_LIGHT,
    )


def _ends_by_chance(evidence: Evidence) -> bool:
    """Whether the largest value of the type is no more frequent than those below: counters that go on."""
    frames = evidence.frames
    if frames.dtype.kind not in "iu" or frames.dtype.itemsize > 2:
        return False
    single = (frames.n_top > 0) & (frames.n_top < 0.9 * evidence.n_frames) & ~evidence.stated
    at_end = float(frames.n_top[single].sum()) / evidence.n_frames
    below = float(((frames.sample >= 0.75 * frames.top) & single).sum()) / len(frames.sample)
    return bool(single.any()) and at_end < _MOST_AT_END * below


def at_ceiling(evidence: Evidence) -> Mask:
    ceiling = _ceiling(evidence)
    if ceiling is None:
        return np.zeros((evidence.size, evidence.size), dtype=np.bool_)
    return (evidence.frames.highest >= ceiling) & ~evidence.stated


def _ceiling(evidence: Evidence) -> float | None:
    """The value that the file states, or one that many frames share as their largest though noise would
    not let them.
    """
    if evidence.stated_ceiling is not None:
        return evidence.stated_ceiling
    peaks = evidence.frames.peaks
    top = float(peaks.max(initial=0))
    if top < _LEAST_CEILING or not (evidence.whole and evidence.is_noisy):
        return None
    here = int(np.count_nonzero(peaks == top))
    # How many would be expected there, from the values next to it and from those within its noise.
    widths = (8.0, float(np.sqrt(top)))
    beside = [int(np.count_nonzero((peaks < top) & (peaks >= top - width))) / width for width in widths]
    expected = max(1 / widths[1], *beside)
    if _is_as_frequent(evidence.frames.sample, top):
        return None
    return top if here >= max(_LEAST_TIES, 10 * expected) else None


def _is_as_frequent(sample: npt.NDArray[np.float64], top: float) -> bool:
    """Whether values just below the largest are as frequent as that one, as where a counter starts again."""
    beside = np.count_nonzero((sample < top) & (sample >= top - 8)) / 8
    return bool(beside >= 1 and np.count_nonzero(sample == top) < 3 * beside)


def wrapped(evidence: Evidence) -> Finding:
    """Counters that started again at zero: values near none amid values near the largest."""
    from scipy import ndimage

    name, fine = "wrapped", "no counter started again at zero"
    frames = evidence.frames
    top = float(frames.highest[~evidence.stated].max(initial=0))
    end = next((end for end in _WRAPS if 0.9 * end <= top < end), None)
    stops = (frames.n_top > 0).any() and not _ends_by_chance(evidence)
    if end is None or not evidence.whole or _ceiling(evidence) is not None or stops:
        return Finding(name=name, found=False, text=fine)
    # Counts that go on beyond the end reach the last of them in most frames, those that do not in few.
    if np.mean(frames.peaks >= 0.97 * end) < 0.2:
        return Finding(name=name, found=False, text=fine)
    jumps = np.zeros((evidence.size, evidence.size), dtype=np.bool_)
    for frame in frames.sample:
        jumps |= _jumps(frame, end)
    jumps &= ~evidence.stated
    if np.count_nonzero(jumps) < 3:
        return Finding(name=name, found=False, text=fine)
    core = ndimage.binary_fill_holes(ndimage.binary_closing(jumps, structure=_EDGE) | jumps)
    text = (
        f"counts fall from near {end:.0f} to near zero amid bright pixels ({where_of(jumps)}): the counter "
        f"of {round(np.log2(end))} bits started again"
    )
    core &= ~evidence.stated
    share = float(evidence.far_field[core].sum())
    masked = share <= _MOST_LIGHT
    return Finding(
        name=name,
        found=True,
        severity="warning",
        text=text,
        advice="store the frames in a wider type"
        + ("; until then these pixels count as not measured" if masked else ""),
        numbers={"n_pixels": int(core.sum()), "bits": round(np.log2(end)), "share": share},
        remedy=Remedy(bad_pixels=core) if masked else None,
    )


def _jumps(frame: npt.NDArray[np.float64], end: float) -> Mask:
    """Pixels within the bright part of a frame where a value near the end of the counter meets one near
    zero.
    """
    from scipy import ndimage

    bright = ndimage.binary_closing(np.pad(frame > 0.1 * end, 2), structure=_EDGE, iterations=2)
    inner = ndimage.binary_erosion(bright, structure=_EDGE)[2:-2, 2:-2]
    high, low = frame > 0.75 * end, frame < 0.25 * end
    meets: Mask = inner & (
        (high & ndimage.binary_dilation(low & inner, structure=_EDGE))
        | (low & ndimage.binary_dilation(high & inner, structure=_EDGE))
    )
    return meets


def steady(evidence: Evidence) -> Finding:
    """Whole numbers that differ from frame to frame by less than counts do."""
    name, sample = "steady", evidence.frames.sample / evidence.step
    fine = "values differ from frame to frame at least as counts do"
    if not evidence.whole or len(sample) < _LEAST_SAMPLE:
        return Finding(name=name, found=False, text=fine)
    mean, variance = sample.mean(axis=0), sample.var(axis=0, ddof=1)
    lit = (mean >= 1) & (variance > 0) & ~evidence.frames.left_out
    ratio = float(np.median(variance[lit] / mean[lit])) if np.count_nonzero(lit) >= _LEAST_LIT else 1.0
    numbers = {"variance_over_mean": ratio}
    if ratio >= _STEADY:
        return Finding(name=name, found=False, text=fine, numbers=numbers)
    return Finding(
        name=name,
        found=True,
        text=(
            f"in half of the lit pixels the variance over the frames is at most {ratio:.2g} of the mean, "
            "where counting alone makes it one: amplitudes, averages of frames, or a simulation without noise"
        ),
        advice="if they are amplitudes, state --measurement-domain amplitude",
        numbers=numbers,
    )


COUNTER_DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis(
        name="saturated",
        looks_for="pixels at the end of their counter",
        threshold=(
            "the largest value of the type, the value that the file states, or a largest value that four or "
            "more frames share, ten times as many as noise allows"
        ),
        examine=saturated,
        cleans=True,
    ),
    Diagnosis(
        name="wrapped",
        looks_for="counters that started again at zero",
        threshold="values below a quarter of the range of a counter beside values above three quarters of it",
        examine=wrapped,
        cleans=True,
    ),
    Diagnosis(
        name="steady",
        looks_for="whole numbers that are no counts",
        threshold=(
            f"a variance over the frames below {_STEADY} of the mean in half of the lit pixels: counting "
            "makes it one, and the sample only adds to that"
        ),
        examine=steady,
    ),
)
