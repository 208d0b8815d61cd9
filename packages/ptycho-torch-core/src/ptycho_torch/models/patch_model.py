"""A generator together with the physics of its scans: what is trained, saved and used."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ptycho_torch.errors import ShapeError
from ptycho_torch.models.group_object import GroupObject
from ptycho_torch.models.registry import GeneratorSpec, build_generator
from ptycho_torch.models.scan_physics import ScanPhysics
from ptycho_torch.physics.overlap import merge_groups
from ptycho_torch.physics.probe import soft_disk
from ptycho_torch.physics.scaling import Calibration, normalised_amplitude
from ptycho_torch.physics.shapes import check_frames
from ptycho_torch.types import ComplexPatches, Counts, Probe

__all__ = ["PatchModel"]


class PatchModel(nn.Module):
    """Counts to object patches, and object patches back to expected counts.

    One network serves any number of scans, each with a probe, an intensity scale and a detector of its own.
    Everything that depends on them is that of the first scan, unless the model was taken :meth:`on` another.

    Parameters
    ----------
    architecture
        Name of a registered generator.
    spec
        Size and head of the generator.
    calibration
        Gauge of the first scan: probe and intensity scale.
    measured
        Bool, ``(N, N)``: False where the detector did not measure; ``None`` if it all did.
    ceiling
        Real, ``(N, N)``: counts from which on a value was not measured; ``None``: there are none.
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

    log_gain: Tensor

    def __init__(
        self,
        architecture: str,
        spec: GeneratorSpec,
        calibration: Calibration,
        *,
        measured: Tensor | None = None,
        ceiling: Tensor | None = None,
        probe_support: tuple[float, float] | None = None,
        smoothing_sigma: float = 0.0,
        trainable_probe: bool = False,
        merge_groups: bool = True,
        trainable_scale: bool = True,
    ) -> None:
        super().__init__()
        n = spec.n_pixels
        self.generator = build_generator(architecture, spec)
        self.n_pixels = n
        self.n_channels = spec.n_channels
        self.decode_border = spec.decode_border
        self.smoothing_sigma = smoothing_sigma
        self.trainable_probe = trainable_probe
        self.probe_support = probe_support
        self.merges = merge_groups and spec.n_channels > 1
        if trainable_scale:
            self.register_parameter("log_gain", nn.Parameter(torch.zeros(())))
        else:
            self.register_buffer("log_gain", torch.zeros(()))
        self.scans = nn.ModuleList()
        self._scan = 0
        self.add_scan(calibration, measured=measured, ceiling=ceiling)

    def add_scan(
        self, calibration: Calibration, *, measured: Tensor | None = None, ceiling: Tensor | None = None
    ) -> int:
        """Add the physics of a further scan, which shares the network; returns its number.

        Parameters
        ----------
        calibration
            Gauge of the scan.
        measured, ceiling
            As for the class.

        Raises
        ------
        ShapeError
            If the probe or the mask of measured pixels has the wrong shape.
        """
        support = torch.ones(self.n_pixels, self.n_pixels)
        if self.probe_support is not None:
            support = soft_disk(self.n_pixels, diameter=self.probe_support[0], sigma=self.probe_support[1])
        physics = ScanPhysics(
            calibration,
            support,
            measured=measured,
            ceiling=ceiling,
            smoothing_sigma=self.smoothing_sigma,
            trainable_probe=self.trainable_probe,
        )
        self.scans.append(physics)
        return len(self.scans) - 1

    def on(self, scan: int) -> PatchModel:
        """This model with the physics of another of its scans; weights are shared, nothing is copied.

        Parameters
        ----------
        scan
            Number of the scan, from 0.

        Raises
        ------
        IndexError
            If there is no such scan.
        """
        if not 0 <= scan < len(self.scans):
            raise IndexError(f"scan: expected 0 to {len(self.scans) - 1}, got {scan}")
        view = copy.copy(self)
        view._scan = scan
        return view

    def with_physics(self, physics: ScanPhysics) -> PatchModel:
        """This network with the physics of a scan that it was not trained on; weights are shared."""
        view = copy.copy(self)
        # The registers of modules belong to the original until they are copied.
        view._modules = dict(self._modules)
        view.scans = nn.ModuleList([physics])
        view._scan = 0
        return view

    @property
    def physics(self) -> ScanPhysics:
        """Physics of the scan in use: the first one, or that of :meth:`on`."""
        physics = self.scans[self._scan]
        assert isinstance(physics, ScanPhysics)
        return physics

    @property
    def probe_modes(self) -> Tensor:
        """Modes of the scan in use as they are stored, complex ``(modes, N, N)``."""
        return self.physics.probe_modes

    @property
    def intensity_scale(self) -> Tensor:
        """Counts per unit of normalised intensity in the scan in use."""
        return self.physics.intensity_scale

    @property
    def mean_counts(self) -> Tensor:
        """Mean counts per frame of the scan in use."""
        return self.physics.mean_counts

    @property
    def measured(self) -> Tensor:
        """Bool, ``(N, N)``: False where the detector of the scan in use did not measure."""
        return self.physics.measured

    def measured_in(self, counts: Counts) -> Tensor:
        """Where frames of the scan in use were measured, see :meth:`ScanPhysics.measured_in`."""
        return self.physics.measured_in(counts)

    @property
    def probe(self) -> Probe:
        """Probe of the scan in use, see :attr:`ScanPhysics.probe`."""
        return self.physics.probe

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
        drawn = (network or self.generator)(
            amplitude, self.physics.optics(counts), offsets if self.merges else None
        )
        patches = torch.exp(self.log_gain) * drawn
        if not self.decode_border:
            patches = patches * self.decoded
        if not self.merges:
            return patches
        if offsets is None:
            expected = (*counts.shape[:2], 2)
            raise ShapeError("offsets", expected, None, "the patches of a group are merged by them")
        return merge_groups(patches, offsets, self.patch_weight())

    @torch.no_grad()
    def held_to(
        self, counts: Counts, patches: ComplexPatches, offsets: Tensor | None = None, *, n_steps: int
    ) -> ComplexPatches:
        """Patches after classical steps towards what the frames say.

        A network leaves out what it has not learned; a few steps give it back. Frames of a group are solved
        together, see :class:`~ptycho_torch.models.group_object.GroupObject`.

        Parameters
        ----------
        counts, offsets
            As for :meth:`forward`.
        patches
            Complex, ``(batch, channel, N, N)``: what :meth:`forward` made of these frames.
        n_steps
            How many steps; with 0 the patches are returned as they are.
        """
        if n_steps == 0:
            return patches
        group = GroupObject(
            normalised_amplitude(counts, self.intensity_scale),
            self.physics.optics(counts),
            offsets if self.merges else None,
        )
        objects = group.joined(patches.reshape(-1, self.n_pixels, self.n_pixels))
        found = group.patches(group.advanced(objects, n_steps)).reshape(patches.shape)
        return found if self.decode_border else found * self.decoded

    @property
    def decoded(self) -> Tensor:
        """Float, ``(N, N)``: one where the generator decodes the patch, zero elsewhere."""
        mask = torch.ones_like(self.physics.support)
        if not self.decode_border:
            inner = slice(self.n_pixels // 4, self.n_pixels - self.n_pixels // 4)
            mask.zero_()
            mask[inner, inner] = 1
        return mask

    def predict_counts(self, patches: ComplexPatches) -> Counts:
        """Expected counts, real ``(..., N, N)``, of object patches ``(..., N, N)``."""
        return self.physics.predict_counts(patches)

    @torch.no_grad()
    def patch_weight(self) -> Tensor:
        """How much each patch pixel is worth when patches are averaged: real, ``(N, N)``.

        The illumination, which is proportional to the information a frame holds about a pixel
        (weights of the object update in Rodenburg and Faulkner 2004), limited to decoded pixels.
        """
        return self.physics.light() * self.decoded
