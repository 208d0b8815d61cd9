"""Several processes that refine one object, each with its share of the frames.

Gradients and illumination are sums over frames: every process adds up those of its frames, and the
sums are joined by an all-reduce of :mod:`torch.distributed`. Unknowns are the same in all processes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed

__all__ = ["Ranks"]


class Ranks:
    """The process group that is up when a refinement starts, or this process alone.

    Attributes
    ----------
    rank, size
        Number of this process, and of all of them.
    """

    def __init__(self) -> None:
        up = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if up else 0
        self.size = distributed.get_world_size() if up else 1

    def share(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Frames of a batch that this process works on."""
        return indices[self.rank :: self.size]

    def add_up(self, *tensors: Tensor | None) -> None:
        """Sum tensors over all processes, in place; None is left out."""
        if self.size == 1:
            return
        for tensor in tensors:
            if tensor is not None:
                distributed.all_reduce(torch.view_as_real(tensor) if tensor.is_complex() else tensor)
