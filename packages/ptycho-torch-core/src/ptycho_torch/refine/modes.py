"""Further incoherent modes for a probe that was given with too few."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from ptycho_torch.physics import Calibration, calibrate

__all__ = ["calibrated", "with_modes"]

_SHARE = 0.1


def with_modes(probe: npt.NDArray[np.complexfloating], count: int) -> npt.NDArray[np.complex64]:
    r"""Probe with weak modes added, from which a refinement finds those of the experiment.

    The modes that are added are the strongest one times :math:`y, x, y^2, xy, x^2, \dots` about its centre,
    orthogonal to all before them: what a beam that trembles, or a source of finite size, adds first
    (Thibault and Menzel, Nature 494, 68, 2013, on modes).

    Parameters
    ----------
    probe
        (modes, N, N) complex.
    count
        Modes wanted, no fewer than there are.

    Returns
    -------
    ndarray
        (count, N, N) complex64 of the same power, a tenth of it shared by the modes that were added.

    Raises
    ------
    ValueError
        If fewer modes are wanted than there are.
    """
    given = np.asarray(probe, dtype=np.complex128)
    if count < len(given):
        raise ValueError(f"probe_modes: expected at least {len(given)}, the modes of the probe, got {count}")
    if count == len(given):
        return given.astype(np.complex64)
    power = np.abs(given) ** 2
    first = given[int(power.sum(axis=(1, 2)).argmax())]
    light = np.abs(first) ** 2 / (np.abs(first) ** 2).sum()
    y, x = (axis - (axis * light).sum() for axis in np.mgrid[: given.shape[1], : given.shape[2]])
    basis = [mode / np.linalg.norm(mode) for mode in given if mode.any()]
    added: list[npt.NDArray[np.complex128]] = []
    degree = 1
    while len(added) < count - len(given):
        for step in range(degree + 1):
            mode = first * y ** (degree - step) * x**step
            for other in basis:
                mode = mode - np.vdot(other, mode) * other
            basis.append(mode / np.linalg.norm(mode))
            added.append(basis[-1])
        degree += 1
    extra = np.stack(added[: count - len(given)]) * (_SHARE * power.sum() / (count - len(given))) ** 0.5
    return np.concatenate([given * (1 - _SHARE) ** 0.5, extra]).astype(np.complex64)


def calibrated(
    probes: Iterable[npt.NDArray[np.complexfloating]], count: int | None, mean_counts: float
) -> list[Calibration]:
    """Gauge of each probe, with as many modes as are to be fitted.

    Parameters
    ----------
    probes
        Each (modes, N, N).
    count
        Modes wanted; None: as they are.
    mean_counts
        Of the frames, see :func:`ptycho_torch.physics.calibrate`.
    """
    wanted = [np.asarray(probe) if count is None else with_modes(probe, count) for probe in probes]
    return [calibrate(torch.from_numpy(probe), mean_counts) for probe in wanted]
