"""Find frames that lie many pixels beside their stated positions, before the refinement proper."""

from ptycho_torch.refine.position_search.search import PositionsFound, find_positions

__all__ = ["PositionsFound", "find_positions"]
