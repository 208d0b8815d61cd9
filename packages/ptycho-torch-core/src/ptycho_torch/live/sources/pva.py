"""Frames of a channel of EPICS PV Access."""

from __future__ import annotations

import queue
import re
import time
from typing import Any

from p4p.client.thread import Cancelled, Context, Disconnected, RemoteError

from ptycho_torch.live.codecs.malformed import Malformed
from ptycho_torch.live.codecs.ntndarray import decode
from ptycho_torch.live.messages import End, Frames, Message, Refused, Start
from ptycho_torch.live.source_registry import refused_address

__all__ = ["Channel", "connect"]

NAME = "pva"
HELP = "a channel of EPICS (NTNDArray); first: number of the first frame, frames: how many there will be"
FORM = "pva:CHANNEL[,first=NUMBER][,frames=COUNT]"
GIVES = ("frames",)
EXTRA = "pva"
MODULES = ("p4p",)

_QUEUED = 1000
_AT_ONCE = 64
_ADDRESS = re.compile(
    r"(?P<name>[^\s,]+)(?:,first=(?P<first>\d{1,15}))?(?:,frames=(?P<frames>[1-9]\d{0,14}))?"
)


class Channel:
    """Every value of a channel, from the first change on.

    What the channel holds when it is reached came before the scan, so it is left out. A channel knows no
    end; where the number of frames is stated, the last of them is the end.

    Parameters
    ----------
    name
        Of the channel.
    first
        Number that the channel gives to the first frame of the scan.
    n_frames
        How many frames the scan has, where that is known.
    """

    def __init__(self, name: str, *, first: int = 0, n_frames: int | None = None) -> None:
        self.name, self.first, self.n_frames = name, first, n_frames
        self.waits_for = f"the channel {name}"
        self._is_fresh = True
        self._is_announced = n_frames is None
        self._is_closed = False
        self._queue: queue.Queue[Any] = queue.Queue(_QUEUED)
        self._context = Context("pva", nt=False)
        request = f"record[queueSize={_QUEUED}]"
        self._monitor = self._context.monitor(name, self._put, request=request, notify_disconnect=True)

    def _put(self, value: Any) -> None:
        """Called in a thread of EPICS, which waits while nothing is taken."""
        while not self._is_closed:
            try:
                self._queue.put(value, timeout=0.1)
            except queue.Full:
                continue
            return

    def receive(self, timeout_s: float) -> list[Message]:
        """What has come, after waiting at most ``timeout_s`` for the first of it."""
        found: list[Message] = []
        if not self._is_announced:
            self._is_announced = True
            found.append(Start(n_frames=self.n_frames))
        until = time.monotonic() + timeout_s
        while len(found) < _AT_ONCE:
            wait = 0.0 if found else max(0.0, until - time.monotonic())
            try:
                value = self._queue.get(timeout=wait) if wait else self._queue.get_nowait()
            except queue.Empty:
                break
            found += self._read(value)
        return found

    def _read(self, value: Any) -> list[Message]:
        if isinstance(value, Cancelled):
            return []
        if isinstance(value, Disconnected):
            self._is_fresh, self.waits_for = True, f"the channel {self.name}"
            return []
        if isinstance(value, RemoteError):
            self.waits_for = f"the channel {self.name}, which answers with an error"
            return []
        self.waits_for = ""
        if self._is_fresh:
            self._is_fresh = False
            return []
        try:
            number, frame = decode(value)
        except Malformed as error:
            return [Refused(why=error.why, frames=error.frames)]
        if number < self.first:
            return [Refused(why="a number before that of the first frame", frames=1)]
        number -= self.first
        is_last = self.n_frames is not None and number >= self.n_frames - 1
        return [Frames(numbers=[number], frames=frame[None]), *([End()] if is_last else [])]

    def close(self) -> None:
        """Leave the channel; again: nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._monitor.close()
        self._context.close()


def connect(rest: str, *, gives: str, tee: str | None) -> Channel:
    """Subscribe to a channel, which may appear later.

    Raises
    ------
    ConfigError
        The rest of the address has another form.
    """
    found = _ADDRESS.fullmatch(rest)
    if found is None:
        raise refused_address(gives, f"{NAME}:{rest}", FORM)
    n_frames = None if found["frames"] is None else int(found["frames"])
    return Channel(found["name"], first=int(found["first"] or 0), n_frames=n_frames)
