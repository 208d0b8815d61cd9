"""The one legend for every tensor of the package.

Axis names used in the aliases and in every docstring:

======= ==========================================================================
axis    meaning
======= ==========================================================================
batch   scan positions (groups of positions) processed together
channel patches of one group, ``gridsize ** 2``; 1 when patches are independent
mode    incoherent probe modes, the leading axis of a probe
y, x    rows and columns of a patch or a detector frame, both ``N`` pixels
height  rows of an object array
width   columns of an object array
======= ==========================================================================

Units: positions and offsets in object pixels, ``[y, x]``; frames in counts; amplitudes in
normalised units (see :mod:`ptycho_torch.physics.scaling`). Frames are stored with the zero
frequency at index ``[N // 2, N // 2]``.
"""

from __future__ import annotations

from typing import TypeAlias

from jaxtyping import Bool, Complex, Float
from torch import Tensor

__all__ = [
    "Amplitudes",
    "ComplexPatches",
    "Counts",
    "Field",
    "ObjectImage",
    "PixelMask",
    "Positions",
    "Probe",
]

Probe: TypeAlias = Complex[Tensor, "mode y x"]
Counts: TypeAlias = Float[Tensor, "*batch y x"]
Amplitudes: TypeAlias = Float[Tensor, "*batch y x"]
ComplexPatches: TypeAlias = Complex[Tensor, "*batch y x"]
Field: TypeAlias = Complex[Tensor, "*batch mode y x"]
ObjectImage: TypeAlias = Complex[Tensor, "height width"]
Positions: TypeAlias = Float[Tensor, "batch 2"]
PixelMask: TypeAlias = Bool[Tensor, "y x"]
