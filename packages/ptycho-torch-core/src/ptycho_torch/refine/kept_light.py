"""The light of frames between pixels, computed once for as long as neither probe nor positions change."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ptycho_torch.physics.placement_moved_probe import MovedProbe
from ptycho_torch.refine.frames import Indices

__all__ = ["KeptLight"]

_MOST_BYTES = 1 << 28
"""256 MiB: 8192 frames of 64 px, or 2048 of 128 px, with one mode in single precision."""


class KeptLight:
    """Moved probes of the first frames, as many as there is room for; others are computed every time.

    What is kept of a frame counts for the probe and the fraction of a pixel that it was computed for, and is
    computed again for others.

    Parameters
    ----------
    n_frames
        Frames of the scan.
    most_bytes
        What the light of all of them may take.
    """

    def __init__(self, n_frames: int, most_bytes: int = _MOST_BYTES) -> None:
        self.n_frames, self.most_bytes = n_frames, most_bytes
        self.probe = self.light = torch.empty(0, dtype=torch.complex64)
        # Fractions that light was computed for. No number equals what is not known, or what the last row
        # holds, which stands for all frames without room.
        self.rest = torch.full((1, 2), math.nan, dtype=torch.float64)

    def of(self, probe: Tensor, where: MovedProbe, frames: Indices) -> Tensor:
        """Light on frames, complex ``(batch, modes, N, N)``.

        Parameters
        ----------
        probe
            Complex, ``(modes, N, N)``, on the CPU. One that changes is another tensor.
        where, frames
            Placement and numbers ``(batch,)`` of the frames, each there once.
        """
        self._match(probe)
        n_kept = len(self.light)
        rows, rest = torch.from_numpy(frames).clamp(max=n_kept), where.rest
        known = (self.rest[rows] == rest).all(dim=1)
        if bool(known.all()):
            return self.light.index_select(0, rows)
        new = torch.nonzero(~known)[:, 0]
        made = where.part(new).light(probe)
        has_room = rows[new] < n_kept
        self.light[rows[new][has_room]] = made if bool(has_room.all()) else made[has_room]
        self.rest[rows[new][has_room]] = rest[new][has_room]
        if len(new) == len(rows):
            return made
        light = torch.empty(len(rows), *probe.shape, dtype=probe.dtype)
        light[new], light[known] = made, self.light[rows[known]]
        return light

    def _match(self, probe: Tensor) -> None:
        """Forget what was computed for another probe."""
        if probe is self.probe:
            return
        if torch.equal(probe, self.probe):
            self.probe = probe
            return
        if self.light.shape[1:] != probe.shape or self.light.dtype != probe.dtype:
            n_kept = min(self.n_frames, self.most_bytes // (probe.numel() * probe.element_size()))
            self.light = torch.empty(n_kept, *probe.shape, dtype=probe.dtype)
            self.rest = torch.empty(n_kept + 1, 2, dtype=torch.float64)
        self.rest.fill_(math.nan)
        self.probe = probe
