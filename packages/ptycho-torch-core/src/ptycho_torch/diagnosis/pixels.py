"""Pixels that did not measure, or counted what no light is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptycho_torch.diagnosis.counters import at_ceiling
from ptycho_torch.diagnosis.evidence import Evidence
from ptycho_torch.diagnosis.finding import (
    JUST_BELOW,
    Diagnosis,
    Finding,
    Remedy,
    masked_pixels,
    numbered,
)
from ptycho_torch.diagnosis.spikes import SPIKE, around, spikes
from ptycho_torch.diagnosis.statistics import LARGEST_VALUE

__all__ = [
    "PIXEL_DIAGNOSES",
    "background",
    "dark_gaps",
    "hits",
    "hot",
    "mask_polarity",
    "negative",
    "unmeasured_values",
]

Mask = npt.NDArray[np.bool_]

_EDGE = np.ones((3, 3), dtype=np.bool_)
_RIM_COUNTS = 30.0
_LINE_COUNTS = 60.0
_EXPLAINED = 0.3
_CLIFF = 0.5
_MUCH_LIGHT = 0.02
_DARK_BY_PROBE = 0.1
_LEAST_HIT = 25.0
_LEAST_EVEN = 256
_LEAST_BACKGROUND = 0.02
_EVEN_COUNTS = 20.0
_EVEN_SPREAD = 0.1
_EVEN_ERRORS = 3.0
_MOST_NEGATIVE = 0.6
_LINE_ABOVE = 4.0
_LINE_SHARE = 0.5
_LIT_BY_PROBE = 1e-6


def unmeasured_values(evidence: Evidence) -> Finding:
    """Gaps and dead pixels as detectors write them: fill values in every frame."""
    frames, n = evidence.frames, evidence.n_frames
    filled = (frames.n_top >= 0.9 * n) & (n > 1) | (frames.n_top == n)
    negative = frames.n_negative == n
    broken = frames.n_broken > 0
    mask = (filled | negative | broken) & ~evidence.stated
    if not mask.any():
        return Finding(name="gaps", found=False, text="no pixel holds a fill value")
    kinds = []
    if (filled & mask).any():
        kinds.append("the largest value of their type")
    if (negative & mask).any():
        kinds.append(f"negative values, down to {frames.most_negative:g}, in every frame")
    if (broken & mask).any():
        kinds.append(f"NaN, infinity or more than {LARGEST_VALUE:g}")
    return masked_pixels("gaps", mask, f"hold {' or '.join(kinds)}")


def _enclosed(dark: Mask, lit: npt.NDArray[np.bool_]) -> Mask:
    """Dark pixels with light on both sides, along rows or along columns."""
    enclosed = np.zeros_like(dark)
    for axis in (0, 1):
        before = np.maximum.accumulate(lit, axis=axis)
        after = np.flip(np.maximum.accumulate(np.flip(lit, axis), axis=axis), axis)
        enclosed |= dark & before & after
    return enclosed


def _lines(sums: npt.NDArray[np.float64], free: Mask) -> Mask:
    """Whole rows and columns without a count between lines that have many."""
    from scipy import ndimage

    mask = np.zeros(sums.shape, dtype=np.bool_)
    for axis in (0, 1):
        line = np.where(free, sums, 0).sum(axis=1 - axis)
        labels, count = ndimage.label((line == 0) & free.any(axis=1 - axis))
        for number in range(1, count + 1):
            here = np.flatnonzero(labels == number)
            before, after = line[: here[0]][::-1], line[here[-1] + 1 :]
            if not (before.size and after.size):
                continue
            beside = min(before[0], after[0])
            if beside * len(here) >= _LINE_COUNTS and beside >= 10 and _is_cliff(before) and _is_cliff(after):
                (mask if axis == 0 else mask.T)[here] = True
    return mask & free


def _is_cliff(outwards: npt.NDArray[np.float64]) -> bool:
    """Whether light ends here at once, as at the edge of a detector: an own zero of the light has slopes."""
    return bool(outwards.size < 2 or outwards[0] >= _CLIFF * outwards[1])


def _straight(shadow: Mask) -> Mask:
    """The parts that are narrow rectangles."""
    from scipy import ndimage

    labels, _ = ndimage.label(shadow)
    kept = np.zeros_like(shadow)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        part = labels[box] == number
        if part.all() and max(part.shape) >= 8 and max(part.shape) >= 3 * min(part.shape):
            kept[box] = True
    return kept


def _is_shadow(shadow: Mask, dark: Mask, box: tuple[slice, ...], evidence: Evidence) -> bool:
    """Whether the light around pixels without a count says that something on the detector hides it."""
    from scipy import ndimage

    sums, stated = evidence.sums[box], evidence.stated[box]
    near = ndimage.binary_dilation(shadow, structure=_EDGE)
    rim = near & ~dark & ~stated
    if not rim.any():
        return False
    next_rim = ndimage.binary_dilation(near, structure=_EDGE) & ~near & ~dark & ~stated
    light = float(np.median(sums[rim]))
    if light < _RIM_COUNTS or (sums[rim] >= _RIM_COUNTS).mean() < 0.75:
        return False
    if next_rim.any() and light < _CLIFF * float(np.median(sums[next_rim])):
        return False
    # What the bare probe would put there, in counts, tells a shadow of its own optics from one on the
    # detector.
    much = float(evidence.far_field[box][shadow].sum()) >= _MUCH_LIGHT
    if not (much or evidence.is_noisy):
        return False
    own = evidence.far_field[box] * evidence.sums.sum()
    own_rim, own_here = float(np.median(own[rim])), float(np.median(own[shadow]))
    if own_rim >= _EXPLAINED * light:
        return own_here >= _DARK_BY_PROBE * own_rim
    # Light of a wide probe may end from one pixel to the next: then only what the probe itself says counts.
    return much or evidence.speckles_are_wide


def dark_gaps(evidence: Evidence) -> Finding:
    """Pixels without a count in all frames where the light on both sides says that there must be some."""
    from scipy import ndimage

    sums, stated = evidence.sums, evidence.stated
    dark = (sums == 0) & ~stated & (evidence.frames.n_top + evidence.frames.n_negative == 0)
    mask = _lines(sums, ~stated) & dark if evidence.is_noisy else np.zeros_like(dark)
    labels, count = ndimage.label(dark & ~mask, structure=_EDGE)
    inside = _enclosed(dark, sums >= _RIM_COUNTS)
    boxes = ndimage.find_objects(labels)
    for number in range(1, count + 1):
        box = tuple(slice(max(0, part.start - 2), part.stop + 2) for part in boxes[number - 1])
        part = labels[box] == number
        shadow = part & inside[box]
        # Bays of a dark surrounding are no gaps, unless straight, or where the probe itself sends light.
        closed = shadow.sum() >= 0.8 * part.sum()
        if not closed and evidence.far_field[box][shadow].sum() < _MUCH_LIGHT:
            shadow = _straight(shadow)
        if shadow.any() and _is_shadow(shadow, labels[box] > 0, box, evidence):
            mask[box] |= shadow
    if not mask.any():
        return Finding(name="dark-gaps", found=False, text="no pixel is dark between lit ones in every frame")
    share = float(evidence.far_field[mask].sum())
    what = "have no count in any frame though there is light on both sides of them"
    if share > _MUCH_LIGHT:
        what += f" (a beam stop or a gap: the probe sends {share:.0%} of its light there)"
    return masked_pixels("dark-gaps", mask, what, probe_share=share)


def hot(evidence: Evidence) -> Finding:
    """Pixels that count without light: the same in every frame, or far above all around them."""
    frames, n = evidence.frames, evidence.n_frames
    free = ~evidence.stated & (frames.n_top == 0) & ~at_ceiling(evidence)
    mask = np.zeros_like(free)
    if evidence.speckles_are_wide:
        # Without its largest value, so that one wrong frame makes no hot pixel.
        usual = (frames.mean * n - frames.highest) / max(1, n - 1) / evidence.step
        mask = spikes(usual, n_frames=max(1, n - 1)) & free & _not_the_probe(evidence)
        mask |= _hot_lines(evidence) & free
    if n >= 8 and evidence.is_noisy:
        same = frames.highest == frames.lowest
        mask |= same & (frames.lowest >= _steady_counts(evidence) * evidence.step) & free
    if not mask.any():
        return Finding(name="hot", found=False, text="no pixel stands out in all frames")
    return masked_pixels("hot", mask, "hot: far above their neighbours in all frames, or never changing")


def _hot_lines(evidence: Evidence) -> Mask:
    """Rows and columns that stand above both neighbours in most places, though the probe does not."""
    usual, own = evidence.frames.mean * evidence.n_frames / evidence.step, evidence.far_field
    mask = np.zeros(usual.shape, dtype=np.bool_)
    for light, bare, lines in ((usual, own, mask), (usual.T, own.T, mask.T)):
        beside = np.maximum(np.roll(light, 1, axis=0), np.roll(light, -1, axis=0))
        above = light > _LINE_ABOVE * beside + 6 * np.sqrt(_LINE_ABOVE * beside) + _LEAST_HIT
        alone = bare > _LINE_ABOVE * np.maximum(np.roll(bare, 1, axis=0), np.roll(bare, -1, axis=0))
        lines[1:-1] |= ((above & ~alone).mean(axis=1) > _LINE_SHARE)[1:-1, None]
    return mask


def _steady_counts(evidence: Evidence) -> float:
    """Counts that no pixel of light keeps in all frames by chance, but once in a million scans."""
    # The likeliest number of counts comes with a probability of at most one over the root of 2 pi times it.
    rest = np.log(1e-6 / evidence.size**2) / (evidence.n_frames - 1)
    return max(1.0, float(np.exp(-2 * rest)) / (2 * np.pi))


def _not_the_probe(evidence: Evidence) -> Mask:
    """Pixels that the bare probe does not light more than those around them."""
    own = evidence.far_field
    return ~((own > 2 * around(own)[-2]) & (own > _LIT_BY_PROBE * own.max()))


def hits(evidence: Evidence) -> Finding:
    """Single values far above everything that the neighbours ever count: cosmic rays, glitches of the
    readout.
    """
    frames, size = evidence.frames, evidence.size
    quiet = ~evidence.stated & _not_the_probe(evidence)
    found = frames.outliers
    usual_top = frames.highest.ravel()[found.pixels]
    among = quiet.ravel()[found.pixels] & (found.values > np.maximum(usual_top, _LEAST_HIT * evidence.step))
    ceiling = np.full((size, size), np.inf)
    # Just above all that is light there.
    ceiling.ravel()[found.pixels[among]] = np.maximum(usual_top, evidence.step)[among] / JUST_BELOW**2
    numbers = {*found.frames[among].tolist()}
    # Of frames too few to know what is usual, and where single values stand less far out.
    highest = frames.highest / evidence.per_count
    mask = spikes(frames.highest / evidence.step) & quiet & (frames.n_top == 0)
    # Above what the pixel itself counts in the other frames too: light that stands alone there does so again.
    usual = (frames.mean * evidence.n_frames - frames.highest) / max(1, evidence.n_frames - 1)
    most = SPIKE * usual + _LEAST_HIT * evidence.step
    mask &= frames.highest > most
    ceiling[mask] = most[mask]
    count = int(among.sum()) + int(mask.sum())
    if not count:
        return Finding(name="hits", found=False, text="no single value stands out")
    largest = max(found.values[among].max(initial=0) / evidence.per_count, highest[mask].max(initial=0))
    where = f" (frames {numbered(np.array(sorted(numbers)))})" if numbers else ""
    return Finding(
        name="hits",
        found=True,
        severity="warning",
        text=(
            f"{count} single {'value stands' if count == 1 else 'values stand'} far above all around, up to "
            f"{largest:.4g} counts{where}: hits of cosmic rays, or glitches of the readout"
        ),
        advice="they count as not measured, in these frames",
        numbers={"n_values": count, "frames": sorted(numbers), "largest": float(largest)},
        remedy=Remedy(ceiling=ceiling),
    )


def negative(evidence: Evidence) -> Finding:
    """Values below zero that a subtraction of the background leaves."""
    frames, n, name = evidence.frames, evidence.n_frames, "negative"
    of_pixel = np.where(evidence.stated | (frames.n_negative == n), 0, frames.n_negative)
    count = int(of_pixel.sum())
    if not count:
        return Finding(name=name, found=False, text="no value is negative")
    share = count / (n * evidence.size**2)
    text = f"{count} values ({share:.2g} of all) are negative, down to {frames.most_negative:.4g}"
    numbers = {"n_values": count, "share": share, "lowest": frames.most_negative}
    # Pixels that are negative in every frame are gaps, unless they are most of all.
    of_all = float(np.where(evidence.stated, 0, frames.n_negative).sum()) / (n * evidence.size**2)
    if of_all > _MOST_NEGATIVE:
        advice = "too many to be what a subtraction of the background leaves: look at the frames"
        return Finding(name=name, found=True, severity="warning", text=text, advice=advice, numbers=numbers)
    return Finding(
        name=name,
        found=True,
        severity="warning",
        text=text,
        advice="they count as zero; what was subtracted makes few counts wrong",
        numbers=numbers,
        remedy=Remedy(clip=True),
    )


def mask_polarity(evidence: Evidence) -> Finding:
    """A mask that takes most pixels, or most light, away: perhaps its True means that a pixel is good."""
    stated = evidence.stated
    name = "mask"
    if not stated.any():
        return Finding(name=name, found=False, text="no mask came with the scan")
    share = float(stated.mean())
    sums = np.where(evidence.frames.n_top + evidence.frames.n_broken > 0, 0, evidence.frames.mean)
    total = float(sums.sum())
    light = float(sums[stated].sum()) / total if total > 0 else 0.0
    own = float(evidence.far_field[stated].sum())
    numbers = {"share_of_pixels": share, "share_of_light": light, "share_of_probe": own}
    text = f"the mask takes {share:.0%} of the pixels and {max(light, own):.0%} of the light"
    # A beam stop takes much light but few pixels; masks of the other meaning leave the faults and take the
    # rest.
    found = share > 0.5 and max(light, own) > 0.5
    if not found:
        return Finding(name=name, found=False, text=text, numbers=numbers)
    return Finding(
        name=name,
        found=True,
        severity="warning",
        text=text,
        numbers=numbers,
        advice=(
            "True means not measured here; if it means good in this mask, store its opposite as bad_pixels"
        ),
    )


def background(evidence: Evidence) -> Finding:
    """Counts that are the same everywhere, also where the light does not reach."""
    name, frames = "background", evidence.frames
    free = ~evidence.stated & ~frames.left_out
    sums = np.sort(evidence.sums[free])
    fine = "the darkest pixels hold no even level of counts"
    if sums.size < _LEAST_EVEN:
        return Finding(name=name, found=False, text=fine)
    dark = sums[: sums.size // 4]
    level, low = float(np.median(dark)), float(np.quantile(dark, 0.1))
    share = level * sums.size / max(float(sums.sum()), 1e-30)
    numbers = {"counts_per_pixel": level / evidence.n_frames, "share": share}
    # Light falls off by powers of ten; an even level differs from pixel to pixel by its noise alone.
    even = level - low < _EVEN_SPREAD * level + _EVEN_ERRORS * np.sqrt(level)
    if share < _LEAST_BACKGROUND or level < _EVEN_COUNTS or not even or evidence.repeats_itself:
        return Finding(name=name, found=False, text=fine, numbers=numbers)
    return Finding(
        name=name,
        found=True,
        text=(
            f"the darkest pixels all hold about {level / evidence.n_frames:.3g} counts per frame, which is "
            f"{share:.0%} of all counts if it lies under the light too: a background"
        ),
        advice="refine with --refine-background smooth, or give a dark frame with --dark",
        numbers=numbers,
    )


PIXEL_DIAGNOSES: tuple[Diagnosis, ...] = (
    Diagnosis(
        name="mask",
        looks_for="a mask of the other polarity",
        threshold=(
            "it masks more than half of the pixels and more than half of the light, which no gap or beam "
            "stop does"
        ),
        examine=mask_polarity,
    ),
    Diagnosis(
        name="gaps",
        looks_for="pixels with fill values: the largest value of the type, -1, -2, NaN",
        threshold="in nine of ten frames (NaN: in one); light does not fill a counter in every frame",
        examine=unmeasured_values,
        cleans=True,
    ),
    Diagnosis(
        name="dark-gaps",
        looks_for="gaps and beam stops that hold zeros",
        threshold=(
            f"no count in any frame, between pixels with {_RIM_COUNTS:.0f} counts or more, or between lines "
            f"with {_LINE_COUNTS:.0f}; chance does that less than once in 10**12. Not where the probe itself "
            "is dark"
        ),
        examine=dark_gaps,
        cleans=True,
    ),
    Diagnosis(
        name="hot",
        looks_for="hot and stuck pixels, rows and columns",
        threshold=(
            f"{SPIKE:.0f} times the second largest of its neighbours in the mean frame; a value that never "
            f"changes; a row or column {_LINE_ABOVE:.0f} times above both beside it over {_LINE_SHARE:.0%} "
            "of its length: light of a probe that fills half of the frame is no narrower than two pixels"
        ),
        examine=hot,
        cleans=True,
    ),
    Diagnosis(
        name="hits",
        looks_for="cosmic rays and single wrong values",
        threshold=(
            f"a value {SPIKE:.0f} times above what its pixel and those around it count in the other frames, "
            "and above most of those around it in its own"
        ),
        examine=hits,
        cleans=True,
    ),
    Diagnosis(
        name="negative",
        looks_for="values below zero, as a subtraction of the background leaves them",
        threshold="one of them; more than 0.6 of all are no noise about zero, and are not clipped",
        examine=negative,
        cleans=True,
    ),
    Diagnosis(
        name="background",
        looks_for="counts that lie under all of the light",
        threshold=(
            f"the darkest quarter of the pixels is even to within {_EVEN_SPREAD:.0%} and noise, and its "
            f"level, taken everywhere, is {_LEAST_BACKGROUND:.0%} of all counts"
        ),
        examine=background,
    ),
)
