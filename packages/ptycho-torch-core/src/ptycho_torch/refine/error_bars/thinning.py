r"""Two scans from one: every count is given to one of them by the toss of a fair coin.

A Poisson count of mean :math:`\lambda` falls into two independent ones of mean :math:`\lambda/2` (the
colouring theorem: Kingman, Poisson Processes, Oxford 1993). Both scans have all positions, so that no overlap
is lost, as it would be if the frames were divided. With errors :math:`\epsilon_1, \epsilon_2` of variance
:math:`2\sigma^2` each, half the difference of the two solutions has the variance :math:`\sigma^2` of the
whole. What both have in common, such as a wrong model, does not show.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_config import Problem
from ptycho_torch.data import Scan
from ptycho_torch.data.scan.lazy import FrameStack
from ptycho_torch.metrics import fourier_ring_correlation
from ptycho_torch.refine.error_bars.bars import ErrorBars
from ptycho_torch.refine.error_bars.resolution import Resolution
from ptycho_torch.refine.error_bars.spread import Solve, levelled, local_sigma, middle_of
from ptycho_torch.refine.frames import knows_dose
from ptycho_torch.refine.result import RefineResult

__all__ = ["by_thinning", "cannot_be_thinned", "halves"]

_SAMPLE_FRAMES = 32
_EXPECTED = "counts of single photons"


def cannot_be_thinned(scan: Scan) -> Problem | None:
    """Why the counts of a scan cannot be given to two, or None.

    A few frames are looked at: their values must be whole, and not all multiples of a number above one.
    """
    if not knows_dose(scan):
        return _problem("these are amplitudes of unknown dose, and nobody knows how many photons they are")
    chosen = np.unique(np.linspace(0, scan.n_frames - 1, min(scan.n_frames, _SAMPLE_FRAMES)).astype(int))
    values = np.asarray(scan.diffraction[chosen])
    values = values[np.broadcast_to(scan.measured(values), values.shape)]
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        return _problem("these values are not whole, so that they are no counts")
    step = int(np.gcd.reduce(values[values > 0].astype(np.int64))) if (values > 0).any() else 1
    if step > 1:
        return _problem(f"these values are all multiples of {step}, so that {step} stands for one photon")
    return None


def _problem(reason: str) -> Problem:
    return Problem("error_bars", "thinning", f"{_EXPECTED}: {reason}; use shot, jackknife or none")


def halves(scan: Scan, *, seed: int) -> tuple[Scan, Scan]:
    """Two independent scans of half the dose at the same positions, whose counts add up to those of the scan.

    Counts at or above a ceiling were not measured and stay as they are in both.

    Parameters
    ----------
    scan
        Holds counts.
    seed
        Of the draws, which depend on nothing but it and the number of the frame.
    """
    first, second = (_Halved(scan, seed, other=other) for other in (False, True))
    if isinstance(scan.diffraction, FrameStack):
        return replace(scan, diffraction=first, statistics=None), replace(
            scan, diffraction=second, statistics=None
        )
    return tuple(replace(scan, diffraction=half[:], statistics=None) for half in (first, second))  # type: ignore[return-value]


class _Halved(FrameStack):
    """Half of the counts of a scan, drawn when they are read, the same ones every time."""

    def __init__(
        self, scan: Scan, seed: int, *, other: bool, rows: npt.NDArray[np.int64] | None = None
    ) -> None:
        super().__init__()
        self.scan, self.seed, self.other = scan, seed, other
        self.rows = np.arange(scan.n_frames) if rows is None else rows
        self.shape = (len(self.rows), scan.N, scan.N)
        self.dtype = np.dtype(scan.diffraction.dtype)

    def __getitem__(self, index: Any) -> npt.NDArray[Any]:
        rows = self.rows[index]
        every = np.atleast_1d(rows).ravel()
        drawn = np.empty((len(every), *self.shape[1:]), dtype=self.dtype)
        for place, row in enumerate(every.tolist()):
            drawn[place] = self._frame(row)
        return drawn.reshape((*np.shape(rows), *self.shape[1:]))

    def _frame(self, row: int) -> npt.NDArray[Any]:
        counts = np.asarray(self.scan.diffraction[row])
        whole = counts.astype(np.int64)
        chosen = np.random.default_rng((self.seed, row)).binomial(whole, 0.5)
        half = whole - chosen if self.other else chosen
        if self.scan.ceiling is not None:
            half = np.where(counts < self.scan.ceiling, half, whole)
        return half.astype(self.dtype)

    def take(self, indices: npt.ArrayLike) -> _Halved:
        """Stack of the frames at ``indices``; nothing is read."""
        return _Halved(self.scan, self.seed, other=self.other, rows=self.rows[np.asarray(indices)])

    def crop(self, N: int) -> FrameStack:
        """Refused: counts are drawn for whole frames."""
        raise TypeError("crop the frames before their counts are thinned")


def by_thinning(whole: RefineResult, scan: Scan, solve: Solve, *, seed: int, is_fixed: bool) -> ErrorBars:
    """Error bars and resolution from two solutions that share no photon.

    Parameters
    ----------
    whole
        Result of the scan, with the error bars of shot noise.
    scan
        The scan.
    solve
        Solves another scan as this one was solved.
    seed
        Of the draws.
    is_fixed
        Whether probe and positions were given.
    """
    assert whole.error_bars is not None
    bars, middle = whole.error_bars, middle_of(whole)
    seen = ~bars.null_space
    region = seen if middle is None else middle
    parts = [
        levelled(solve(half, f"thinned {number} of 2"), whole, region, is_fixed=is_fixed)
        for number, half in enumerate(halves(scan, seed=seed), start=1)
    ]
    square = np.abs(parts[0] - parts[1]) ** 2 / 4
    resolution = None
    if middle is not None:
        resolution = Resolution(curve=fourier_ring_correlation(*_around(parts, middle)))
    return replace(
        bars, method="thinning", measured=local_sigma(square, bars.sigma, seen), resolution=resolution
    )


def _around(
    images: list[npt.NDArray[np.complex128]], region: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128], npt.NDArray[np.bool_]]:
    """Both images and the region, on the rectangle around the region."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return images[0][box], images[1][box], region[box]
