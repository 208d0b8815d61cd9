r"""The object under a group of frames, as the frames show it: the classical part of the networks.

The update is the regularised step of Maiden, Johnson and Li (2017, rPIE), all frames of a group at once,
with the heavy-ball momentum of Polyak (1964) in its look-ahead form (Nesterov 1983):

.. math:: Y = O + \mu V, \qquad
          O' = Y + \frac{\sum_{jm} P_{jm}^* F^{-1}[\Psi_{jm} (A_j/|\Psi_j| - 1)]}
          {(1 - \alpha) L + \alpha\max L}, \qquad V = O' - O, \qquad L = \sum_{jm}|P_{jm}|^2

where each frame :math:`j` sees its own part of the object. One frame alone leaves open much of an object
that scatters strongly; frames that overlap settle it, which is what makes ptychography unique.

The object is held at whole pixels and the probe of each frame is moved by the rest of its position, which
is exact where the probe vanishes at the rim: moving an exit wave changes no intensity (the shift theorem).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.forward import incoherent_intensity
from ptycho_torch.physics.fourier import far_field, far_field_adjoint
from ptycho_torch.physics.optics import Optics
from ptycho_torch.physics.placement import WholePixel
from ptycho_torch.physics.placement_groups import GroupCanvases
from ptycho_torch.physics.probe import gaussian_transfer, illumination
from ptycho_torch.physics.shapes import check_frames, check_probe
from ptycho_torch.physics.shifts import fourier_shift
from ptycho_torch.types import Amplitudes, ComplexPatches

__all__ = ["N_FEATURES", "GroupObject"]

_AXES = (-2, -1)
_REGULARISATION = 0.1
_GRADIENT_REGULARISATION = 0.05
_MOMENTUM = 0.9
# Below this share of the most light, patches say nothing about the object they are joined to.
_DARK = 1e-6
N_FEATURES = 6


class GroupObject:
    """What the frames of each group say about the object under them.

    Objects are complex canvases ``(objects, 1, height, width)``: one per group if its offsets are given, of
    at least ``N`` px each way; else one of ``N`` × ``N`` per frame, and frames are taken apart.

    Parameters
    ----------
    amplitude
        Real, ``(batch, channel, N, N)``, normalised.
    optics
        Probe, detector and blur. What the detector reports where it did not measure is not used.
    offsets
        Real, ``(batch, channel, 2)``, ``[y, x]`` in px: position of each frame − centre of its group.

    Raises
    ------
    ShapeError
        If the amplitudes are not ``(batch, channel, N, N)``, the probe has the wrong rank or the offsets do
        not fit the amplitudes.
    """

    def __init__(
        self,
        amplitude: Amplitudes,
        optics: Optics,
        offsets: Tensor | None = None,
    ) -> None:
        probe, measured, smoothing_sigma = optics
        check_probe(probe)
        n_pixels = int(probe.shape[-1])
        check_frames(amplitude, n_pixels, name="amplitude")
        if measured is not None:
            amplitude = torch.where(measured, amplitude, amplitude.new_zeros(()))
        # The field is only ever compared with the amplitudes pixel by pixel, so those are brought to its
        # order once, and not the field to theirs in every step.
        self._shown = amplitude.reshape(-1, n_pixels, n_pixels)
        self._amplitude = torch.fft.ifftshift(self._shown, dim=_AXES)
        self._measured: Tensor | None = None
        if measured is not None:
            of_frames = measured if measured.ndim == 2 else measured.reshape(-1, n_pixels, n_pixels)
            self._measured = torch.fft.ifftshift(of_frames, dim=_AXES)
        self._where: WholePixel | None = None
        self._shape = (len(self._shown), 1, n_pixels, n_pixels)
        self._transfer: Tensor | None = None
        if smoothing_sigma > 0:
            real = probe.real.dtype
            self._transfer = gaussian_transfer(n_pixels, smoothing_sigma, dtype=real).to(probe.device)
        light = illumination(probe)
        if offsets is None:
            self._probe = probe
            self._frame_light = light
            self._light = light[None, None]
        else:
            if tuple(offsets.shape) != (*amplitude.shape[:2], 2):
                expected = f"{(*amplitude.shape[:2], 2)} in the order [y, x]"
                raise ShapeError("offsets", expected, tuple(offsets.shape))
            canvases = GroupCanvases(offsets, n_pixels)
            n_groups, height, width = canvases.shape
            self._shape = (n_groups, 1, height, width)
            self._where = canvases.placement(WholePixel)
            self._probe = self._where.light(probe)
            self._frame_light = (self._probe.real.square() + self._probe.imag.square()).sum(dim=-3)
            self._light = self._placed(self._frame_light)
        self._most_light = self._light.amax(dim=_AXES, keepdim=True)

    def transmitting(self) -> Tensor:
        """The fully transmitting object."""
        return self._shown.new_ones(self._shape).to(self._probe.dtype)

    def seen(self, objects: Tensor) -> Tensor:
        """What lies under each frame, at whole pixels, ``(batch * channel, N, N)``."""
        return objects[:, 0] if self._where is None else self._where.cut(objects.flatten(0, 2))

    def _placed(self, patches: Tensor) -> Tensor:
        """Sum of what lies under each frame, on the objects: the adjoint of :meth:`seen`."""
        return patches[:, None] if self._where is None else self._where.add(patches).reshape(self._shape)

    def shared(self, seen: ComplexPatches) -> Tensor:
        """Objects of what lies under each frame: the mean, weighted with light; one in the dark."""
        if self._where is None:
            return seen[:, None]
        total = self._placed(seen * self._frame_light)
        lit = self._light > _DARK * self._most_light
        return torch.where(lit, total / torch.where(lit, self._light, 1), torch.ones_like(total))

    def patches(self, objects: Tensor) -> ComplexPatches:
        """What each frame sees at its place, between whole pixels, complex ``(batch * channel, N, N)``."""
        return self._moved(self.seen(objects), -1)

    def joined(self, patches: ComplexPatches) -> Tensor:
        """Objects of what each frame sees at its place, ``(batch * channel, N, N)``; see :meth:`shared`."""
        return self.shared(self._moved(patches, 1))

    def _moved(self, patches: ComplexPatches, times: int) -> ComplexPatches:
        if self._where is None:
            return patches
        return fourier_shift(patches, times * self._where.rest.to(patches.real.dtype))

    def gradient(self, objects: Tensor) -> Tensor:
        r"""Direction in which the predicted amplitudes approach the measured ones.

        .. math:: \sum_{jm} P_{jm}^* F^{-1}\left[\Psi_{jm} \left(A_j / |\Psi_j| - 1\right)\right]

        half the negative gradient of :math:`\sum_j (|\Psi_j| - A_j)^2` (Fienup 1982). Pixels that were not
        measured keep their predicted field. Shapes are those of :meth:`transmitting`.
        """
        field = far_field(self._blurred(self._probe * self.seen(objects).unsqueeze(-3)), centred=False)
        # The floor only matters where the field vanishes: there it keeps the ratio finite, and inside
        # the root, where its slope would be infinite, it keeps the gradient from becoming NaN.
        magnitude = torch.sqrt(incoherent_intensity(field).clamp(min=1e-12))
        excess = self._amplitude / magnitude - 1
        if self._measured is not None:
            excess = torch.where(self._measured, excess, excess.new_zeros(()))
        wave = self._blurred(far_field_adjoint(field * excess.unsqueeze(-3), centred=False))
        direction = (self._probe.conj() * wave).sum(dim=-3)
        return self._placed(direction)

    def _blurred(self, wave: Tensor) -> Tensor:
        # A real, even transfer function makes the blur its own adjoint.
        return wave if self._transfer is None else torch.fft.ifft2(torch.fft.fft2(wave) * self._transfer)

    def advanced(self, objects: Tensor, n_steps: int) -> Tensor:
        """Objects after ``n_steps`` regularised updates, at rest before the first."""
        step = 1 / ((1 - _REGULARISATION) * self._light + _REGULARISATION * self._most_light)
        before = objects
        for _ in range(n_steps):
            ahead = objects + _MOMENTUM * (objects - before)
            before, objects = objects, ahead + step * self.gradient(ahead)
        return objects

    def features(self, objects: Tensor) -> Tensor:
        """What a network sees of the object under each frame, real ``(batch * channel, N_FEATURES, N, N)``.

        The estimate, the direction that would still improve it, the illumination (where the data say nothing
        the estimate means nothing) and the logarithm of the measured amplitude.
        """
        gradient = self.gradient(objects) / (self._light + _GRADIENT_REGULARISATION * self._most_light)
        seen, direction = self.seen(objects), self.seen(gradient)
        light = self.seen(self._light / self._most_light)
        maps = (
            seen.real - 1,
            seen.imag,
            direction.real,
            direction.imag,
            light.expand_as(self._shown),
            torch.log1p(self._shown),
        )
        return torch.stack(maps, dim=1)
