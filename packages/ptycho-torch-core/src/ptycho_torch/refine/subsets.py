"""Mini-batches that each cover the whole scan evenly.

Steps taken on a part of the frames are steps of the full problem only where that part lights the
object as the whole scan does: the ordered subsets of tomography (Hudson and Larkin, IEEE Trans.
Med. Imaging 13, 601, 1994). Frames are therefore put in order along a curve that fills the plane,
and every run of neighbours on it is dealt out to different subsets.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["deal", "first_count", "frames_per_pixel", "subset_counts", "z_order"]

_BITS = 16
_LONGEST_FALL = 40
_SHARE_OF_FALL = 0.75
_MOST_SUBSETS = 32
_MORE_STEPS = 1.5


def z_order(positions: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Order of positions along Morton's Z-curve.

    Parameters
    ----------
    positions
        (n, 2) ``[y, x]``; px.

    Returns
    -------
    ndarray
        (n,) int64: indices of the positions, neighbours in the plane mostly next to each other.
    """
    spread = positions - positions.min(axis=0)
    cells = (spread / max(float(spread.max()), 1e-12) * (2**_BITS - 1)).astype(np.int64)
    code = np.zeros(len(cells), dtype=np.int64)
    for bit in range(_BITS):
        code |= ((cells[:, 0] >> bit) & 1) << (2 * bit + 1)
        code |= ((cells[:, 1] >> bit) & 1) << (2 * bit)
    return np.argsort(code, kind="stable")


def deal(
    order: npt.NDArray[np.int64], n_subsets: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Deal frames out into subsets, one from every run of ``n_subsets`` neighbours to each.

    Parameters
    ----------
    order
        (n,) frame indices from :func:`z_order`.
    n_subsets
        Number of subsets, 1 to n.
    rng
        Source of the order within each run, the beginning of the first run and the order of the
        subsets.

    Returns
    -------
    list of ndarray
        Frame indices of each subset, ascending, so that files are read forwards.
    """
    if n_subsets == 1:
        return [np.sort(order)]
    turned = np.roll(order, int(rng.integers(n_subsets)))
    n_runs = -(-len(order) // n_subsets)
    runs = rng.permuted(np.tile(np.arange(n_subsets), (n_runs, 1)), axis=1)
    label = runs.reshape(-1)[: len(order)]
    return [
        np.sort(turned[label == subset]) for subset in rng.permutation(n_subsets) if (label == subset).any()
    ]


def frames_per_pixel(illumination: Tensor, squares: Tensor) -> float:
    r"""How many frames light a pixel of the object, on the mean over the light.

    .. math:: k(q) = \frac{\left(\sum_j p_j(q)\right)^2}{\sum_j p_j(q)^2}

    the participation ratio of the frames j with the light :math:`p_j(q)` at a pixel q: one where a single
    frame lights it, k where k frames do so equally.

    Parameters
    ----------
    illumination, squares
        Sums of :math:`p_j` and of :math:`p_j^2`, real, ``(height, width)``.

    Returns
    -------
    float
        One or more, or zero where there is no light.
    """
    light, power = illumination.double(), squares.double()
    frames = light.square() / power.clamp(min=torch.finfo(power.dtype).tiny)
    total = float(light.sum())
    return float((light * frames).sum()) / total if total > 0 else 0.0


def first_count(n_frames: int, per_pixel: float, *, quick: bool) -> int:
    """Number of subsets to begin with, so that each of them lights the whole object.

    Dealt out to M subsets, a pixel keeps 1/M of the frames that light it: one frame, on the mean, of as many
    subsets as frames light it. With more, a subset leaves holes, and its steps lead away from the solution.
    What that costs was measured: ``benchmarks/results/refine_subsets.json``. Where it is more important how
    many steps there are, half as many subsets more do: down to two thirds of a frame the rims of frames still
    light what their middles leave out.

    Parameters
    ----------
    n_frames
        Frames of the scan.
    per_pixel
        From :func:`frames_per_pixel`.
    quick
        Whether many steps are wanted: in few epochs, for unknowns beside the object, which come slowly, or
        because a penalty makes them short.
    """
    wanted = _MORE_STEPS * per_pixel if quick else per_pixel
    return max(1, min(_MOST_SUBSETS, n_frames, round(wanted)))


def subset_counts(most: int, epochs: int) -> list[int]:
    r"""Number of subsets in each epoch, falling to one.

    Small batches move the object fast while it is wrong; their steps disagree about the noise, so
    the last digits need all frames at once. From :math:`M_0` subsets the number falls
    as :math:`M_0^{1 - (k/K)^2}` in epoch k, with K three quarters of the epochs and at most 40.

    Parameters
    ----------
    most, epochs
        Subsets of the first epoch, and epochs to plan.
    """
    fall = min(_LONGEST_FALL, max(1, round(_SHARE_OF_FALL * epochs)))
    shares = (max(0.0, 1 - (epoch / fall) ** 2) for epoch in range(epochs))
    return [max(1, round(most**share)) for share in shares]
