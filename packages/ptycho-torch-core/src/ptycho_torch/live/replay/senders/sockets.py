"""The sending end of PUSH and PULL over ZeroMQ: it binds, as detectors do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import zmq

from ptycho_config import ConfigError, Problem
from ptycho_torch.live.messages import Message
from ptycho_torch.live.replay.sender import GoOn

__all__ = ["Encode", "PushSocket"]

_PATIENCE_MS = 100
_QUEUED = 100
_LAST_MS = 10_000

Encode = Callable[[Message], Sequence[bytes]]
"""Parts of a message."""


class PushSocket:
    """Sends messages to whoever connects.

    Parameters
    ----------
    address
        ``tcp://HOST:PORT`` to bind; port 0 or ``*``: a free one.
    encode
        Makes the parts of a message.

    Attributes
    ----------
    address
        Where it is bound.

    Raises
    ------
    ConfigError
        The address cannot be bound.
    """

    def __init__(self, address: str, encode: Encode) -> None:
        self._encode = encode
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, _QUEUED)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            expected = "an address of this machine that can be bound, such as tcp://127.0.0.1:5555"
            raise ConfigError(Problem("to", address, expected, str(error))) from error
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def wait(self, go_on: GoOn) -> bool:
        """Wait until somebody has connected."""
        while go_on():
            if self._socket.poll(_PATIENCE_MS, zmq.POLLOUT):
                return True
        return False

    def send(self, message: Message, go_on: GoOn) -> bool:
        """Send a message as soon as somebody takes it."""
        if not self.wait(go_on):
            return False
        self._socket.send_multipart(self._encode(message))
        return True

    def close(self) -> None:
        """Close the socket; what waits has ten seconds to go out."""
        self._context.destroy(linger=_LAST_MS)
