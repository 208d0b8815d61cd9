r"""How far one object lies beside another where both were lit.

The departures of both from their means, d and e, are correlated over the pixels that both lit (Padfield,
IEEE Trans. Image Process. 21, 2706, 2012), with W and V one where each was lit:

.. math:: c(s) = \frac{|\sum_x d^*(x)\, e(x + s)|}
                      {\sqrt{\sum_x |d(x)|^2 V(x + s) \; \sum_x W(x) |e(x + s)|^2}}.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.held_out.trial import LIT, weight_of_half

__all__ = ["offset_between"]

_SHARED = 0.3
"""Least share of the pixels that both lit at offset zero; fewer agree by chance."""

_TINY = 1e-9

Array = npt.NDArray[np.complex128]


def offset_between(
    one: StitchedObject, other: StitchedObject, *, largest_px: int
) -> tuple[npt.NDArray[np.float64], float]:
    """Offset at which two objects agree best.

    Parameters
    ----------
    one, other
        Objects that have pixels in common; their phases may differ by a constant.
    largest_px
        Largest offset along an axis that is looked at; px.

    Returns
    -------
    offset : ndarray
        (2,) float64 ``[y, x]``, whole px: what ``one`` shows at r, ``other`` shows at r + offset.
    gain : float
        By how much they agree better there than where they are, in 0 to 1; zero if there is no better place.
    """
    origins = [np.rint(made.origin).astype(np.int64) for made in (one, other)]
    shapes = [np.array(made.object.shape) for made in (one, other)]
    # Coordinates from -origin on; one square holds both without wrapping round.
    start = -np.maximum(*origins)
    size = (
        int((np.maximum(*(s - o for s, o in zip(shapes, origins, strict=True))) - start).max()) + largest_px
    )

    def laid(made: StitchedObject, origin: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        lit = made.weight > LIT * weight_of_half(made.weight)
        mean = complex(made.object[lit].mean())
        values, mask = np.zeros((2, size, size), dtype=np.complex128)
        top, left = -origin - start
        where = np.s_[top : top + lit.shape[0], left : left + lit.shape[1]]
        values[where] = np.where(lit, made.object * np.conj(mean) / max(abs(mean) ** 2, _TINY) - 1, 0)
        mask[where] = lit
        return values, mask

    (d, w), (e, v) = (laid(*pair) for pair in zip((one, other), origins, strict=True))
    shared = _correlated(w, v).real
    energy = _correlated(np.abs(d) ** 2, v).real * _correlated(w, np.abs(e) ** 2).real
    agreement = np.abs(_correlated(d, e)) / np.sqrt(np.maximum(energy, _TINY))
    offsets = np.rint(np.fft.fftfreq(size) * size)
    near = np.abs(offsets) <= largest_px
    looked_at = near[:, None] & near & (shared >= max(_SHARED * shared[0, 0], 1.0))
    agreement = np.where(looked_at, agreement, 0.0)
    best = np.unravel_index(int(agreement.argmax()), agreement.shape)
    return offsets[np.array(best)], float(agreement[best] - agreement[0, 0])


def _correlated(one: Array | npt.NDArray[np.floating], other: Array | npt.NDArray[np.floating]) -> Array:
    return np.asarray(np.fft.ifft2(np.conj(np.fft.fft2(one)) * np.fft.fft2(other)))
