"""Counts or amplitudes, where the values themselves are neither whole numbers nor roots of such.

Two witnesses are heard, and the first that is sure decides:

- the **grains**: after a division by a flat field or a monitor, the smallest values of a frame still lie at
one,
  two and three times a unit for counts, and at its multiples by the roots of two and three for amplitudes;
- the **probe**: where it lights the detector, the mean frame has the shape of its intensity there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["MARGINS", "Witness", "hear_witnesses", "unit_of"]

Map = npt.NDArray[np.float64]
Values = npt.NDArray[np.float64]

MARGINS = {"grains": 2.0, "probe": 2.5}
"""How much better one reading has to fit than the other for a witness to be sure.

Over scans of many kinds, divided by flat fields and monitors, grains are right wherever one reading fits
twice as well. A probe whose light on the detector is a flat disk says nothing of the law, and errs by up to
2.
"""

_LIT_BY_PROBE = 0.02
_LEAST_GRAINS = 40


@dataclass(frozen=True, kw_only=True)
class Witness:
    """One piece of evidence.

    Attributes
    ----------
    name
        ``"grains"`` or ``"probe"``.
    counts, amplitude
        How badly each reading fits; only their ratio means something.
    said
        The same in words.
    """

    name: str
    counts: float
    amplitude: float
    said: str

    @property
    def margin(self) -> float:
        """Misfit of the worse reading over that of the better one."""
        low, high = sorted((self.counts, self.amplitude))
        return high / max(low, 1e-9)

    @property
    def answer(self) -> str | None:
        """``"counts"``, ``"amplitude"``, or None where neither is clearly better."""
        if self.margin < MARGINS[self.name]:
            return None
        return "counts" if self.counts < self.amplitude else "amplitude"


def _grains_of(values: Values) -> tuple[float, int, int] | None:
    """Value of one count among those of a frame, how many lie there, and how many between it and the next.

    Parameters
    ----------
    values
        (k,) positive.
    """
    if values.size < _LEAST_GRAINS:
        return None
    low = float(np.quantile(values, 0.01))
    first = values[(values > 0.7 * low) & (values < 1.3 * low)]
    unit = float(np.median(first))
    here = int(np.count_nonzero(np.abs(values / unit - 1) < 0.15))
    return unit, here, int(np.count_nonzero((values > 1.18 * unit) & (values < 1.28 * unit)))


def unit_of(sample: Map) -> float | None:
    """Value of one count in frames that were divided by something; None where they do not come in grains."""
    found = [_grains_of(frame[frame > 0]) for frame in sample]
    grains = [grain for grain in found if grain is not None]
    here, between = sum(grain[1] for grain in grains), sum(grain[2] for grain in grains)
    # Values without grains put a third as many between as around the smallest.
    if here < 3 * _LEAST_GRAINS or between > 0.1 * here:
        return None
    return float(np.median([grain[0] for grain in grains]))


def _grains(sample: Map) -> Witness | None:
    if unit_of(sample) is None:
        return None
    roots = pairs = 0
    for frame in sample:
        values = frame[frame > 0]
        grain = _grains_of(values)
        if grain is None:
            continue
        ratios = values / grain[0]
        roots += int(np.count_nonzero((ratios > 1.3) & (ratios < 1.55)))
        pairs += int(np.count_nonzero((ratios > 1.75) & (ratios < 2.25)))
    if roots + pairs < _LEAST_GRAINS:
        return None
    total = roots + pairs
    return Witness(
        name="grains",
        # Roots make a third of both where all counts are alike, and more where few counts are many.
        counts=roots / total + 0.01,
        amplitude=max(0.0, 0.25 - roots / total) + 0.01,
        said=f"of the values next to the smallest {pairs} lie at twice it and {roots} at the root of two",
    )


def _shape(measured: Map, own: Map, where: npt.NDArray[np.bool_]) -> float:
    a, b = measured[where], own[where]
    if not a.sum() > 0:
        return 1.0
    a, b = np.sqrt(a / a.sum()), np.sqrt(b / b.sum())
    return float(np.sqrt(((a - b) ** 2).sum() / 2))


def _by_probe(mean: Map, mean_square: Map, own: Map, free: npt.NDArray[np.bool_]) -> Witness | None:
    where = free & (own > _LIT_BY_PROBE * own.max())
    if np.count_nonzero(where) < 8:
        return None
    counts, amplitude = _shape(mean, own, where), _shape(mean_square, own, where)
    return Witness(
        name="probe",
        counts=counts,
        amplitude=amplitude,
        said=(
            f"the mean frame is {counts:.3f} from the light of the probe as counts, {amplitude:.3f} "
            "as amplitudes"
        ),
    )


def hear_witnesses(
    *,
    sample: Map,
    mean: Map,
    mean_square: Map,
    own: Map,
    free: npt.NDArray[np.bool_],
) -> list[Witness]:
    """What can be said, the surest first.

    Parameters
    ----------
    sample
        (k, N, N) values of some frames.
    mean, mean_square
        (N, N): mean of the values and of their squares over all frames.
    own
        (N, N): intensity of the bare probe on the detector.
    free
        (N, N) bool: measured pixels.
    """
    found = (
        _grains(np.where(free, sample, 0)),
        _by_probe(mean, mean_square, own, free),
    )
    return [witness for witness in found if witness is not None]
