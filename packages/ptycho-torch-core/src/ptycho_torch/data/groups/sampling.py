"""Which frames are trained on, and which are set aside to validate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ptycho_config.errors import ConfigError, Problem

__all__ = ["choose_frames", "shares", "split_validation"]

Indices = npt.NDArray[np.int64]


def choose_frames(
    n_frames: int,
    n_groups: int | None,
    *,
    n_subsample: int | None = None,
    sequential: bool = False,
    seed: int = 0,
) -> Indices:
    """Choose the frames of a scan to work on.

    Parameters
    ----------
    n_frames
        Frames in the scan.
    n_groups
        How many to take; ``None`` takes all that ``n_subsample`` leaves.
    n_subsample
        First draw this many frames, then choose among them; ``None`` draws all.
    sequential
        True: the first frames in scan order. False: a random choice.
    seed
        Seed of the random choice.

    Returns
    -------
    ndarray
        int64, ``(n,)``, in scan order, each frame once.

    Raises
    ------
    ConfigError
        If more frames are asked for than exist; the message says how many there are.
    """
    problems = []
    if n_subsample is not None and n_subsample > n_frames:
        problems.append(Problem("n_subsample", n_subsample, f"at most {n_frames}, the frames in the scan"))
    available = n_frames if n_subsample is None else min(n_subsample, n_frames)
    if n_groups is not None and n_groups > available:
        hint = "use none to take all there are"
        problems.append(Problem("n_groups", n_groups, f"at most {available}, the frames available", hint))
    if problems:
        raise ConfigError(problems)
    wanted = available if n_groups is None else n_groups
    if sequential:
        return np.arange(wanted, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(n_frames)
    return np.sort(order[:available][:wanted]).astype(np.int64)


def shares(total: int | None, sizes: Sequence[int], *, name: str = "n_groups") -> list[int | None]:
    """Divide a number among scans in proportion to their frames, by largest remainders.

    Parameters
    ----------
    total
        What to divide; ``None`` gives every scan ``None``.
    sizes
        Frames of each scan.
    name
        Setting that ``total`` is the value of, for the message.

    Returns
    -------
    list of int or None
        At least one for each, the sum is ``total``.

    Raises
    ------
    ConfigError
        If there are fewer than there are scans.
    """
    if total is None or len(sizes) == 1:
        return [total] * len(sizes)
    if total < len(sizes):
        hint = f"there are {len(sizes)} scans; take more, or fewer scans"
        raise ConfigError(Problem(name, total, f"at least {len(sizes)}, one for each scan", hint))
    exact = np.maximum(np.asarray(sizes, dtype=np.float64) / sum(sizes) * total, 1.0)
    exact *= total / exact.sum()
    whole = np.maximum(np.floor(exact).astype(int), 1)
    order = np.argsort(whole - exact, kind="stable")
    for place in order[: max(0, total - int(whole.sum()))]:
        whole[place] += 1
    while whole.sum() > total:
        whole[int(np.argmax(np.where(whole > 1, whole - exact, -np.inf)))] -= 1
    return [int(count) for count in whole]


def split_validation(frames: Indices, fraction: float, *, seed: int) -> tuple[Indices, Indices]:
    """Set a random part of the frames aside.

    Parameters
    ----------
    frames
        int64, ``(n,)``.
    fraction
        Part to set aside, at least 0 and less than 1. Above 0 at least one frame is set aside as
        long as one remains to train on.
    seed
        Seed of the choice.

    Returns
    -------
    train, validation : ndarray
        int64, in the order of ``frames``; together they are ``frames``.
    """
    count = min(len(frames) - 1, max(1, round(fraction * len(frames)))) if fraction > 0 else 0
    aside = np.zeros(len(frames), dtype=bool)
    aside[np.random.default_rng(seed).permutation(len(frames))[:count]] = True
    return frames[~aside], frames[aside]
