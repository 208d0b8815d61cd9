"""Iterative refinement of an object, its probe and its scan positions against all measured frames."""

from ptycho_torch.refine.residual import forward_residual
from ptycho_torch.refine.result import RefinementInterrupted, RefineResult
from ptycho_torch.refine.solver import refine

__all__ = ["RefineResult", "RefinementInterrupted", "forward_residual", "refine"]
