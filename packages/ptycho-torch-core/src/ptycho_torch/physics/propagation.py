r"""Propagation of exit waves to a detector in the far field or in the near field.

In the far field the detector shows the Fourier transform of the exit wave. In the near field it shows the
wave itself, a distance :math:`z` further on:

.. math:: \Psi = F^{-1} H F \psi, \qquad
          H(q) = e^{2\pi i z \left(\sqrt{\lambda^{-2} - |q|^2} - \lambda^{-1}\right)}
               \approx e^{-i\pi\lambda z |q|^2},

the angular spectrum without the phase that all of it has in common (Goodman, Introduction to Fourier Optics,
3.10; on the right Fresnel's approximation, 4.2). Its modulus is one, so both are unitary: the adjoint is the
inverse, and the power of a wave stays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.types import Field

__all__ = ["FarField", "NearField", "Propagation", "near_field_angle", "near_field_transfer"]


def near_field_transfer(
    n_pixels: int, *, wavelength_m: float, distance_m: float, pixel_m: tuple[float, float]
) -> Tensor:
    """Transfer function of free space.

    Parameters
    ----------
    n_pixels
        Edge ``N`` of the waves; px.
    wavelength_m, distance_m
        Wavelength, and the way that the waves go; negative: back. m.
    pixel_m
        Edge of a pixel, ``(y, x)``; m. No smaller than a wavelength.

    Returns
    -------
    Tensor
        complex128, ``(N, N)``, frequency zero at ``[N // 2, N // 2]``, of modulus one.

    Notes
    -----
    The difference of the roots is taken as :math:`-\\lambda |q|^2 / (1 + \\sqrt{1 - \\lambda^2 |q|^2})`,
    which loses no digits where the wavelength is small beside a pixel.
    """
    angle = distance_m * near_field_angle(n_pixels, wavelength_m=wavelength_m, pixel_m=pixel_m)
    return torch.polar(torch.ones_like(angle), angle)


def near_field_angle(n_pixels: int, *, wavelength_m: float, pixel_m: tuple[float, float]) -> Tensor:
    """Phase of :func:`near_field_transfer` over a metre: float64, ``(N, N)``, rad/m.

    Parameters
    ----------
    n_pixels, wavelength_m, pixel_m
        As there.
    """
    index = torch.arange(n_pixels, dtype=torch.float64) - n_pixels // 2
    y, x = (index * (wavelength_m / (n_pixels * edge)) for edge in pixel_m)
    sine = y[:, None].square() + x[None, :].square()
    return -2 * torch.pi / wavelength_m * sine / (1 + (1 - sine).sqrt())


class Propagation(ABC):
    """What carries exit waves to the detector; unitary.

    Waves carry the phase ramp of :func:`ptycho_torch.refine.step.detector_ramp`, so that their transforms
    have frequency zero at ``[N // 2, N // 2]``.
    """

    @abstractmethod
    def to_detector(self, wave: Field) -> Field:
        """Fields on the detector of exit waves, complex, ``(..., N, N)``."""

    @abstractmethod
    def to_sample(self, field: Field) -> Field:
        """The adjoint, and the inverse, of :meth:`to_detector`."""


class FarField(Propagation):
    """Fraunhofer's pattern: a unitary discrete Fourier transform."""

    def to_detector(self, wave: Field) -> Field:
        """Fields on the detector of exit waves, complex, ``(..., N, N)``."""
        return torch.fft.fft2(wave, norm="ortho")

    def to_sample(self, field: Field) -> Field:
        """The adjoint, and the inverse, of :meth:`to_detector`."""
        return torch.fft.ifft2(field, norm="ortho")


class NearField(Propagation):
    """The waves themselves, a distance further on; periodic at the edges of the frame.

    Parameters
    ----------
    transfer
        Complex, ``(N, N)``, of modulus one, frequency zero at ``[N // 2, N // 2]``: see
        :func:`near_field_transfer`.

    Raises
    ------
    ShapeError
        If the transfer function is no complex square.
    """

    def __init__(self, transfer: Tensor) -> None:
        if transfer.ndim != 2 or transfer.shape[0] != transfer.shape[1] or not transfer.is_complex():
            raise ShapeError("transfer", "(N, N), complex", f"{tuple(transfer.shape)}, {transfer.dtype}")
        self.transfer = transfer

    def to_detector(self, wave: Field) -> Field:
        """Fields on the detector of exit waves, complex, ``(..., N, N)``."""
        return torch.fft.ifft2(torch.fft.fft2(wave) * self.transfer)

    def to_sample(self, field: Field) -> Field:
        """The adjoint, and the inverse, of :meth:`to_detector`."""
        return torch.fft.ifft2(torch.fft.fft2(field) * self.transfer.conj())
