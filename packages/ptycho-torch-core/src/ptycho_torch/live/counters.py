"""What has become of everything that came."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Counters"]


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Numbers of frames and positions at one moment.

    Every frame that came is in exactly one of ``joined``, ``waiting_for_position``, ``duplicate`` and
    ``refused_frames``.

    Attributes
    ----------
    received
        Frames that came, whatever became of them.
    joined
        Frames with a position.
    waiting_for_position
        Frames whose position has not come.
    waiting_for_frame
        Positions whose frame has not come.
    lost
        Numbers between the lowest and the highest that came, or within the number of frames that was
        announced once the source has ended, without a frame.
    late
        Frames that came after one with a higher number; they count as joined or waiting too.
    duplicate
        Frames that came again.
    refused
        Frames and messages that could not be used, by the reason.
    refused_frames
        How many of these were frames.
    positions
        Positions that came for the first time.
    duplicate_positions
        Positions that came again.
    """

    received: int = 0
    joined: int = 0
    waiting_for_position: int = 0
    waiting_for_frame: int = 0
    lost: int = 0
    late: int = 0
    duplicate: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    refused_frames: int = 0
    positions: int = 0
    duplicate_positions: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__ if name != "refused"},
            "refused": dict(self.refused),
        }

    def sentence(self) -> str:
        """One line for people."""
        parts = [f"{self.received} frames received", f"{self.joined} joined"]
        rest = {
            "waiting for a position": self.waiting_for_position,
            "positions without a frame": self.waiting_for_frame,
            "lost": self.lost,
            "late": self.late,
            "duplicate": self.duplicate,
            "refused": sum(self.refused.values()),
        }
        return ", ".join(parts + [f"{count} {name}" for name, count in rest.items() if count])
