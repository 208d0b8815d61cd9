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


def far_field(exit_wave: Field) -> Field:
    r"""Propagate exit waves to the detector.

    .. math:: \Psi = \mathrm{fftshift}\,\mathrm{DFT}(\psi) / N

    Parameters
    ----------
    exit_wave
        Complex, shape ``(..., N, N)``. Row and column 0 are the corner of the patch.

    Returns
    -------
    Tensor
        Complex, same shape; the zero frequency is at index ``[N // 2, N // 2]``.

    Notes
    -----
    The origin of the exit wave is its corner and not its centre. Moving it multiplies the field
    by a known phase ramp, which no intensity depends on.
    """
    return torch.fft.fftshift(torch.fft.fft2(exit_wave, norm="ortho"), dim=_AXES)


def far_field_adjoint(field: Field) -> Field:
    """Adjoint (and inverse) of :func:`far_field`.

    Parameters
    ----------
    field
        Complex, shape ``(..., N, N)``, zero frequency at ``[N // 2, N // 2]``.

    Returns
    -------
    Tensor
        Complex, same shape: the exit wave.
    """
    return torch.fft.ifft2(torch.fft.ifftshift(field, dim=_AXES), norm="ortho")
