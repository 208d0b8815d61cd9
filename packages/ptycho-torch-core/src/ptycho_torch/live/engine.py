"""What turns frames into an object while they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.reassembly import StitchedObject

__all__ = ["Engine", "GoOn"]

GoOn = Callable[[], bool]
"""Asked between two pieces of work; a no ends the work at the next place where it can."""


class Engine(Protocol):
    """An object that grows with the scan.

    Attributes
    ----------
    residual
        Forward residual of the frames that were last looked at; None where it is not known.
    n_unseen
        Frames that have had no influence on the object yet.
    """

    residual: float | None

    @property
    def n_unseen(self) -> int: ...

    def unseen(self) -> npt.NDArray[np.int64]:
        """Rows of these frames in the scan."""

    def begin(self, scan: Scan) -> None:
        """Take another view of everything: mask, probe or gauge may have changed. The object stays."""

    def grow(self, scan: Scan) -> None:
        """Take a scan that holds the frames of the last one first, and more behind them."""

    def work(self, go_on: GoOn) -> bool:
        """Do one piece of work, newest frames first; whether there is more to do."""

    def object(self) -> StitchedObject | None:
        """The object as it is; None before the first piece of work."""
