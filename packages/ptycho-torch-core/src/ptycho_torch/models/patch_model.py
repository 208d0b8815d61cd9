"""A generator together with the physics of one scan: what is trained, saved and used."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ptycho_torch.errors import ShapeError
from ptycho_torch.models.registry import GeneratorSpec, build_generator
from ptycho_torch.physics.forward import predicted_counts
from ptycho_torch.physics.overlap import merge_groups
from ptycho_torch.physics.probe import illumination, soft_disk, with_power
from ptycho_torch.physics.scaling import Calibration, normalised_amplitude
from ptycho_torch.physics.shapes import check_frames, check_probe
from ptycho_torch.types import ComplexPatches, Counts, Probe

__all__ = ["PatchModel"]


class PatchModel(nn.Module):
    """Counts to object patches, and object patches back to expected counts.

    Parameters
    ----------
    architecture
        Name of a registered generator.
    spec
        Size and head of the generator.
    calibration
        Gauge of the scan: probe and intensity scale.
    measured
        Bool, ``(N, N)``: False where the detector did not measure; ``None`` if it all did.
    probe_support
        ``(diameter, sigma)`` in px of the soft disk that limits the probe, or ``None``.
    smoothing_sigma
        Width in px of the blur of the illuminated field.
    trainable_probe
        Whether the modes are parameters. Their total power is held fixed.
    merge_groups
        Whether the patches of a group are averaged where they overlap, so that they show one object.
    trainable_scale
        Whether one positive factor on the object amplitude is a parameter. It lets a bounded
        amplitude head reach any transmission without changing the gauge.

    Raises
    ------
    ConfigError
        If the architecture or its activation is unknown.
    ShapeError
        If the probe of the calibration or the mask of measured pixels has the wrong shape.
    """

    probe_modes: Tensor
    log_gain: Tensor
    intensity_scale: Tensor
    mean_counts: Tensor
    measured: Tensor
    support: Tensor

    def __init__(
        self,
        architecture: str,
        spec: GeneratorSpec,
        calibration: Calibration,
        *,
        measured: Tensor | None = None,
        probe_support: tuple[float, float] | None = None,
        smoothing_sigma: float = 0.0,
        trainable_probe: bool = False,
        merge_groups: bool = True,
        trainable_scale: bool = True,
    ) -> None:
        super().__init__()
        n = spec.n_pixels
        _check_sizes(calibration.probe, measured, n)
        self.generator = build_generator(architecture, spec)
        self.n_pixels = n
        self.n_channels = spec.n_channels
        self.decode_border = spec.decode_border
        self.smoothing_sigma = smoothing_sigma
        self.merges = merge_groups and spec.n_channels > 1
        support = torch.ones(n, n)
        if probe_support is not None:
            support = soft_disk(n, diameter=probe_support[0], sigma=probe_support[1])
        self.register_buffer("support", support)
        self._parameter_or_buffer("probe_modes", calibration.probe.clone(), trainable_probe)
        self._parameter_or_buffer("log_gain", torch.zeros(()), trainable_scale)
        self.register_buffer("intensity_scale", torch.tensor(calibration.intensity_scale))
        self.register_buffer("mean_counts", torch.tensor(calibration.mean_counts))
        everywhere = torch.ones(n, n, dtype=torch.bool)
        self.register_buffer("measured", everywhere if measured is None else measured.clone())

    def _parameter_or_buffer(self, name: str, value: Tensor, trainable: bool) -> None:
        if trainable:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    @property
    def probe(self) -> Probe:
        """Probe in use: the modes inside their support, at the power that the gauge fixes."""
        return with_power(self.probe_modes * self.support, (self.n_pixels / 2) ** 2)

    def forward(
        self,
        counts: Counts,
        offsets: Tensor | None = None,
        *,
        network: Callable[..., ComplexPatches] | None = None,
    ) -> ComplexPatches:
        """Predict object patches.

        Parameters
        ----------
        counts
            Real, ``(batch, channel, N, N)``, counts, zero frequency at ``[N // 2, N // 2]``.
        offsets
            Real, ``(batch, channel, 2)``, ``[y, x]`` in px: position of each patch less the centre of
            its group. Needed where the patches of a group are merged.
        network
            Does the work of the generator, which it does by default: its compiled form, for example.

        Returns
        -------
        Tensor
            Complex, ``(batch, channel, N, N)``, amplitude near one. With ``decode_border`` off
            the border is zero: nothing is claimed about it.

        Raises
        ------
        ShapeError
            If the frames have another rank or size, or offsets are missing.
        """
        check_frames(counts, self.n_pixels, n_channels=self.n_channels, name="counts")
        amplitude = normalised_amplitude(counts, self.intensity_scale)
        drawn = (network or self.generator)(amplitude, self.probe, self.measured)
        patches = torch.exp(self.log_gain) * drawn
        if not self.decode_border:
            patches = patches * self.decoded
        if not self.merges:
            return patches
        if offsets is None:
            expected = (*counts.shape[:2], 2)
            raise ShapeError("offsets", expected, None, "the patches of a group are merged by them")
        return merge_groups(patches, offsets, self.patch_weight())

    @property
    def decoded(self) -> Tensor:
        """Float, ``(N, N)``: one where the generator decodes the patch, zero elsewhere."""
        mask = torch.ones_like(self.support)
        if not self.decode_border:
            inner = slice(self.n_pixels // 4, self.n_pixels - self.n_pixels // 4)
            mask.zero_()
            mask[inner, inner] = 1
        return mask

    def predict_counts(self, patches: ComplexPatches) -> Counts:
        """Expected counts, real ``(..., N, N)``, of object patches ``(..., N, N)``."""
        return predicted_counts(
            patches, self.probe, self.intensity_scale, smoothing_sigma=self.smoothing_sigma
        )

    @torch.no_grad()
    def patch_weight(self) -> Tensor:
        """How much each patch pixel is worth when patches are averaged: real, ``(N, N)``.

        The illumination, which is proportional to the information a frame holds about a pixel
        (weights of the object update in Rodenburg and Faulkner 2004), limited to decoded pixels.
        """
        return illumination(self.probe) * self.decoded


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
