"""Whether a background, a dose of each frame or another probe explains frames far better.

An object takes up a part of what is lacking: the verdict holds each frame at its own dose, and neighbouring
frames share what lies under all of them. So each unknown is fitted once along with the object, from the
frames that were not held out.
"""

from __future__ import annotations

from dataclasses import replace

from ptycho_config import RefineConfig
from ptycho_torch.data import Scan
from ptycho_torch.diagnosis.lacks import LIMIT, Kind, Lack
from ptycho_torch.refine.held_out.scale import ABOVE_NOISE, gain_of
from ptycho_torch.refine.held_out.trial import Counts, Measured, Part, Trial

__all__ = ["best_lack"]

_LEAST_MISFIT = 0.01
"""Share of the misfit of an empty object that is not worth the time to look into."""

_SURE = 2.0
"""Standard errors by which frames have to gain: those with much of what is lacking gain most, and scatter."""


def best_lack(
    trial: Trial, lit: Scan, part: Part, measured: Measured, *, config: RefineConfig
) -> Lack | None:
    """The unknown, of those that were not fitted, that explains frames that were held out best.

    Parameters
    ----------
    trial
        How objects are made.
    lit
        Neighbouring frames.
    part
        Those of them that were held out, and what is predicted for them.
    measured
        Their counts.
    config
        What was fitted.

    Returns
    -------
    Lack or None
        None where none of them leaves less than `ptycho_torch.diagnosis.lacks.LIMIT` of the misfit, or if
        there is nothing to explain.
    """
    held = measured.of(part.held)
    found = held.misfits(part.predicted)
    if found.made.sum() <= max(ABOVE_NOISE * held.noise(), _LEAST_MISFIT * found.empty.sum()):
        return None
    missing: dict[Kind, bool] = {
        "background": trial.dark is None,
        "dose": not config.refine_dose,
        "probe": not config.refine_probe,
    }
    best = None
    for kind, is_missing in missing.items():
        if not is_missing:
            continue
        misfit = held.misfits(_predicted(trial, lit, part, kind)).made
        share = float(misfit.sum() / found.made.sum())
        if gain_of(found.made, misfit) > _SURE and share <= LIMIT and (best is None or share < best.share):
            best = Lack(kind=kind, share=share)
    return best


def _predicted(trial: Trial, lit: Scan, part: Part, kind: Kind) -> Counts:
    """What the other frames predict for those that were held out, with this unknown fitted along."""
    made, probe, dark = trial.refit_with(lit.take(part.rest), kind)
    return replace(trial, dark=dark).gathered(replace(lit, probe=probe), made)[0][part.held]
