"""What a model knows of one scan: its probe, its intensity scale and its detector."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.forward import predicted_counts
from ptycho_torch.physics.optics import Optics
from ptycho_torch.physics.probe import illumination, with_power
from ptycho_torch.physics.scaling import Calibration
from ptycho_torch.physics.shapes import check_probe
from ptycho_torch.types import ComplexPatches, Counts, PixelMask, Probe

__all__ = ["ScanPhysics"]


class ScanPhysics(nn.Module):
    """From object patches to the counts that one scan would measure.

    Parameters
    ----------
    calibration
        Gauge of the scan: probe and intensity scale.
    support
        Float, ``(N, N)``: what the probe is multiplied with.
    measured
        Bool, ``(N, N)``: False where the detector did not measure; ``None`` if it all did.
    ceiling
        Real, ``(N, N)``: counts from which on a value was not measured; ``None``: there are none. It belongs
        to the frames and is not saved with the weights.
    smoothing_sigma
        Width in px of the blur of the illuminated field.
    trainable_probe
        Whether the modes are parameters. Their total power is held fixed.

    Raises
    ------
    ShapeError
        If the probe or the mask of measured pixels has the wrong shape.
    """

    probe_modes: Tensor
    probe_given: Tensor
    intensity_scale: Tensor
    mean_counts: Tensor
    measured: Tensor
    ceiling: Tensor | None
    support: Tensor

    def __init__(
        self,
        calibration: Calibration,
        support: Tensor,
        *,
        measured: PixelMask | None = None,
        ceiling: Tensor | None = None,
        smoothing_sigma: float = 0.0,
        trainable_probe: bool = False,
    ) -> None:
        super().__init__()
        n = int(support.shape[-1])
        _check_sizes(calibration.probe, measured, n)
        self.smoothing_sigma = smoothing_sigma
        if trainable_probe:
            self.register_parameter("probe_modes", nn.Parameter(calibration.probe.clone()))
        else:
            self.register_buffer("probe_modes", calibration.probe.clone())
        # What the file of the scan said, by which the scan is known again after the modes were refined.
        self.register_buffer("probe_given", calibration.probe.clone())
        self.register_buffer("support", support)
        self.register_buffer("intensity_scale", torch.tensor(calibration.intensity_scale))
        self.register_buffer("mean_counts", torch.tensor(calibration.mean_counts))
        everywhere = torch.ones(n, n, dtype=torch.bool)
        self.register_buffer("measured", everywhere if measured is None else measured.clone())
        self.register_buffer("ceiling", None if ceiling is None else ceiling.clone(), persistent=False)

    @property
    def probe(self) -> Probe:
        """Probe in use: the modes inside their support, at the power that the gauge fixes."""
        return with_power(self.probe_modes * self.support, (self.support.shape[-1] / 2) ** 2)

    def measured_in(self, counts: Counts) -> PixelMask:
        """Where frames were measured: bool, ``(N, N)``, or of the shape of ``counts`` where frames differ."""
        return self.measured if self.ceiling is None else self.measured & (counts < self.ceiling)

    def optics(self, counts: Counts) -> Optics:
        """Probe in use, detector and blur, as networks and classical steps take them for these frames."""
        return Optics(self.probe, self.measured_in(counts), self.smoothing_sigma)

    def predict_counts(self, patches: ComplexPatches) -> Counts:
        """Expected counts, real ``(..., N, N)``, of object patches ``(..., N, N)``."""
        return predicted_counts(
            patches, self.probe, self.intensity_scale, smoothing_sigma=self.smoothing_sigma
        )

    @torch.no_grad()
    def overlap(self, probe: Probe) -> float:
        r"""Likeness of a probe to the one of this scan, as given or as refined, from 0 to 1.

        .. math:: \frac{\mathrm{tr}\,|P^\dagger Q|}{\|P\|\,\|Q\|}

        the fidelity of two mutual intensities (Uhlmann 1976), which does not depend on the scale of
        either probe nor on how its light is divided into modes.

        Parameters
        ----------
        probe
            Complex, ``(modes, N, N)``, any positive power.

        Raises
        ------
        ShapeError
            If the probe has another size.
        """
        _check_sizes(probe, None, int(self.support.shape[-1]))
        other = probe.to(device=self.support.device, dtype=torch.complex128).flatten(1)
        return max(
            _fidelity(own.detach().to(torch.complex128).flatten(1), other)
            for own in (self.probe_given, self.probe)
        )

    @torch.no_grad()
    def changed(
        self, *, dose: float = 1.0, measured: PixelMask | None = None, ceiling: Tensor | None = None
    ) -> ScanPhysics:
        """The same optics at another dose or with fewer pixels; nothing is shared that could be changed.

        Parameters
        ----------
        dose
            Factor on the counts.
        measured
            Bool, ``(N, N)``: pixels that were measured, of those that this scan has.
        ceiling
            In place of that of this scan, see the class.
        """
        other = copy.deepcopy(self)
        other.intensity_scale.mul_(dose)
        other.mean_counts.mul_(dose)
        other.ceiling = None if ceiling is None else ceiling.to(other.measured.device)
        if measured is not None:
            _check_sizes(self.probe_modes, measured, int(self.support.shape[-1]))
            other.measured.logical_and_(measured.to(other.measured.device))
        return other

    @torch.no_grad()
    def light(self) -> Tensor:
        """Illumination of a patch, summed over modes: real, ``(N, N)``."""
        return illumination(self.probe)


def _fidelity(first: Tensor, second: Tensor) -> float:
    product = torch.linalg.svdvals(first.conj() @ second.T).sum()
    return float(product / (torch.linalg.vector_norm(first) * torch.linalg.vector_norm(second)))


def _check_sizes(probe: Probe, measured: Tensor | None, n_pixels: int) -> None:
    check_probe(probe)
    if probe.shape[-1] != n_pixels:
        raise ShapeError("probe", f"(modes, {n_pixels}, {n_pixels})", tuple(probe.shape))
    if measured is None:
        return
    if tuple(measured.shape) != (n_pixels, n_pixels):
        raise ShapeError("measured", f"({n_pixels}, {n_pixels})", tuple(measured.shape))
    if measured.dtype != torch.bool:
        raise ShapeError("measured", "a boolean tensor", measured.dtype)
