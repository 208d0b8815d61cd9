"""A scan that is too large for one canvas, refined in tiles."""

from ptycho_torch.refine.tiles.one_by_one import refine_in_tiles

__all__ = ["refine_in_tiles"]
