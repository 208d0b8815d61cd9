r"""Sub-pixel shifts as phase ramps.

.. math:: S_s = F^{-1} \operatorname{diag}\!\big(e^{-2\pi i f \cdot s}\big) F

on a periodic grid, so that :math:`(S_s O)(q) = O(q - s)` for every trigonometric polynomial that the
grid holds (the shift theorem). What leaves one side comes back at the other.

**At the Nyquist frequency.** A side of even length has one frequency, :math:`f = -1/2`, whose partner
:math:`+1/2` is the same sample. A phase there would make a real image complex, so the two share it:
the factor is their mean, :math:`\cos \pi s`. With it a real image stays real, the adjoint is the shift
by :math:`-s`, whole-pixel shifts are exact and gradients are smooth everywhere. The price is paid by
content at that one frequency of that axis: a shift of half a pixel takes it out, and two shifts in a row
are not their sum. Everywhere else, and at every frequency of a side of odd length, the shift is unitary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.types import ComplexPatches

__all__ = ["fourier_shift"]


def _ramp(shift: Tensor, frequency: Tensor) -> Tensor:
    """Factors of one axis, complex ``(..., n)``, for shifts ``(...)`` in px and ``n`` frequencies."""
    frequency = frequency.to(shift)
    angle = 2 * math.pi * shift[..., None] * frequency
    return torch.complex(angle.cos(), -angle.sin() * (frequency.abs() != 0.5))


def fourier_shift(patches: ComplexPatches, shift: Tensor) -> ComplexPatches:
    """Shift images by any number of pixels, periodically.

    Parameters
    ----------
    patches
        Real or complex, ``(..., height, width)``.
    shift
        Real, ``(..., 2)`` with the leading axes of ``patches``, or ``(2,)`` for one shift of all;
        ``[y, x]`` in px. A whole shift is ``torch.roll`` by it.

    Returns
    -------
    Tensor
        Shape and dtype of ``patches``. The adjoint in ``patches`` is the shift by ``-shift``.

    Raises
    ------
    ShapeError
        If the shapes do not fit or the shift is not real.

    Examples
    --------
    >>> image = torch.eye(4)
    >>> moved = fourier_shift(image, torch.tensor([1.0, 0.0]))
    >>> torch.allclose(moved, image.roll(1, dims=0), atol=1e-6)
    True
    """
    if patches.ndim < 2:
        raise ShapeError("patches", "(..., height, width)", tuple(patches.shape))
    leading = tuple(patches.shape[:-2])
    if tuple(shift.shape) not in {(2,), (*leading, 2)}:
        raise ShapeError("shift", f"{(*leading, 2)} or (2,), in the order [y, x]", tuple(shift.shape))
    if not shift.is_floating_point():
        raise ShapeError("shift", "a real floating-point tensor", shift.dtype)
    real = patches.real.dtype if patches.is_complex() else patches.dtype
    # Phases are computed in the finer of the two precisions and rounded once.
    shift = shift.to(torch.promote_types(shift.dtype, real))
    height, width = patches.shape[-2:]
    # A real image needs half of the columns of its transform.
    frequencies = torch.fft.fftfreq if patches.is_complex() else torch.fft.rfftfreq
    rows = _ramp(shift[..., 0], torch.fft.fftfreq(height, dtype=shift.dtype))
    columns = _ramp(shift[..., 1], frequencies(width, dtype=shift.dtype))
    ramp = (rows[..., :, None] * columns[..., None, :]).to(real.to_complex())
    if patches.is_complex():
        return torch.fft.ifft2(torch.fft.fft2(patches) * ramp)
    return torch.fft.irfft2(torch.fft.rfft2(patches) * ramp, s=(height, width))
