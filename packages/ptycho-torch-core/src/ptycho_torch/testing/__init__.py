"""Helpers to test physics with, for this package and for those who extend it.

They need no test framework: a failed check is an :class:`AssertionError` that says by how much.
"""

from ptycho_torch.testing.adjoint import assert_adjoint
from ptycho_torch.testing.scenes import random_probe, tiny_scene
from ptycho_torch.testing.tolerances import TOLERANCES, assert_close, relative_error, tolerance

__all__ = [
    "TOLERANCES",
    "assert_adjoint",
    "assert_close",
    "random_probe",
    "relative_error",
    "tiny_scene",
    "tolerance",
]
