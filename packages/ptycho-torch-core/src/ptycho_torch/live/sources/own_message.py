"""Our own message over ZeroMQ, which is described in `ptycho_torch.live.wire`."""

from __future__ import annotations

from ptycho_torch.live.messages import Message
from ptycho_torch.live.sockets import PullSocket
from ptycho_torch.live.wire import decoded

__all__ = ["connect"]

NAME = "zmq"
HELP = "our own message over ZeroMQ: a header in JSON and raw bytes"
FORM = "zmq:tcp://HOST:PORT"
GIVES = ("frames", "positions")
EXTRA = "live"
MODULES = ("zmq",)
TEES = True


class _OwnMessages:
    def __init__(self, socket: PullSocket) -> None:
        self._socket = socket

    @property
    def waits_for(self) -> str:
        return self._socket.waits_for

    def receive(self, timeout_s: float) -> list[Message]:
        return [decoded(parts) for parts in self._socket.receive(timeout_s)]

    def close(self) -> None:
        self._socket.close()


def connect(rest: str, *, gives: str, tee: str | None) -> _OwnMessages:
    """Connect to a sender, which may appear later.

    Raises
    ------
    ConfigError
        The rest of the address is no ``tcp://HOST:PORT``.
    """
    return _OwnMessages(PullSocket(rest, tee=tee, gives=gives))
