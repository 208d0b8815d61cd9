"""Where the messages of a replay go, whatever they go over."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from ptycho_config import ConfigError, Problem, suggest
from ptycho_torch.live.messages import Message
from ptycho_torch.live.replay.protocols import PROTOCOLS

__all__ = ["FrameKind", "GoOn", "Sender", "open_sender"]

GoOn = Callable[[], bool]
"""Asked while something is waited for; a no ends the waiting."""


@dataclass(frozen=True, kw_only=True)
class FrameKind:
    """Shape ``(height, width)`` and dtype of the frames that will be sent."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]


class Sender(Protocol):
    """Where messages go."""

    def wait(self, go_on: GoOn) -> bool:
        """Wait until somebody receives; whether somebody does. False only where ``go_on`` said no."""

    def send(self, message: Message, go_on: GoOn) -> bool:
        """Send a message, and wait while nobody takes it; whether it was sent."""

    def close(self) -> None:
        """Let everything go out that waits, and let go of files and sockets."""


def open_sender(protocol: str, address: str, gives: str, kind: FrameKind) -> Sender:
    """Open a way to send.

    Parameters
    ----------
    protocol
        One of `PROTOCOLS`.
    address
        Where; of the form that the protocol states.
    gives
        What is to be sent, ``"frames"`` or ``"positions"``.
    kind
        Of the frames.

    Raises
    ------
    ConfigError
        There is no such protocol, it cannot send that, something is not installed, or the address is none.
    """
    usable = {name: found for name, found in PROTOCOLS.items() if gives in found.gives}
    found = usable.get(protocol)
    if found is None:
        hint = suggest(protocol, list(usable)) or ""
        raise ConfigError(Problem("protocol", protocol, f"one of {', '.join(usable)} for {gives}", hint))
    missing = [name for name in found.modules if find_spec(name) is None]
    if missing:
        expected = f"a protocol that is installed; it needs {', '.join(missing)}"
        raise ConfigError(
            Problem("protocol", protocol, expected, f"pip install 'ptycho-torch-core[{found.extra}]'")
        )
    module: Any = importlib.import_module(f"ptycho_torch.live.replay.senders.{found.module}")
    opened: Sender = module.open_sender(address, protocol, kind)
    return opened
