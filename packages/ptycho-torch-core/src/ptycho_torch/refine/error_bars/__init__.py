"""How sure a refined object is, pixel by pixel."""

from ptycho_torch.refine.error_bars.bars import ErrorBars

__all__ = ["ErrorBars"]
