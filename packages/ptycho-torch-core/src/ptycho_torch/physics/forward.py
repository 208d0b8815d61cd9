"""From object patches to expected counts on the detector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptycho_torch.physics.fourier import far_field, far_field_adjoint
from ptycho_torch.physics.probe import gaussian_transfer
from ptycho_torch.physics.shapes import check_field, check_patches, check_probe
from ptycho_torch.types import ComplexPatches, Counts, Field, Probe

__all__ = ["DiffractionOperator", "incoherent_intensity", "predicted_counts"]


class DiffractionOperator(nn.Module):
    r"""The linear part of the forward model for a fixed probe.

    .. math:: \Psi_m = F\,G\,(P_m \cdot O)

    with :math:`F` the unitary far-field transform and :math:`G` an optional Gaussian blur of the
    illuminated field (identity when ``smoothing_sigma`` is zero).

    Parameters
    ----------
    probe
        Complex, ``(modes, N, N)``.
    smoothing_sigma
        Width of the blur in px; 0 leaves it out.

    Raises
    ------
    ShapeError
        If the probe is not ``(modes, N, N)`` complex.
    """

    probe: Tensor
    transfer: Tensor | None

    def __init__(self, probe: Probe, *, smoothing_sigma: float = 0.0) -> None:
        super().__init__()
        check_probe(probe)
        if isinstance(probe, nn.Parameter):
            self.probe = probe
        else:
            self.register_buffer("probe", probe, persistent=False)
        transfer = None
        if smoothing_sigma > 0:
            real = probe.real.dtype
            transfer = gaussian_transfer(probe.shape[-1], smoothing_sigma, dtype=real).to(probe.device)
        self.register_buffer("transfer", transfer, persistent=False)

    def forward(self, patches: ComplexPatches) -> Field:
        """Detector fields ``(..., modes, N, N)`` of patches ``(..., N, N)``.

        Raises
        ------
        ShapeError
            If the patches do not match the probe.
        """
        check_patches(patches, self.probe)
        return far_field(self._smooth(self.probe * patches.unsqueeze(-3)))

    def adjoint(self, field: Field) -> ComplexPatches:
        """Adjoint: patches ``(..., N, N)`` from detector fields ``(..., modes, N, N)``.

        Raises
        ------
        ShapeError
            If the fields do not match the probe.
        """
        check_field(field, self.probe)
        exit_wave = self._smooth(far_field_adjoint(field))
        return (self.probe.conj() * exit_wave).sum(dim=-3)

    def _smooth(self, exit_wave: Field) -> Field:
        # A real, even transfer function makes the blur its own adjoint.
        if self.transfer is None:
            return exit_wave
        return torch.fft.ifft2(torch.fft.fft2(exit_wave) * self.transfer)


def incoherent_intensity(field: Field) -> Tensor:
    r"""Intensity :math:`\sum_m |\Psi_m|^2`, real ``(..., N, N)``, of fields ``(..., modes, N, N)``."""
    return (field.real.square() + field.imag.square()).sum(dim=-3)


def predicted_counts(
    patches: ComplexPatches,
    probe: Probe,
    intensity_scale: float | Tensor,
    *,
    smoothing_sigma: float = 0.0,
) -> Counts:
    r"""Expected counts of each patch.

    .. math:: \lambda = s \sum_m |F\,G\,(P_m \cdot O)|^2

    Parameters
    ----------
    patches
        Complex object patches, ``(..., N, N)``.
    probe
        Complex, ``(modes, N, N)``.
    intensity_scale
        :math:`s`, counts per unit of normalised intensity, positive.
    smoothing_sigma
        Width in px of the Gaussian blur of the illuminated field; 0 leaves it out.

    Returns
    -------
    Tensor
        Real, ``(..., N, N)``, in counts, zero frequency at ``[N // 2, N // 2]``.

    Raises
    ------
    ShapeError
        If probe or patches have the wrong shape.
    """
    operator = DiffractionOperator(probe, smoothing_sigma=smoothing_sigma)
    return intensity_scale * incoherent_intensity(operator(patches))
