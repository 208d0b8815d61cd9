r"""An affine map of scan positions in numbers that a person can type: scales, rotation and shear.

In ``[y, x]`` with y down,

.. math:: A = R(\theta) \begin{pmatrix} 1 & 0 \\ k & 1 \end{pmatrix} \mathrm{diag}(s_y, s_x), \qquad
          R(\theta) = \begin{pmatrix} \cos\theta & \sin\theta \\ -\sin\theta & \cos\theta \end{pmatrix}:

steps along x are ``s_x`` times as long and turned by the angle from x towards y; steps along y are ``s_y``
times as long, turned as well, and lean towards x by k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["AffineMap"]


@dataclass(frozen=True, kw_only=True)
class AffineMap:
    """Scales, rotation and shear.

    Attributes
    ----------
    scale_y, scale_x
        Length of a step over the length that is stated.
    rotation_deg
        From the direction of x towards that of y; degrees.
    shear
        Tangent of the angle by which y leans towards x, beside the rotation.
    """

    scale_y: float = 1.0
    scale_x: float = 1.0
    rotation_deg: float = 0.0
    shear: float = 0.0

    @classmethod
    def of(cls, matrix: npt.NDArray[np.floating]) -> Self:
        """The map with a matrix (2, 2) for ``[y, x]``, of which neither column is zero."""
        (yy, yx), (xy, xx) = matrix.tolist()
        angle = math.atan2(yx, xx)
        cosine, sine = math.cos(angle), math.sin(angle)
        scale_y = yy * cosine - xy * sine
        return cls(
            scale_y=scale_y,
            scale_x=math.hypot(yx, xx),
            rotation_deg=math.degrees(angle),
            shear=(yy * sine + xy * cosine) / scale_y,
        )

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """(2, 2) float64, for ``[y, x]``."""
        angle = math.radians(self.rotation_deg)
        cosine, sine = math.cos(angle), math.sin(angle)
        turned = np.array([[cosine, sine], [-sine, cosine]])
        return turned @ np.array([[1.0, 0.0], [self.shear, 1.0]]) @ np.diag([self.scale_y, self.scale_x])
