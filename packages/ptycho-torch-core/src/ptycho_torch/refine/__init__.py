"""Iterative refinement of an object, its probe and its scan positions against all measured frames."""

from ptycho_torch.refine.result import RefineResult
from ptycho_torch.refine.solver import refine

__all__ = ["RefineResult", "refine"]
