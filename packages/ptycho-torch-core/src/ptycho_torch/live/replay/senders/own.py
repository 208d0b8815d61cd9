"""Our own message over ZeroMQ."""

from __future__ import annotations

from ptycho_torch.live.replay.sender import FrameKind
from ptycho_torch.live.replay.senders.sockets import PushSocket
from ptycho_torch.live.wire import encoded

__all__ = ["open_sender"]


def open_sender(address: str, protocol: str, kind: FrameKind) -> PushSocket:
    """Bind an address; raises as `PushSocket`."""
    return PushSocket(address, encoded)
