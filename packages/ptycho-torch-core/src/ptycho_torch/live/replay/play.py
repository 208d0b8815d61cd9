"""Play a scan: everything that its schedule says, at its time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.live.messages import End, Frames, Positions, Start, facts
from ptycho_torch.live.replay.schedule import Event
from ptycho_torch.live.replay.sender import FrameKind, GoOn, Sender

__all__ = ["Played", "frame_kind", "play"]

_UNIT = "px"


@dataclass(frozen=True, kw_only=True)
class Played:
    """What was sent.

    Attributes
    ----------
    frames, positions
        How many, doubles among them.
    distinct_frames
        How many frames were sent at least once.
    seconds
        From the first message to the last.
    finished
        Whether everything was sent that should have been.
    """

    frames: int
    positions: int
    distinct_frames: int
    seconds: float
    finished: bool

    @property
    def rate_fps(self) -> float:
        """Messages with frames that were sent a second."""
        return self.frames / self.seconds if self.seconds else 0.0


def frame_kind(scan: Scan) -> FrameKind:
    """Shape and dtype of the frames of a scan."""
    height, width = scan.diffraction.shape[1:]
    return FrameKind(shape=(height, width), dtype=scan.diffraction.dtype)


def play(
    scan: Scan,
    events: list[Event],
    frames_to: Sender,
    positions_to: Sender | None = None,
    *,
    positions_within: bool = False,
    go_on: GoOn = lambda: True,
    progress: Progress | None = None,
) -> Played:
    """Send a scan to whoever receives it; frames have the numbers of their rows.

    Begins when every sender has a receiver. A sender whose receiver is slow waits, and what is due meanwhile
    is sent as soon as it can be.

    Parameters
    ----------
    scan
        Scan to play.
    events
        What to send when; by `schedule`.
    frames_to
        Where frames go, and positions that come alone if there is no other place for them.
    positions_to
        Where positions that come alone go.
    positions_within
        Whether the position of a frame is in its message.
    go_on
        A no ends the play, and so does Ctrl-C once it has begun; receivers are told.
    progress
        Told of every frame.
    """
    senders = [frames_to] if positions_to is None else [frames_to, positions_to]
    is_heard = finished = all(sender.wait(go_on) for sender in senders)
    start = Start(metadata=facts(scan.metadata), bad_pixels=scan.bad_pixels, n_frames=scan.n_frames)
    finished = finished and frames_to.send(start, go_on)
    sent: list[Event] = []
    began = time.monotonic()
    done, n_frames = 0, sum(event.what == "frame" for event in events)
    try:
        for event in events if finished else ():
            time.sleep(max(0.0, began + event.at_s - time.monotonic()))
            sender = positions_to if event.what == "position" and positions_to is not None else frames_to
            finished = sender.send(_message(scan, event, positions_within), go_on)
            if not finished:
                break
            sent.append(event)
            if progress is not None and event.what == "frame":
                done += 1
                progress(done, n_frames)
    except KeyboardInterrupt:
        finished = False
    seconds = time.monotonic() - began
    for sender in senders if is_heard else ():
        # A detector that is stopped says that its series is over, too.
        finished = sender.send(End(), go_on if finished else _for_a_second()) and finished
    frames = [event.row for event in sent if event.what == "frame"]
    return Played(
        frames=len(frames),
        positions=len(sent) - len(frames),
        distinct_frames=len(set(frames)),
        seconds=seconds,
        finished=finished,
    )


def _for_a_second() -> GoOn:
    until = time.monotonic() + 1
    return lambda: time.monotonic() < until


def _message(scan: Scan, event: Event, positions_within: bool) -> Frames | Positions:
    row = slice(event.row, event.row + 1)
    if event.what == "position":
        return Positions(numbers=[event.row], positions=scan.positions[row], unit=_UNIT)
    return Frames(
        numbers=[event.row],
        frames=scan.diffraction[row],
        positions=scan.positions[row] if positions_within else None,
        unit=_UNIT if positions_within else None,
    )
