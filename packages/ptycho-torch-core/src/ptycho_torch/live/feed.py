"""One source in a thread of its own, which hands on every message as it comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ptycho_torch.live.messages import End, Message
from ptycho_torch.live.source_registry import Source

__all__ = ["Feed"]

_PATIENCE_S = 0.2

Take = Callable[[Message, float], None]
"""Takes a message and when it came, on the clock of `time.monotonic`."""


class Feed:
    """Receives from a source until it ends, it is stopped, or nothing can come any more.

    While ``take`` works, nothing is received: what has come and is not taken yet is bounded by what the
    protocol holds, and a sender that can wait does.

    Parameters
    ----------
    name
        Address of the source, for people.
    source
        Open source; closed by the thread.
    take
        Called in the thread.

    Attributes
    ----------
    n_messages
        How many came.
    last_s
        When the last one came, on the clock of `time.monotonic`; None: none came.
    has_ended
        Whether the source said that nothing more will come.
    error
        Why nothing more can come; None where all is well.
    """

    def __init__(self, name: str, source: Source, take: Take) -> None:
        self.name = name
        self.n_messages = 0
        self.last_s: float | None = None
        self.has_ended = False
        self.error: Exception | None = None
        self._source, self._take = source, take
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feed {name}", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def _run(self) -> None:
        try:
            while not (self._stop.is_set() or self.has_ended):
                for message in self._source.receive(_PATIENCE_S):
                    self.last_s = time.monotonic()
                    self.n_messages += 1
                    self.has_ended = self.has_ended or isinstance(message, End)
                    self._take(message, self.last_s)
        except Exception as error:  # noqa: BLE001  whatever it is, the scan ends by it and not in silence
            self.error = error
        finally:
            self._source.close()

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come from it."""
        return not self._thread.is_alive() and self._thread.ident is not None

    @property
    def waits_for(self) -> str:
        """What keeps the source from giving anything, in words; empty: nothing is known."""
        return self._source.waits_for

    def stop(self, timeout_s: float | None = None) -> bool:
        """Stop receiving and wait for the thread; whether it came to its end in time."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        else:
            self._source.close()
        return not self._thread.is_alive()
