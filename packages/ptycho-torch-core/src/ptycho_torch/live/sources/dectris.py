"""The stream of a DECTRIS detector, version 1 or 2."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ptycho_torch.live.codecs import dectris
from ptycho_torch.live.codecs.malformed import Malformed
from ptycho_torch.live.codecs.series import SeriesEnd, SeriesImage, SeriesMessage, SeriesStart
from ptycho_torch.live.messages import End, Frames, Message, Refused
from ptycho_torch.live.sockets import PullSocket

__all__ = ["DectrisStream", "connect"]

logger = logging.getLogger(__name__)

NAME = "dectris"
HELP = "the stream of a DECTRIS detector, version 2 (port 31001) or 1 (port 9999)"
FORM = "dectris:tcp://HOST:PORT"
GIVES = ("frames",)
EXTRA = "dectris"
MODULES = ("zmq", "cbor2", "dectris")
TEES = True


class DectrisStream:
    """One series of a detector: the first that is heard of.

    Parameters
    ----------
    socket
        Connected to the detector.
    """

    def __init__(self, socket: PullSocket) -> None:
        self.socket = socket
        self.series: int | None = None

    @property
    def waits_for(self) -> str:
        """What keeps it from giving anything; empty: nothing is known."""
        return self.socket.waits_for

    def receive(self, timeout_s: float) -> Sequence[Message]:
        """What has come, after waiting at most ``timeout_s``."""
        return [self._read(parts) for parts in self.socket.receive(timeout_s)]

    def _read(self, parts: Sequence[bytes]) -> Message:
        try:
            found = dectris.decode(parts)
        except Malformed as error:
            return Refused(why=error.why, frames=error.frames)
        return self._of_this_series(found)

    def _of_this_series(self, found: SeriesMessage) -> Message:
        if self.series is None and not isinstance(found, SeriesEnd):
            self.series = found.series
        if found.series != self.series:
            return Refused(why="a message of another series", frames=int(isinstance(found, SeriesImage)))
        if isinstance(found, SeriesStart):
            return found.start
        if isinstance(found, SeriesEnd):
            return End()
        return Frames(numbers=[found.number], frames=found.frame[None])

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def connect(rest: str, *, gives: str, tee: str | None) -> DectrisStream:
    """Connect to a detector; ``tee`` is where its messages are handed on."""
    socket = PullSocket(rest, tee=tee, gives=gives)
    if tee is None:
        logger.warning(
            "%s gives each image to one receiver only: those that come here are missing from every file "
            "writer that listens too. Name an address with --tee, and let the file writer listen there",
            rest,
        )
    return DectrisStream(socket)
