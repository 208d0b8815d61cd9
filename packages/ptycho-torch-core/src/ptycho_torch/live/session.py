"""A live scan and its sources until it is over: what comes is handed on, and pictures are taken meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ptycho_torch.errors import DataError
from ptycho_torch.live.feed import Feed
from ptycho_torch.live.messages import End, Frames, Message, Positions, Refused, Start
from ptycho_torch.live.scan import LiveScan
from ptycho_torch.live.source_registry import Kind, Source
from ptycho_torch.reassembly import StitchedObject

__all__ = ["Ending", "Picture", "Session"]

logger = logging.getLogger(__name__)

Ending = Literal["", "end message", "all frames came", "nothing more came", "a source failed", "interrupted"]
"""Why a scan is over; empty while it runs."""

_GRACE_S = 10.0
"""How long positions are waited for after the frames have ended, or the other way round."""

_PICTURE_S = 0.5
_WINDOW_S = 3.0
_IDLE_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The object at one moment.

    Attributes
    ----------
    number
        Counts the pictures from one on.
    object
        What was there.
    """

    number: int
    object: StitchedObject = field(repr=False)


class Session:
    """Wires sources to a scan, works on what comes, and counts.

    Threads of sources put in what they receive, the thread that calls :meth:`run` works, and others may read
    :meth:`state` and ``picture`` at any time.

    Parameters
    ----------
    live
        The scan.
    end_after_s
        Seconds without anything new after which the scan counts as over; None: it ends by an end message,
        when all announced frames have come, or by Ctrl-C.
    heard
        Called whenever more is known of the scan, before anything is taken that depends on it.
    """

    def __init__(
        self,
        live: LiveScan,
        *,
        end_after_s: float | None = None,
        heard: Callable[[], None] | None = None,
    ) -> None:
        self.live = live
        self.feeds: dict[str, Feed] = {}
        self.picture: Picture | None = None
        self.ended: Ending = ""
        self._end_after_s, self._heard = end_after_s, heard
        self._began_s = time.monotonic()
        self._over_s: float | None = None
        self._pictured_s = 0.0
        self._shown = np.empty(0, dtype=np.int64)
        self._delays_s: list[float] = []
        self._received: deque[tuple[float, int]] = deque([(self._began_s, live.counters().received)])
        self._changed, self._hearing = threading.Condition(), threading.Lock()

    def attach(self, address: str, source: Source, gives: Kind) -> None:
        """Take from a source what it gives; received from when :meth:`run` or :meth:`start` is called.

        Parameters
        ----------
        address
            What it is called.
        source
            An open source; closed with the session.
        gives
            What is taken from it: of one of positions, frames are not.
        """
        self.feeds[gives] = Feed(address, source, lambda message, _: self._take(gives, message))

    def _take(self, gives: Kind, message: Message) -> None:
        """Hand a message on; whatever is wrong with it is counted."""
        try:
            self._hand_on(gives, message)
        except DataError:
            # Of the disk that frames are kept on, and no fault of the message.
            raise
        except ValueError:
            self.live.arrivals.refuse("a message whose parts do not fit each other")

    def _hand_on(self, gives: Kind, message: Message) -> None:
        live = self.live
        if isinstance(message, Positions) or (isinstance(message, Frames) and message.positions is not None):
            self._know(lambda: live.know_unit(message.unit))
        if isinstance(message, Frames) and gives == "frames":
            live.add_frames(message.numbers, message.frames, message.positions, unit=message.unit)
        elif isinstance(message, Frames):
            live.arrivals.refuse("frames where positions are expected")
        elif isinstance(message, Positions):
            live.add_positions(message.numbers, message.positions, unit=message.unit)
        elif isinstance(message, Start):
            how = {"bad_pixels": message.bad_pixels, "centre": message.centre, "n_frames": message.n_frames}
            self._know(lambda: live.told(message.metadata, **how))  # type: ignore[arg-type]
        elif isinstance(message, Refused):
            live.arrivals.refuse(message.why, frames=message.frames)
        else:
            assert isinstance(message, End)

    def _know(self, take: Callable[[], None]) -> None:
        with self._hearing:
            before = self.live.known
            take()
            if self._heard is not None and self.live.known is not before:
                self._heard()

    def start(self) -> None:
        """Begin to receive."""
        for feed in self.feeds.values():
            feed.start()

    def run(self) -> Ending:
        """Work until the scan is over; why it is. Ctrl-C ends it too, and nothing that came is lost."""
        self.start()
        try:
            while not self.ended:
                seen = self.live.arrivals.n_joined
                more = self.live.advance()
                self._look_back()
                if not more:
                    self.live.arrivals.wait(seen, _IDLE_S)
                self.ended = self._ending()
        except KeyboardInterrupt:
            self.ended = "interrupted"
            logger.info("interrupted: the scan ends here, and its result is written; again: at once")
        self.close()
        self._over_s = time.monotonic()
        self._take_picture()
        return self.ended

    def close(self) -> None:
        """Stop receiving; what has come stays."""
        for feed in self.feeds.values():
            feed.stop()

    # When it is over.

    def _ending(self) -> Ending:
        arrivals, now = self.live.arrivals, time.monotonic()
        counted = arrivals.counters()
        if arrivals.n_announced is not None and counted.joined >= arrivals.n_announced:
            return "all frames came"
        last = max((feed.last_s or self._began_s for feed in self.feeds.values()), default=self._began_s)
        if self._end_after_s is not None and now - last > self._end_after_s:
            return "nothing more came"
        over = {gives: feed for gives, feed in self.feeds.items() if feed.is_over}
        if not over:
            return ""
        failed = any(feed.error is not None for feed in over.values())
        is_waiting = counted.waiting_for_position or "frames" not in over
        if len(over) < len(self.feeds) and is_waiting and now - last < _GRACE_S:
            return ""
        if "frames" not in over and not failed:
            # Positions may all be known before the first frame.
            return ""
        return "a source failed" if failed else "end message"

    # What it looks like.

    def _is_time_for_a_picture(self) -> bool:
        return time.monotonic() - self._pictured_s > _PICTURE_S

    def _look_back(self) -> None:
        """Note which frames the object shows since the last time, and how long they took."""
        shown = self.live.shown()
        fresh = np.setdiff1d(shown, self._shown)
        if len(fresh):
            now = time.monotonic()
            self._delays_s.extend((now - self.live.arrivals.times(fresh)).tolist())
            self._shown = shown
        if self._is_time_for_a_picture():
            self._take_picture()

    def _take_picture(self) -> None:
        began = time.monotonic()
        found = self.live.snapshot()
        self._received.append((began, self.live.counters().received))
        while len(self._received) > 2 and began - self._received[0][0] > _WINDOW_S:
            self._received.popleft()
        with self._changed:
            if found is not None:
                number = 1 if self.picture is None else self.picture.number + 1
                self.picture = Picture(number=number, object=found)
            self._changed.notify_all()
        # A picture of a large object takes its time, of which most should be left for the work.
        now = time.monotonic()
        self._pictured_s = now + 4 * (now - began)

    def wait(self, timeout_s: float) -> None:
        """Wait for the next picture, or until the time is up."""
        with self._changed:
            self._changed.wait(timeout_s)

    def newest_frame(self) -> tuple[int, np.ndarray] | None:
        """Number and values of the frame that came last; None before the first one."""
        arrivals = self.live.arrivals
        number = arrivals.newest
        if number is None:
            return None
        return number, np.asarray(arrivals.frames(np.array([number]))[:][0])

    def rate_hz(self) -> float:
        """Frames received per second, in the last seconds."""
        (start, before), (end, after) = self._received[0], self._received[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def state(self) -> dict[str, Any]:
        """Counters, rates and delays as plain data."""
        counted = self.live.counters(ended=bool(self.ended))
        end = self._over_s or time.monotonic()
        seconds = max(end - self._began_s, 1e-9)
        return {
            "ended": self.ended,
            "seconds": round(seconds, 3),
            "counters": counted.to_dict(),
            "used": self.live.n_used,
            "rate_hz": round(self.rate_hz(), 2),
            "mean_rate_hz": round(counted.received / seconds, 2),
            "delay_s": self._delays(),
            "residual": self.live.residual,
            "waits_for": self.live.is_waiting_for,
            "findings": [finding.sentence() for finding in self.live.findings],
            "picture": 0 if self.picture is None else self.picture.number,
            "sources": {gives: _of_feed(feed) for gives, feed in self.feeds.items()},
        }

    def _delays(self) -> Mapping[str, float | None]:
        """From frame in to canvas: half of the frames took at most ``p50``, 95 of 100 at most ``p95``; s."""
        if not self._delays_s:
            return {"p50": None, "p95": None, "largest": None}
        p50, p95 = np.quantile(self._delays_s, (0.5, 0.95))
        return {
            "p50": round(float(p50), 4),
            "p95": round(float(p95), 4),
            "largest": round(max(self._delays_s), 4),
        }


def _of_feed(feed: Feed) -> dict[str, Any]:
    silent = None if feed.last_s is None else round(time.monotonic() - feed.last_s, 1)
    return {
        "address": feed.name,
        "messages": feed.n_messages,
        "silent_s": silent,
        "ended": feed.has_ended,
        "waits_for": feed.waits_for,
        "error": "" if feed.error is None else str(feed.error),
    }
