"""Everything that lies between an object patch and the detector, in one value."""

from __future__ import annotations

from typing import NamedTuple

from ptycho_torch.types import PixelMask, Probe

__all__ = ["Optics"]


class Optics(NamedTuple):
    """The physics of one scan, as tensors and numbers.

    Whoever computes with the forward model of a scan takes this whole, so that no part of it can be left
    out. It is a tuple, which compiled code takes as an argument.

    Attributes
    ----------
    probe
        Complex, ``(modes, N, N)``.
    measured
        Bool, ``(N, N)``, or ``(batch, channel, N, N)`` where frames differ: False where the detector did not
        measure; ``None`` if it all did.
    smoothing_sigma
        Width in px of the Gaussian blur of the illuminated field; 0 leaves it out.
    """

    probe: Probe
    measured: PixelMask | None = None
    smoothing_sigma: float = 0.0
