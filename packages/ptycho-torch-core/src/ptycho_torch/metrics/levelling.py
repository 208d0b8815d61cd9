r"""The phase of an object as it is published: without the plane that diffraction cannot tell, and unwrapped.

Constant and ramp of the phase are free. They are fixed by one rule: the plane wave
:math:`e^{i(k \cdot r + c)}` that is nearest to the object over its well lit pixels, in the least-squares
sense, is divided out. What is left is unwrapped by reliability (Herraez et al., Appl. Opt. 41, 7437, 2002),
and the multiple of :math:`2\pi` that remains free is the one that brings the median over the well lit pixels
nearest to zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.metrics.alignment import align

__all__ = ["RULE", "LevelledPhase", "levelled_phase", "plane_of"]

RULE = (
    "least-squares plane wave over the well lit pixels divided out; unwrapped by reliability; multiple of "
    "2 pi with the median nearest to zero"
)


@dataclass(frozen=True, kw_only=True)
class LevelledPhase:
    """Unwrapped phase of an object, and the plane that was taken out of it.

    Attributes
    ----------
    phase
        (height, width) float32, rad; NaN where the object was not well lit.
    ramp_rad_per_px
        [y, x] rad/px: slope of the plane.
    constant_rad
        The plane at array index [0, 0], rad, in (-pi, pi].
    """

    phase: NDArray[np.float32] = field(repr=False)
    ramp_rad_per_px: tuple[float, float]
    constant_rad: float

    def summary(self) -> dict[str, Any]:
        """The rule and the plane, in types that JSON knows."""
        seen = self.phase[np.isfinite(self.phase)]
        return {
            "rule": RULE,
            "ramp_rad_per_px": list(self.ramp_rad_per_px),
            "constant_rad": self.constant_rad,
            "range_rad": [float(seen.min()), float(seen.max())] if seen.size else None,
        }


def plane_of(
    image: NDArray[np.complexfloating], covered: NDArray[np.bool_]
) -> tuple[NDArray[np.complex128], tuple[float, float], float]:
    """Plane wave that is nearest to an image.

    Parameters
    ----------
    image
        (height, width) complex.
    covered
        (height, width) bool: pixels that count.

    Returns
    -------
    wave
        (height, width) complex128, of amplitude one.
    ramp
        [y, x] rad/px.
    constant
        Its phase at [0, 0], rad.
    """
    if not np.any(image[covered]):
        return np.ones(image.shape, dtype=np.complex128), (0.0, 0.0), 0.0
    fitted = align(np.ones_like(image), image, covered, max_shift_px=0)
    wave = np.exp(1j * np.angle(fitted.aligned))
    y, x = fitted.ramp_rad_per_px
    return wave, (-y, -x), float(np.angle(wave[0, 0]))


def levelled_phase(image: NDArray[np.complexfloating], covered: NDArray[np.bool_]) -> LevelledPhase:
    """Phase of an object, levelled and unwrapped.

    Parameters
    ----------
    image
        (height, width) complex.
    covered
        (height, width) bool: well lit pixels, which count and which are kept if they are finite.
    """
    from skimage.restoration import unwrap_phase

    covered = covered & np.isfinite(image)
    image = np.where(covered, image, 0)
    wave, ramp, constant = plane_of(image, covered)
    wrapped = np.angle(image * wave.conj())
    phase = np.full(image.shape, np.nan, dtype=np.float32)
    if covered.any():
        # The order of pixels of one reliability is drawn: a seed makes results repeat.
        found = np.ma.getdata(unwrap_phase(np.ma.masked_array(wrapped, mask=~covered), rng=0))
        turns = np.rint(np.median(found[covered]) / (2 * np.pi))
        phase[covered] = found[covered] - 2 * np.pi * turns
    return LevelledPhase(phase=phase, ramp_rad_per_px=ramp, constant_rad=constant)
