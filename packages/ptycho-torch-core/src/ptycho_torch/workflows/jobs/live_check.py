"""Connect the sources of a live scan, wait, and say which of them is silent."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

from ptycho_torch.config_factory.live import LivePayload
from ptycho_torch.live.feed import Feed
from ptycho_torch.live.messages import Frames, Message, Positions, Refused
from ptycho_torch.workflows.jobs.live import opened_sources

__all__ = ["Heard", "check_sources"]

_WAIT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What a source has given.

    Attributes
    ----------
    gives
        ``"frames"`` or ``"positions"``.
    address
        Of the source.
    n_messages
        How many came.
    kinds
        How many of which kind.
    what
        The last frames or positions, in words.
    waits_for
        What keeps the source from giving anything; empty where nothing is known.
    """

    gives: str
    address: str
    n_messages: int
    kinds: Counter[str]
    what: str
    waits_for: str

    @property
    def sentence(self) -> str:
        """One line for people."""
        if not self.n_messages:
            why = f"; it waits for {self.waits_for}" if self.waits_for else ""
            return f"{self.gives}: silent, {self.address}{why}"
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        return f"{self.gives}: {kinds}{self.what} from {self.address}"


def check_sources(payload: LivePayload, *, wait_s: float | None = None) -> tuple[Heard, ...]:
    """Receive for a while and say what came; what came is not given back to anybody.

    Parameters
    ----------
    payload
        From :func:`ptycho_torch.config_factory.live.create_live_payload`.
    wait_s
        How long at most, 10 s by default; it ends earlier when every source has given something.

    Raises
    ------
    ConfigError
        A source cannot be opened.
    """
    with opened_sources(payload) as sources:
        listeners = [_Listener(gives, address, source) for gives, (address, source) in sources.items()]
        for one in listeners:
            one.feed.start()
        until = time.monotonic() + (_WAIT_S if wait_s is None else wait_s)
        while time.monotonic() < until and not all(one.feed.n_messages for one in listeners):
            time.sleep(0.05)
        found = tuple(one.heard() for one in listeners)
        for one in listeners:
            one.feed.stop()
    return found


class _Listener:
    def __init__(self, gives: str, address: str, source: object) -> None:
        self.gives, self.address = gives, address
        self.kinds: Counter[str] = Counter()
        self.what = ""
        self.feed = Feed(address, source, lambda message, _: self._hear(message))  # type: ignore[arg-type]

    def _hear(self, message: Message) -> None:
        kind = type(message).__name__.lower()
        if isinstance(message, Frames):
            self.what = f" of {message.frames.shape[1]} x {message.frames.shape[2]} px {message.frames.dtype}"
        if isinstance(message, Refused):
            kind = f"refused ({message.why})"
        if isinstance(message, Positions):
            self.what = f" in {message.unit or 'a unit that is not said'}"
        self.kinds[kind] += 1

    def heard(self) -> Heard:
        failed = "" if self.feed.error is None else str(self.feed.error)
        return Heard(
            gives=self.gives,
            address=self.address,
            n_messages=self.feed.n_messages,
            kinds=self.kinds,
            what=self.what,
            waits_for=failed or self.feed.waits_for,
        )
