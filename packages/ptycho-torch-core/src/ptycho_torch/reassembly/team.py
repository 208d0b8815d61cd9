"""The processes that stitch one object together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["ALONE", "Team"]


@dataclass(frozen=True)
class Team:
    """This process and those that do the rest of the same work; alone by default.

    Attributes
    ----------
    number
        Which process this is, from 0.
    count
        How many there are. With more than one, every process must make the same calls in the same order.
    """

    number: int = 0
    count: int = 1

    @classmethod
    def joined(cls) -> Team:
        """All processes of the group of :mod:`torch.distributed` that this one is in, or this one alone."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def sum(self, value: Tensor) -> Tensor:
        """Sum of a tensor over the processes; in place."""
        if self.count > 1:
            # Back ends add real numbers.
            dist.all_reduce(torch.view_as_real(value) if value.is_complex() else value)
        return value

    def largest(self, value: float, device: torch.device | str) -> float:
        """Largest of a number over the processes."""
        if self.count == 1:
            return value
        numbers = torch.tensor([value], dtype=torch.float64, device=device)
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return float(numbers)


ALONE = Team()
"""One process that does all the work."""
