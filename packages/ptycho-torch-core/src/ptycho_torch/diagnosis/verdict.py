r"""Whether a result explains frames better than an empty object does.

A solution fits the frames that it saw, wrong ones too. So frames are held out, and their counts I are
compared with what an object made from the other frames predicts, :math:`\lambda`, and with what an empty
object predicts, f, each scaled to the light of the frame:

.. math:: E(\lambda) = \sum \frac{(I - \lambda)^2 - I}{m + m_0}

with m the mean frame, which hardly depends on the noise of any single one. Taking I off leaves, on average,
no trace of the noise of the frames that are held out, so E holds at any dose: 0 for a perfect prediction,
:math:`E(f)` for an empty object. The same is done for the departures of I and of the predictions from their
own means over the frames, in which pixels that never change, gaps and beam stops for example, take no part.
The larger of the two ratios :math:`E(\lambda)/E(f)` decides.

The object is made from noisy frames, and that leaves a trace. How large it is says a copy of the experiment:
counts drawn from what the object predicts, an object made from those, and its ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.diagnosis.lacks import Lack
from ptycho_torch.diagnosis.moves import Moved

__all__ = [
    "LIMIT",
    "LIMIT_WITH_NOISE",
    "Misfits",
    "Verdict",
    "misfits",
    "verdict",
]

Counts = npt.NDArray[np.float64]

LIMIT = 0.25
"""Share of the misfit of an empty object, beyond what noise explains and two standard errors, above which a
result is wrong.

A quarter in squares is half in the root: what is left unexplained is half as large as what the sample does to
the frames. Of a scan with nothing wrong only noise and small errors of the model are left.
"""

LIMIT_WITH_NOISE = 0.5
"""The same with noise, and for the result itself on the frames that it was made from.

At a half a prediction is as near to an empty object as to the frames: it shows no more than it misses.
"""

_SEEN = 4.0
_ERRORS = 2.0
_NOISE = 0.5
_FLOOR = 0.05
_KEPT = 0.95
_NO_BETTER = 0.9

_WRONG = (
    "positions, orientation, probe, mask or dose are wrong; "
    "`ptycho-torch inspect --orientation SCAN` tries the first two"
)
_NO_COUNTS = "the values vary less than counts do: state --measurement-domain if they are amplitudes"
_NOISY = "so few counts, or so little overlap, leave mostly noise"


@dataclass(frozen=True, kw_only=True, eq=False)
class Misfits:
    """Sums over the pixels of each frame, (k,) float64.

    Attributes
    ----------
    made, empty
        Misfit beyond counting noise of the object and of an empty one.
    made_changes, empty_changes
        The same of the departures from the mean over the frames.
    agreement, strength
        Product of the predicted departure from an empty object with the measured one, and with itself.
    variance
        Of a misfit, by counting noise.
    noise, noise_changes
        What was taken off for counting noise.
    """

    made: Counts
    empty: Counts
    made_changes: Counts
    empty_changes: Counts
    agreement: Counts
    strength: Counts
    variance: Counts
    noise: Counts
    noise_changes: Counts

    @property
    def varies_less(self) -> bool:
        """Whether the frames differ from the prediction by less than counts must: they are none."""
        return bool(self.made.sum() < -_SEEN * np.sqrt(self.variance.sum()))

    def with_noise(self) -> Misfits:
        """The same with nothing taken off."""
        return replace(
            self,
            made=self.made + self.noise,
            empty=self.empty + self.noise,
            made_changes=self.made_changes + self.noise_changes,
            empty_changes=self.empty_changes + self.noise_changes,
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a result is worth.

    Attributes
    ----------
    is_bad
        The result explains the frames no better than an empty object, or shows noise.
    is_told
        Whether there were frames enough, and enough overlap, to tell.
    misfit, misfit_of_empty_object
        To the frames that were held out, in shares of the counting noise; None where nothing was held out.
    misfit_by_noise
        Share of the misfit of an empty object that noise alone would leave; None where that was not needed.
    shows_an_object
        Whether the frames show anything beyond an empty object at all.
    sentence
        What that means, and what to do.
    n_held_out
        Frames that were held out.
    better_scale
        Factor on the distances between the positions under which they are predicted far better; None: none
        was found.
    moved
        How they have moved against their positions, where they are predicted far better so; None: nothing
        was found.
    lacking
        An unknown that was not fitted, with which they are predicted far better; None: none was found.
    """

    is_bad: bool
    is_told: bool = True
    misfit: float | None = None
    misfit_of_empty_object: float | None = None
    misfit_by_noise: float | None = None
    shows_an_object: bool = True
    sentence: str
    n_held_out: int = 0
    better_scale: float | None = None
    moved: Moved | None = None
    lacking: Lack | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Verdict:
        """From what `to_dict` gave."""
        moved = entries.get("moved")
        if moved is not None:
            moved = Moved(**{**moved, "by_px": tuple(moved["by_px"])})
        lacking = entries.get("lacking")
        lacking = None if lacking is None else Lack(**lacking)
        return cls(**{**entries, "moved": moved, "lacking": lacking})


def misfits(counts: Counts, made: Counts, empty: Counts, free: npt.NDArray[np.bool_]) -> Misfits:
    """Compare predictions with measured counts.

    Parameters
    ----------
    counts, made, empty
        (k, N, N): measured counts, and those that the object and an empty one predict, frames in any scale.
    free
        (N, N) or (k, N, N) bool: measured pixels.
    """
    counts, made, empty = (np.where(free, values, 0.0) for values in (counts, made, empty))
    light = counts.sum(axis=(1, 2), keepdims=True)
    made, empty = (
        values * (light / np.maximum(values.sum(axis=(1, 2), keepdims=True), 1e-30))
        for values in (made, empty)
    )
    mean = counts.mean(axis=0)
    weight = np.where(free, 1 / (mean + _FLOOR * mean.mean() + 1 / len(counts)), 0.0)
    # Light that flickers is no change of the pattern.
    even = light.mean() / np.maximum(light, 1e-30)

    def summed(values: Counts) -> Counts:
        return np.asarray((weight * values).sum(axis=(1, 2)))

    def changes(values: Counts) -> Counts:
        return even * values - (even * values).mean(axis=0)

    moved, noise = changes(counts), even**2 * counts * (1 - 1 / len(counts))
    departure = made - empty
    return Misfits(
        made=summed((counts - made) ** 2 - counts),
        empty=summed((counts - empty) ** 2 - counts),
        made_changes=summed((moved - changes(made)) ** 2 - noise),
        empty_changes=summed((moved - changes(empty)) ** 2 - noise),
        agreement=summed(departure * (counts - empty)),
        strength=summed(departure**2),
        # Of (I - m)**2 - I where I is a Poisson number with mean m.
        variance=summed(np.broadcast_to(weight * 2 * mean**2, counts.shape)),
        noise=summed(counts),
        noise_changes=summed(noise),
    )


def _significance(values: Counts) -> float:
    spread = float(values.std())
    return float(values.mean() * np.sqrt(len(values)) / spread) if spread > 0 else 0.0


def _sum(values: Counts, order: npt.NDArray[np.int64]) -> float:
    """Sum without the few frames that fit the object worst: single wrong ones say nothing of the whole."""
    return float(values[order[: max(1, int(np.ceil(_KEPT * len(values))))]].sum())


@dataclass(frozen=True)
class _Ratio:
    """Misfit of an object over that of an empty one, both sums, and what chance adds to it at most."""

    value: float
    made: float
    empty: float
    chance: float


def _ratios(found: Misfits) -> list[_Ratio]:
    """Of the counts, and of their changes where there are any."""
    order = np.argsort(found.made)
    pairs = [(_sum(found.made, order), _sum(found.empty, order))]
    if found.empty_changes.sum() > 0:
        pairs.append((_sum(found.made_changes, order), _sum(found.empty_changes, order)))
    spread = _ERRORS * float(np.sqrt(_sum(found.variance, order)))
    return [
        _Ratio(made / empty, made, empty, spread / empty)
        if empty > 0
        else _Ratio(np.inf, made, empty, np.inf)
        for made, empty in pairs
    ]


def _worst(ratios: list[_Ratio]) -> _Ratio:
    return max(ratios, key=lambda ratio: ratio.value - ratio.chance if ratio.empty > 0 else -np.inf)


def verdict(
    held: Misfits,
    *,
    departure: float,
    n_pixels: int,
    own: Misfits | None = None,
    by_noise: Callable[[], Misfits] | None = None,
    forgives_noise: bool = True,
    explained: Callable[[str], str] = str,
    against_noise: Callable[[], str] = lambda: "refine with a --smoothness, or a larger one",
) -> Verdict:
    """Judge a result by frames that were held out.

    Parameters
    ----------
    held
        Of the frames that were held out.
    departure
        Root mean square difference of the object from an empty one, where the probe was.
    n_pixels
        Measured pixels of a frame, to put the misfits in shares of the counting noise.
    own
        Of the result itself, with the frames that it was made from; None: it is not looked at.
    by_noise
        Gives the misfits of an experiment with nothing wrong but its noise; asked where that decides.
    forgives_noise
        Whether noise may leave up to `LIMIT_WITH_NOISE`; not where a smoothness would leave less.
    explained
        From what may be wrong to what is known to be wrong, where something is.
    against_noise
        Says what to do; asked where noise is all that is wrong.
    """
    because = _WRONG
    if held.varies_less:
        # Of values that are no counts it is not known how much of a misfit their noise explains.
        held, own, by_noise = held.with_noise(), None if own is None else own.with_noise(), None
        because = f"{_NO_COUNTS}; else {_WRONG}"
    ratios = _ratios(held)
    said = _Saying(
        ratio=_worst(ratios),
        n_held_out=len(held.made),
        n_pixels=n_pixels * len(held.made),
        explained=explained,
    )
    chance = max(float(np.sqrt(held.variance.sum())), 1e-30)
    visible = min(held.empty.sum(), held.empty_changes.sum()) > _SEEN * chance
    if not visible and not _significance(held.agreement) > _SEEN:
        if departure > _NOISE:
            text = f"shows noise: the frames hold too few counts for it; {against_noise()}"
            return said(text, is_bad=True, shows_an_object=False)
        text = "is empty to within the noise: the frames do not change from one to the next"
        return said(text, shows_an_object=False)
    if not visible:
        # The prediction is nearer than an empty object where it agrees with more than half of its departure.
        nearer = float(held.agreement.sum()) > 0.5 * float(held.strength.sum())
        return said.better() if nearer else said.worse(f"{_NOISY}; {against_noise()}")
    if any(ratio.value > LIMIT for ratio in ratios):
        noise = [ratio.value for ratio in _ratios(by_noise())] if by_noise is not None else []
        noise = [max(0.0, value) for value in noise] + [0.0] * (len(ratios) - len(noise))
        said.noise = noise[ratios.index(said.ratio)]
        if any(r.value - r.chance - of > LIMIT for r, of in zip(ratios, noise, strict=False)):
            return said.worse(because)
        if said.ratio.value > (LIMIT_WITH_NOISE if forgives_noise else LIMIT):
            return said.worse(f"{_NOISY}; {against_noise()}")
    if own is not None:
        worst = _worst(_ratios(own))
        if worst.value - worst.chance > LIMIT_WITH_NOISE:
            # What it saw of these frames only helps it: if it fails on them, it is wrong.
            of_own = _Saying(
                ratio=worst,
                n_held_out=0,
                n_pixels=n_pixels * len(own.made),
                noise=said.noise,
                explained=explained,
            )
            return of_own.worse("it was trained or refined too little, or with settings that do not fit")
    return said.better()


@dataclass(kw_only=True)
class _Saying:
    """Verdicts with the same figures."""

    ratio: _Ratio
    n_held_out: int
    n_pixels: int
    explained: Callable[[str], str]
    noise: float | None = None

    def __call__(self, text: str, *, is_bad: bool = False, shows_an_object: bool = True) -> Verdict:
        return Verdict(
            is_bad=is_bad,
            misfit=self.ratio.made / self.n_pixels,
            misfit_of_empty_object=self.ratio.empty / self.n_pixels,
            misfit_by_noise=self.noise,
            shows_an_object=shows_an_object,
            sentence=f"the object {text}",
            n_held_out=self.n_held_out,
        )

    def _compared(self, degree: str) -> str:
        frames = "frames that were held out" if self.n_held_out else "the frames that it was made from"
        made, empty = self.ratio.made / self.n_pixels, self.ratio.empty / self.n_pixels
        return f"explains {frames} {degree} than an empty object ({made:.3g} against {empty:.3g})"

    def better(self) -> Verdict:
        """It passes."""
        return self(self._compared("better"))

    def worse(self, because: str) -> Verdict:
        """It does not."""
        degree = "no better" if self.ratio.value > _NO_BETTER else "little better"
        return self(f"{self._compared(degree)}: {self.explained(because)}", is_bad=True)
