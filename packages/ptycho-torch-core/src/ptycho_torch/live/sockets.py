"""The receiving end of PUSH and PULL over ZeroMQ, which several protocols speak (extra ``live``)."""

from __future__ import annotations

import re
import time
from collections import deque

import zmq

from ptycho_torch.live.source_registry import refused_address

__all__ = ["PullSocket"]

_AT_ONCE = 64
_LARGEST_MESSAGE = 1 << 29
_QUEUED = 1000
_ADDRESS = re.compile(r"(tcp://(?P<host>[^\s:/]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d{1,5})|ipc://\S+)")


class PullSocket:
    """Connects to a sender that binds, and hands every message on where that is wanted.

    PUSH gives each message to one receiver only. With a ``tee``, everything goes on unchanged to whoever
    connects there; where nobody takes it, nothing more is received either, so that no message is lost on the
    way to the one who stores it.

    Parameters
    ----------
    address
        ``tcp://HOST:PORT`` of the sender.
    tee
        ``tcp://HOST:PORT`` to bind and hand on at; None: nowhere.
    gives
        Setting that holds the address, for a message.

    Raises
    ------
    ConfigError
        The address is none, or the tee cannot be bound.
    """

    def __init__(self, address: str, *, tee: str | None = None, gives: str = "frames") -> None:
        self.address, self.tee = address, tee
        self.waits_for = ""
        self._unsent: deque[list[bytes]] = deque()
        self._context = zmq.Context()
        try:
            self._pull = self._open(zmq.PULL, address, gives)
            self._push = None if tee is None else self._open(zmq.PUSH, tee, "tee")
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def _open(self, kind: int, address: str, setting: str) -> zmq.Socket[bytes]:
        fitting = _ADDRESS.fullmatch(address)
        if fitting is None or int(fitting["port"] or 1) not in range(1, 65536):
            raise refused_address(setting, address, "tcp://HOST:PORT")
        socket = self._context.socket(kind)
        # A name may mean an address of the newer kind.
        socket.setsockopt(zmq.IPV6, int("[" in address))
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, _QUEUED)
        socket.setsockopt(zmq.SNDHWM, _QUEUED)
        socket.setsockopt(zmq.MAXMSGSIZE, _LARGEST_MESSAGE)
        try:
            if kind == zmq.PULL:
                socket.connect(address)
            else:
                socket.bind(address)
        except zmq.ZMQError as error:
            raise refused_address(setting, address, "an address that can be used", str(error)) from error
        return socket

    def receive(self, timeout_s: float) -> list[list[bytes]]:
        """Messages that came, each a list of its parts, after waiting at most ``timeout_s`` for the first."""
        until = time.monotonic() + timeout_s
        if not self._hand_on(until) or not self._pull.poll(_milliseconds(until)):
            return []
        found: list[list[bytes]] = []
        while len(found) < _AT_ONCE:
            try:
                found.append(self._pull.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
        if self._push is not None:
            self._unsent.extend(found)
            self._hand_on(until)
        return found

    def _hand_on(self, until: float) -> bool:
        """Send what has not been handed on; whether all of it is."""
        while self._unsent and self._push is not None:
            if not self._push.poll(_milliseconds(until), zmq.POLLOUT):
                self.waits_for = f"somebody who receives at {self.tee}"
                return False
            self._push.send_multipart(self._unsent.popleft())
        self.waits_for = ""
        return True

    def close(self) -> None:
        """Close the sockets; what waits to be handed on has a second to go."""
        if self._context.closed:
            return
        if self._push is not None:
            self._hand_on(time.monotonic() + 1)
            self._push.close(linger=1000)
        self._context.destroy(linger=None)


def _milliseconds(until: float) -> int:
    return max(0, round(1000 * (until - time.monotonic())))
