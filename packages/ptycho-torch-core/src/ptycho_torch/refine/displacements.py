"""What moves frames together: an affine map of positions, a drift in the frame number, a whole scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates
from scipy.signal import fftconvolve
from torch import Tensor

from ptycho_torch.refine.canvas import WorkingCanvas

__all__ = ["Displacements", "displacements_of", "taken_along"]

_DEGREE = 3
_FRAMES_PER_PIECE = 8
_MOST_PIECES = 8
_INDEPENDENT = 1e-2
_DIM = 1e-3


@dataclass(frozen=True, kw_only=True)
class Displacements:
    """Functions of the frames, each for a displacement along y and one along x.

    Attributes
    ----------
    positions
        (n, 2) float64 ``[y, x]``, as they are stated; px.
    affine
        (n, 2) float64, the positions about their mean over ``reach_px``, or (n, 0).
    drift
        (n, m) float64, mean zero, orthogonal, rms one; with several scans these move whole scans, too.
    middle
        (2,) float64: mean of the positions; px.
    reach_px
        Root mean square distance of the frames from it.
    """

    positions: npt.NDArray[np.float64]
    affine: npt.NDArray[np.float64]
    drift: npt.NDArray[np.float64]
    middle: npt.NDArray[np.float64]
    reach_px: float

    @property
    def n_affine(self) -> int:
        """How many of the functions belong to the affine map; they come first."""
        return self.affine.shape[1]

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """(n, K) float64."""
        return np.concatenate((self.affine, self.drift), axis=1)

    def fields(self, canvas: WorkingCanvas, light: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """The functions over the object, (K, height, width): their mean over the frames that light a pixel.

        An affine map is one of the object as well. ``light`` is the intensity (N, N) of the probe.
        """
        axes = [np.arange(side, dtype=np.float64) for side in canvas.shape]
        own = [
            (axis - start - middle) / self.reach_px
            for axis, start, middle in zip(axes, canvas.origin, self.middle, strict=True)
        ]
        linear = np.stack(np.meshgrid(*own, indexing="ij"))[: self.n_affine]
        corner = np.rint(self.positions + canvas.origin).astype(np.int64) - len(light) // 2
        lit = _laid(np.ones(len(corner)), corner, light, canvas.shape)
        lit = np.maximum(lit, 0) + _DIM * lit.max()
        means = [_laid(values, corner, light, canvas.shape) / lit for values in self.drift.T]
        return np.concatenate((linear, np.reshape(means, (-1, *canvas.shape))))


def displacements_of(
    positions: npt.NDArray[np.float64],
    *,
    affine: bool,
    drift: bool,
    scan_index: npt.NDArray[np.int64] | None = None,
) -> Displacements:
    """Functions for positions (n, 2) ``[y, x]`` in px, in the order in which the frames were taken.

    Where ``scan_index`` (n,) numbers several scans, each moves as a whole, and drifts by itself.

    A drift is a cubic spline in the number of the frame (de Boor, A Practical Guide to Splines, 1978), of
    eight pieces at most. What it has in common with an affine map that is asked for too is left out of it.
    """
    n = len(positions)
    middle = positions.mean(axis=0)
    reach = float(np.sqrt(((positions - middle) ** 2).sum(axis=1).mean())) or 1.0
    linear = (positions - middle) / reach if affine else np.zeros((n, 0))
    moves = drift or scan_index is not None
    return Displacements(
        positions=positions,
        affine=linear,
        drift=_independent(_of_scans(n, scan_index, drift), linear) if moves else np.zeros((n, 0)),
        middle=middle,
        reach_px=reach,
    )


def taken_along(image: Tensor, moved: Tensor) -> Tensor:
    """Complex image ``(height, width)`` whose pixels were moved by ``(2, height, width)`` px, ``[y, x]``.

    By cubic splines, on the CPU: an object is moved in a few epochs.
    """
    height, width = image.shape
    index = np.mgrid[:height, :width] - moved.cpu().numpy()
    values = map_coordinates(image.cpu().numpy(), index, order=_DEGREE, mode="nearest")
    return torch.from_numpy(values).to(image)


def _of_scans(n: int, scan_index: npt.NDArray[np.int64] | None, drift: bool) -> npt.NDArray[np.float64]:
    """Functions of n frames, each zero beside one scan, (n, m): a constant, or splines, which sum to one."""
    index = np.zeros(n, dtype=np.int64) if scan_index is None else scan_index
    parts = []
    for scan in np.unique(index):
        rows = index == scan
        count = int(rows.sum())
        own = _splines(count) if drift else np.ones((count, 1))
        part = np.zeros((n, own.shape[1]))
        part[rows] = own
        parts.append(part)
    return np.concatenate(parts, axis=1)


def _splines(n: int) -> npt.NDArray[np.float64]:
    """Cubic B-splines over the numbers of n frames, (n, m) float64."""
    pieces = max(1, min(_MOST_PIECES, n // _FRAMES_PER_PIECE))
    knots = np.concatenate((np.zeros(_DEGREE), np.linspace(0, 1, pieces + 1), np.ones(_DEGREE)))
    return np.asarray(BSpline.design_matrix(np.linspace(0, 1, n), knots, _DEGREE).toarray())


def _independent(
    functions: npt.NDArray[np.float64], linear: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Orthogonal functions, rms one, of what constant and linear ones leave of others, (n, m)."""
    n = len(functions)
    taken = np.concatenate((np.ones((n, 1)), linear), axis=1)
    left = functions - taken @ np.linalg.lstsq(taken, functions, rcond=None)[0]
    vectors, values, _ = np.linalg.svd(left, full_matrices=False)
    return np.asarray(vectors[:, values > _INDEPENDENT * values[0]] * np.sqrt(n))


def _laid(
    values: npt.NDArray[np.float64],
    corner: npt.NDArray[np.int64],
    light: npt.NDArray[np.floating],
    shape: tuple[int, int],
) -> npt.NDArray[np.float64]:
    """Sum of the light of all frames, each times its value, (height, width)."""
    points = np.zeros(shape)
    np.add.at(points, (corner[:, 0], corner[:, 1]), values)
    height, width = shape
    return np.asarray(fftconvolve(points, light)[:height, :width])
