"""Frames that are no measurement of the sample: empty, nearly empty, or full of something else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptycho_torch.diagnosis.dose import (
    FEW_COUNTS,
    counts_per_object_pixel,
    smoothness_for,
    smoothness_to_try,
)
from ptycho_torch.diagnosis.evidence import Evidence
from ptycho_torch.diagnosis.finding import Diagnosis, Finding, Remedy, numbered

__all__ = ["FRAME_DIAGNOSES", "copies", "crazy", "drift", "empty", "flicker", "low_dose", "torn"]

_WEAK = 0.05
_APART = 10.0
_OTHER_SHAPE = 0.5
_BRIGHT_ENOUGH = 0.3
_LIKE_OTHERS = 0.7
_BRIGHTER = 3.0
_MOST_DROPPED = 0.5
_RARE = 0.01
_LINE_COUNTS = 8.0
_TORN = 0.1
_FLASH = 2.5
_EVEN = 0.1
_DRIFT = 1.5
_FADING = 20.0
_BLOCKS = 8


def _dropped(name: str, drop: npt.NDArray[np.bool_], what: str, left: str) -> Finding:
    count = int(drop.sum())
    text = f"{count} of {drop.size} frames {what} ({'number' if count == 1 else 'numbers'} {numbered(drop)})"
    numbers = {"n_frames": count, "frames": np.flatnonzero(drop).tolist()}
    if count > _MOST_DROPPED * drop.size:
        return Finding(
            name=name,
            found=True,
            severity="warning",
            text=text,
            numbers=numbers,
            advice=(
                "too many to be left out without being asked: look at them, and store the scan without them"
            ),
        )
    return Finding(
        name=name,
        found=True,
        severity="warning",
        text=text,
        advice=left,
        numbers=numbers,
        remedy=Remedy(drop=drop),
    )


def _usual_share(evidence: Evidence) -> float:
    totals, shares = evidence.frames.totals, evidence.frames.shares
    lit = totals > 0
    return float(np.median(shares[lit])) if lit.any() else 0.0


def _empty_frames(evidence: Evidence) -> npt.NDArray[np.bool_]:
    frames = evidence.frames
    totals = frames.totals / evidence.per_count
    typical = float(np.median(totals[totals > 0])) if (totals > 0).any() else 0.0
    # A dark sample dims frames by every factor; what is no frame stands apart from all of those.
    ordered = np.sort(totals)
    above = np.r_[ordered[1:], np.inf]
    apart = np.flatnonzero((above > _APART * ordered + 20) & (ordered < _WEAK * typical))
    weak: npt.NDArray[np.bool_] = totals <= (ordered[apart[-1]] if apart.size else 0)
    broken = frames.impossible_in_frame > 0.5 * np.count_nonzero(~frames.left_out)
    return weak | broken | (totals <= 0)


def empty(evidence: Evidence) -> Finding:
    """Frames without light, or with a thousandth of what the others have."""
    drop = _empty_frames(evidence)
    if not drop.any():
        return Finding(name="empty-frames", found=False, text="every frame holds light")
    largest = float(evidence.frames.totals[drop].max() / evidence.per_count)
    what = (
        f"hold no light, or next to none: at most {largest:.4g} counts where others have "
        f"{evidence.typical_total:.4g}"
    )
    return _dropped("empty-frames", drop, what, "they are left out, with their positions")


def crazy(evidence: Evidence) -> Finding:
    """Frames whose light lies where the others have none."""
    frames = evidence.frames
    kept = ~_empty_frames(evidence)
    typical = float(np.median(frames.totals[kept])) if kept.any() else 0.0
    name, fine = "crazy-frames", "no frame is lit where the others are dark"
    if evidence.n_frames < 8 or not typical > 0:
        return Finding(name=name, found=False, text=fine)
    usual = _usual_share(evidence)
    spread = float(np.median(np.abs(frames.shares[kept] - usual)))
    # Few counts scatter by chance: the share of n counts by the root of share times rest over n.
    noise = np.sqrt(max(usual * (1 - usual), 1e-4) / np.maximum(frames.totals / evidence.step, 1))
    other = (frames.shares < _OTHER_SHAPE * usual) & (usual - frames.shares > 8 * (spread + noise))
    # What a sample does to the light of a frame it does to that of the frames around it; but no sample
    # spreads it evenly over the detector.
    even = np.abs(frames.shares - frames.lit_area) < _EVEN * usual + 3 * noise
    other &= (evidence.near(frames.shares) > _LIKE_OTHERS * usual) | even
    bright = float(np.quantile(frames.totals[kept], 0.9))
    # One value may carry all of what is too much: then it is a pixel, not the frame.
    without = frames.totals - frames.peaks
    single = (frames.peaks > 0.3 * frames.totals) & (without < _BRIGHTER * bright)
    drop = kept & other & (frames.totals > np.where(even, _WEAK, _BRIGHT_ENOUGH) * bright) & ~single
    if not drop.any():
        return Finding(name=name, found=False, text=fine)
    what = "are lit where the others are dark"
    return _dropped(name, drop, what, "they are left out, with their positions")


def copies(evidence: Evidence) -> Finding:
    """Frames that hold the same counts as an earlier one, though the scan went on."""
    frames, name = evidence.frames, "copies"
    marks = np.column_stack([frames.totals, frames.peaks, frames.centres])
    _, first, which = np.unique(marks, axis=0, return_index=True, return_inverse=True)
    original = first[which.reshape(-1)]
    if _chance_of_likeness(evidence) > _RARE:
        original = np.where(
            original == np.arange(evidence.n_frames) - 1, original, np.arange(evidence.n_frames)
        )
    elsewhere = (evidence.positions != evidence.positions[original]).any(axis=1)
    drop = (original != np.arange(evidence.n_frames)) & elsewhere & (frames.totals > frames.peaks)
    if not drop.any() or drop.sum() > _MOST_DROPPED * evidence.n_frames:
        # Noise makes no two frames alike; where most are, there is none.
        return Finding(name=name, found=False, text="no frame repeats another one")
    what = "repeat an earlier one, value by value: the detector, or the program that stores, stood still"
    return _dropped(name, drop, what, "they are left out, with their positions")


def _chance_of_likeness(evidence: Evidence) -> float:
    """How many pairs of frames of that many counts are alike in sum, peak and centre by chance, at most."""
    counts = max(float(np.median(evidence.frames.totals)) / evidence.step, 1.0)
    peak = max(float(np.median(evidence.frames.peaks)) / evidence.step, 1.0)
    # Two numbers with a standard deviation s are the same with a probability of 1 / (2 s root(pi)). That of a
    # sum of n counts is root(n), that of their centre n times as large at least as one pixel over root(n).
    alike = (2 * np.sqrt(np.pi)) ** -4 / (counts**1.5 * np.sqrt(peak))
    return float(alike * evidence.n_frames**2 / 2)


def torn(evidence: Evidence) -> Finding:
    """Frames of which a part is missing: whole lines without a count where there must be some."""
    frames = evidence.frames
    totals = frames.totals / evidence.step
    # A sample that bends the light leaves lines dark and takes none away; what is missing is missing in all.
    whole = np.maximum(evidence.near(totals), np.median(totals))
    drop = (frames.torn >= _TORN) & (totals < (1 - frames.torn / 2) * whole)
    # Of few counts some lines get none by chance.
    drop &= (whole >= _LINE_COUNTS * evidence.size) & ~_empty_frames(evidence)
    if not drop.any():
        return Finding(
            name="torn-frames", found=False, text="no frame is dark in whole lines that others light"
        )
    share = float(frames.torn[drop].max())
    what = (
        f"are dark in whole lines that hold up to {share:.0%} of the light of the others: a part is missing"
    )
    return _dropped("torn-frames", drop, what, "they are left out, with their positions")


def flicker(evidence: Evidence) -> Finding:
    """Single frames that are far brighter than those around them, and than most of the scan."""
    name, fine = "flicker", "no frame is far brighter than those around it"
    totals = evidence.frames.totals
    if evidence.n_frames < 2 * _BLOCKS:
        return Finding(name=name, found=False, text="too few frames to see single bright ones")
    usual = np.maximum(evidence.near(totals), float(np.quantile(totals, 0.75)))
    bright = totals > _FLASH * usual
    if not bright.any():
        return Finding(name=name, found=False, text=fine)
    count, largest = int(bright.sum()), float((totals / np.maximum(usual, 1e-12)).max())
    return Finding(
        name=name,
        found=True,
        text=(
            f"{count} {'frame is' if count == 1 else 'frames are'} up to {largest:.3g} times as bright as "
            f"those around (numbers {numbered(bright)}): another exposure, or a source that flickers"
        ),
        advice="refine with --refine-dose, or divide the frames by a beam monitor",
        numbers={"frames": np.flatnonzero(bright).tolist(), "ratio": largest},
    )


def drift(evidence: Evidence) -> Finding:
    """Light that changes steadily, or in a step, over the scan."""
    totals = evidence.frames.totals[~_empty_frames(evidence)]
    name = "drift"
    if len(totals) < 4 * _BLOCKS:
        return Finding(name=name, found=False, text="too few frames to see a drift of the light")
    medians = np.array([np.median(part) for part in np.array_split(totals, _BLOCKS)])
    ratio = float(medians.max() / max(medians.min(), 1e-12))
    within = float(np.median([np.std(part) / np.mean(part) for part in np.array_split(totals, _BLOCKS)]))
    steps = np.diff(medians)
    one_way = max((steps > 0).mean(), (steps < 0).mean())
    text = f"the light of a frame changes by a factor of {ratio:.2f} over the scan"
    numbers = {"ratio": ratio, "first": float(medians[0]), "last": float(medians[-1])}
    if ratio < _DRIFT or one_way < 0.8 or ratio - 1 < 3 * within:
        return Finding(name=name, found=False, text=text, numbers=numbers)
    return Finding(
        name=name,
        found=True,
        # Sources fade by a few; more than that is the sample, thicker at one end.
        severity="warning" if ratio < _FADING else "note",
        text=f"{text}, from {medians[0]:.4g} to {medians[-1]:.4g}",
        advice=(
            "one dose is assumed for all frames: refine with --refine-dose, or divide them by the reading of "
            "a beam monitor if there is one"
        ),
        numbers=numbers,
    )


def low_dose(evidence: Evidence) -> Finding:
    """So few counts that the noise of single pixels shows in the object."""
    # A photon may be several units of charge.
    counts = evidence.typical_total * evidence.per_count / evidence.step
    density = counts_per_object_pixel(counts, evidence.positions, evidence.diameter)
    smoothness = smoothness_for(density)
    numbers = {"counts_per_frame": counts, "counts_per_object_pixel": density, "smoothness": smoothness}
    text = f"{counts:.4g} counts per frame, {density:.3g} per pixel of the object"
    if not evidence.whole or counts >= FEW_COUNTS:
        return Finding(name="low-dose", found=False, text=text, numbers=numbers)
    return Finding(
        name="low-dose",
        found=True,
        text=f"only {text}: noise will cover the object",
        advice=smoothness_to_try(smoothness),
        numbers=numbers,
    )


FRAME_DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis(
        name="empty-frames",
        looks_for="frames with no light, or hardly any",
        threshold=(
            f"below {_WEAK:.0%} of the usual light, and {_APART:.0f} times darker than every other frame: "
            "beside frames that a sample dims there are others of any brightness"
        ),
        examine=empty,
        cleans=True,
    ),
    Diagnosis(
        name="crazy-frames",
        looks_for="frames that the detector made up",
        threshold=(
            "where other frames are bright it holds less than half of the usual share of its light, eight "
            "spreads below the usual, and as a whole it is not dim; or its light is even over the detector"
        ),
        examine=crazy,
        cleans=True,
    ),
    Diagnosis(
        name="copies",
        looks_for="frames that are a copy of another",
        threshold=(
            "sum, largest value and centre of mass are equal to the last bit, at another position; of frames "
            f"whose noise could do that for {_RARE} pairs of the scan, only one after the other"
        ),
        examine=copies,
        cleans=True,
    ),
    Diagnosis(
        name="torn-frames",
        looks_for="frames of which a part is missing",
        threshold=(
            f"bright rows or columns without a count, which hold {_TORN:.0%} of the light of other frames, "
            f"and at least half of that is missing in the whole; in scans with {_LINE_COUNTS:.0f} counts per "
            "line and frame"
        ),
        examine=torn,
        cleans=True,
    ),
    Diagnosis(
        name="flicker",
        looks_for="single bright frames",
        threshold=(
            f"{_FLASH} times the light of the frames around, and of three quarters of the scan: holes in an "
            "opaque sample come near to that, so it is a note"
        ),
        examine=flicker,
    ),
    Diagnosis(
        name="drift",
        looks_for="light that changes over the scan",
        threshold=(
            f"medians of eight parts of the scan differ by a factor of {_DRIFT}, three times more than "
            "within a part, and rise or fall steadily"
        ),
        examine=drift,
    ),
    Diagnosis(
        name="low-dose",
        looks_for="few counts",
        threshold=f"below {FEW_COUNTS:.0f} per frame, where --smoothness lowers the error of the object",
        examine=low_dose,
    ),
)
