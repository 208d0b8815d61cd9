"""Far-field propagation as a unitary discrete Fourier transform.

The detector sees the Fraunhofer pattern of the exit wave. With ``norm="ortho"`` the transform is
unitary, so the power in a frame equals the power in the exit wave (Parseval) and the adjoint of
the transform is its inverse.
"""

from __future__ import annotations

import torch

from ptycho_torch.types import Field

__all__ = ["far_field", "far_field_adjoint"]

_AXES = (-2, -1)


def far_field(exit_wave: Field, *, centred: bool = True) -> Field:
    r"""Propagate exit waves to the detector.

    .. math:: \Psi = \mathrm{fftshift}\,\mathrm{DFT}(\psi) / N

    Parameters
    ----------
    exit_wave
        Complex, shape ``(..., N, N)``. Row and column 0 are the corner of the patch.
    centred
        Put the zero frequency at ``[N // 2, N // 2]``, where detectors have it; otherwise it stays at
        ``[0, 0]``.

    Returns
    -------
    Tensor
        Complex, same shape.

    Notes
    -----
    The origin of the exit wave is its corner and not its centre. Moving it multiplies the field
    by a known phase ramp, which no intensity depends on.
    """
    field = torch.fft.fft2(exit_wave, norm="ortho")
    return torch.fft.fftshift(field, dim=_AXES) if centred else field


def far_field_adjoint(field: Field, *, centred: bool = True) -> Field:
    """Adjoint (and inverse) of :func:`far_field`.

    Parameters
    ----------
    field
        Complex, shape ``(..., N, N)``.
    centred
        Where its zero frequency is, see :func:`far_field`.

    Returns
    -------
    Tensor
        Complex, same shape: the exit wave.
    """
    if centred:
        field = torch.fft.ifftshift(field, dim=_AXES)
    return torch.fft.ifft2(field, norm="ortho")
