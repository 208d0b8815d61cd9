r"""Where a refinement begins: a transparent object, tilted where the frames lie beside the middle.

Frames whose beam is d pixels beside the middle are those of an object with the phase ramp
:math:`\exp(2\pi i\, d \cdot r / N)` (shift theorem). A refinement finds that ramp, but from an object without
it that takes more epochs than all the rest.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ptycho_torch.data import Scan
from ptycho_torch.data.scan.geometry import is_near_field
from ptycho_torch.diagnosis.evidence import far_field

__all__ = ["flat", "tilt_of"]

_FRAMES = 256
_VALUES = 1 << 24
_EXPLAINED = 0.2
_COUNTS = 100.0
_SHOWN = 0.02
"""Share of the light of the probe on measured pixels below which its place cannot be told, as where it fills
the counters."""

Shift = tuple[int, int]


def tilt_of(scan: Scan) -> Shift:
    """How far the beam lies beside the middle of the frames.

    The mean of some frames is compared with the light that the probe alone sends to the detector, as square
    roots, whose counting noise is the same everywhere. A shift has to explain a fifth of what the unshifted
    light leaves, and more than noise could.

    Parameters
    ----------
    scan
        Frames and probe.

    Returns
    -------
    tuple of int
        ``(down, right)``; px. Zero where nothing better explains the frames, and in the near field, where a
        ramp moves the light by less.
    """
    if is_near_field(scan.metadata):
        return 0, 0
    count = min(scan.n_frames, _FRAMES, max(1, _VALUES // scan.N**2))
    chosen = np.unique(np.linspace(0, scan.n_frames - 1, count).astype(np.int64))
    frames = np.asarray(scan.diffraction[chosen])
    measured = scan.measured(frames)
    free = measured if measured.ndim == 2 else np.logical_and.reduce(measured, axis=0)
    seen = np.sqrt(np.where(free, frames.sum(axis=0, dtype=np.float64), 0))
    light = far_field(scan.probe)
    shown = _correlation(free.astype(np.float64), light)
    if shown[0, 0] < _SHOWN:
        return 0, 0
    agreement = _correlation(seen, np.sqrt(light)) ** 2 / np.maximum(shown, 1e-6)
    agreement[shown < _SHOWN] = 0
    at = np.unravel_index(int(agreement.argmax()), agreement.shape)
    left = float((seen**2).sum() - agreement[0, 0])
    gained = float(agreement[at] - agreement[0, 0])
    if gained <= max(_COUNTS, _EXPLAINED * left):
        return 0, 0
    down, right = (int(index) - scan.N * (index > scan.N // 2) for index in at)
    return int(down), int(right)


def _correlation(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum of products of ``first`` with ``second`` shifted by every index."""
    product = np.fft.fft2(first) * np.conj(np.fft.fft2(second))
    found: npt.NDArray[np.float64] = np.fft.ifft2(product).real
    return found


def flat(
    shape: tuple[int, int], origin: npt.NDArray[np.float64], tilt: Shift, n_pixels: int
) -> npt.NDArray[np.complex128]:
    """A transparent object with a phase ramp.

    Parameters
    ----------
    shape
        ``(height, width)``; px.
    origin
        (2,) float64 ``[y, x]``: array index = coordinate + origin. The phase is zero at coordinate zero.
    tilt
        From :func:`tilt_of`; px of the detector.
    n_pixels
        Edge of a frame; px.
    """
    ramps = [
        np.exp(2j * math.pi * by / n_pixels * (np.arange(length) - start)) if by else np.ones(length, complex)
        for length, start, by in zip(shape, origin, tilt, strict=True)
    ]
    return ramps[0][:, None] * ramps[1][None, :]
