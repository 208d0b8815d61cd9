r"""The forward residual: how far predicted counts are from measured ones, without a truth.

.. math:: R = \frac{\sum |\sqrt{s\lambda} - \sqrt I|}{\sum \sqrt I}

over the measured pixels of all frames. 0 is a perfect prediction, 1 a prediction of nothing. It is a ratio of
sums, so that neither batches nor processes change it, and dark frames do not weigh as much as bright ones.
One number :math:`s` serves all frames of a scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.types import Counts, PixelMask

__all__ = ["CountPairs", "residual_of_pairs", "residual_sums"]

CountPairs: TypeAlias = Callable[[], Iterator[tuple[Counts, Counts]]]


def residual_sums(
    predicted: Counts,
    counts: Counts,
    *,
    measured: PixelMask | None = None,
    dose: float | Tensor = 1.0,
) -> Tensor:
    r"""Numerator and denominator of the forward residual, frame by frame.

    Parameters
    ----------
    predicted, counts
        Real, ``(frames, N, N)``: :math:`\lambda` and :math:`I`, zero or more.
    measured
        Bool, ``(N, N)``; pixels that are False do not count, whatever they hold.
    dose
        :math:`s`, or one number for each frame, ``(frames,)``.

    Returns
    -------
    Tensor
        Dtype of the counts, ``(2, frames)``: :math:`\sum|\sqrt{s\lambda} - \sqrt I|` and
        :math:`\sum\sqrt I` over the pixels of each frame.

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    if predicted.shape != counts.shape:
        raise ShapeError("predicted", tuple(counts.shape), tuple(predicted.shape))
    if isinstance(dose, Tensor):
        dose = dose[..., None, None]
    expected, amplitude = (_seen(values, measured).sqrt() for values in (predicted * dose, counts))
    return torch.stack([(expected - amplitude).abs().sum(dim=(-2, -1)), amplitude.sum(dim=(-2, -1))])


def residual_of_pairs(
    pairs: CountPairs,
    *,
    measured: PixelMask | None = None,
    per_frame_dose: bool = False,
    total: Callable[[Tensor], Tensor] = lambda sums: sums,
) -> float:
    r"""Forward residual of an object in any scale.

    :math:`s` makes the predicted light of all frames together equal to the measured one.

    Parameters
    ----------
    pairs
        Gives predicted and measured counts ``(batch, N, N)``, batch after batch; called twice.
    measured
        As for :func:`residual_sums`.
    per_frame_dose
        A number :math:`s` for every frame, which takes the unsteadiness of a source out. Another quantity,
        and a smaller one: name it where it is quoted.
    total
        Adds up the sums of several processes, each of which has its own pairs.

    Returns
    -------
    float
        NaN where nothing was measured.
    """
    dose = None
    if not per_frame_dose:
        predicted_light, light = _summed((_light(*pair, measured) for pair in pairs()), total)
        dose = light / predicted_light if predicted_light > 0 else 1.0
    misfit, amplitude = _summed(_rows(pairs, measured, dose), total)
    return misfit / amplitude if amplitude > 0 else float("nan")


def _rows(pairs: CountPairs, measured: PixelMask | None, dose: float | None) -> Iterator[Tensor]:
    for predicted, counts in pairs():
        factor: float | Tensor | None = dose
        if factor is None:
            predicted_light, light = _light(predicted, counts, measured)
            factor = light / predicted_light.clamp(min=1e-20)
        yield residual_sums(predicted, counts, measured=measured, dose=factor)


def _summed(rows: Iterator[Tensor], total: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """Sums of ``(2, frames)`` over everything; in double precision, which not every device has."""
    sums = torch.zeros(2, dtype=torch.float64)
    for row in rows:
        sums += row.cpu().to(torch.float64).sum(dim=1)
    first, second = total(sums).tolist()
    return first, second


def _seen(values: Counts, measured: PixelMask | None) -> Tensor:
    return values if measured is None else torch.where(measured, values, values.new_zeros(()))


def _light(predicted: Counts, counts: Counts, measured: PixelMask | None) -> Tensor:
    """Predicted and measured counts of each frame, ``(2, frames)``."""
    return torch.stack([_seen(values, measured).sum(dim=(-2, -1)) for values in (predicted, counts)])
