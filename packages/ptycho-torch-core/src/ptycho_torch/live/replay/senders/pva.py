"""A channel of EPICS PV Access, served from this process."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from p4p.nt import NTNDArray
from p4p.server import Server
from p4p.server.thread import SharedPV

from ptycho_config import ConfigError, Problem
from ptycho_torch.live.messages import Frames, Message
from ptycho_torch.live.replay.sender import FrameKind, GoOn

__all__ = ["ChannelServer", "open_sender"]

_PATIENCE_S = 0.1
_LAST_S = 0.5


class ChannelServer:
    """Serves one channel; what nobody takes in time is overwritten, as with every channel.

    Parameters
    ----------
    name
        Of the channel.
    """

    def __init__(self, name: str) -> None:
        self._array = NTNDArray()
        self._is_heard = threading.Event()
        nothing = self._array.wrap(np.zeros((0, 0), dtype=np.uint8))
        self._channel = SharedPV(handler=self, initial=nothing)
        try:
            self._server = Server(providers=[{name: self._channel}])
        except RuntimeError as error:
            raise ConfigError(Problem("to", name, "a channel that can be served here", str(error))) from error

    def onFirstConnect(self, channel: Any) -> None:
        """Hear that somebody subscribes."""
        self._is_heard.set()

    def onLastDisconnect(self, channel: Any) -> None:
        """Hear that nobody does any more."""
        self._is_heard.clear()

    def wait(self, go_on: GoOn) -> bool:
        """Wait until somebody has subscribed."""
        while go_on():
            if self._is_heard.wait(_PATIENCE_S):
                return True
        return False

    def send(self, message: Message, go_on: GoOn) -> bool:
        """Post a frame; a channel has no word for a start or an end."""
        if not self.wait(go_on):
            return False
        if isinstance(message, Frames):
            (number,), (frame,) = np.asarray(message.numbers).tolist(), message.frames
            value = self._array.wrap(np.ascontiguousarray(frame))
            value["uniqueId"] = number
            self._channel.post(value)
        return True

    def close(self) -> None:
        """Stop serving, after what was posted last has had time to arrive, which nothing tells."""
        if self._is_heard.is_set():
            time.sleep(_LAST_S)
        self._server.stop()


def open_sender(address: str, protocol: str, kind: FrameKind) -> ChannelServer:
    """Serve a channel.

    Raises
    ------
    ConfigError
        The address is no name of a channel, or no server can be started.
    """
    if not address or any(character.isspace() or character == "," for character in address):
        raise ConfigError(Problem("to", address, "the name of a channel, without blanks and commas"))
    return ChannelServer(address)
