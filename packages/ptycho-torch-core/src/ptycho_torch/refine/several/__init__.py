"""Several scans of one object, joined into one problem."""

from ptycho_torch.refine.several.concatenated import concatenated, require_joinable
from ptycho_torch.refine.several.together import refine_together

__all__ = ["concatenated", "refine_together", "require_joinable"]
