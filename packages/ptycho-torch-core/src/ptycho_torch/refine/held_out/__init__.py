"""Hold frames out, refine an object from the others, and see whether it explains those held out.

``places`` chooses frames, ``trial`` makes objects from a part of them, ``judging`` asks for the verdict. What
passes is asked further: whether other distances between the positions (``scale``) or positions that drift or
jump along the frame number (``moves``) explain the frames far better.
"""

from __future__ import annotations

from ptycho_torch.refine.held_out.judging import judge

__all__ = ["judge"]
