"""The stream of a DECTRIS detector, packed as these send it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptycho_torch.live.codecs import dectris_v1, dectris_v2
from ptycho_torch.live.codecs.packing import Packer
from ptycho_torch.live.messages import End, Frames, Message, Start
from ptycho_torch.live.replay.sender import FrameKind
from ptycho_torch.live.replay.senders.sockets import PushSocket

__all__ = ["open_sender"]

_SERIES = 1


class _Series:
    """Encodes what a detector says in one series."""

    def __init__(self, protocol: str, kind: FrameKind) -> None:
        self.codec = dectris_v1 if protocol == "dectris-v1" else dectris_v2
        self.kind = kind
        self.packer = Packer("bslz4")

    def __call__(self, message: Message) -> Sequence[bytes]:
        made = self._encoded(message)
        return [made] if isinstance(made, bytes) else made

    def _encoded(self, message: Message) -> bytes | Sequence[bytes]:
        if isinstance(message, Start):
            return self.codec.encode_start(_SERIES, message, self.kind.shape, self.kind.dtype)
        if isinstance(message, End):
            return self.codec.encode_end(_SERIES)
        assert isinstance(message, Frames), "a detector knows no positions"
        (number,), (frame,) = np.asarray(message.numbers).tolist(), message.frames
        return self.codec.encode_image(_SERIES, number, frame, self.packer)


def open_sender(address: str, protocol: str, kind: FrameKind) -> PushSocket:
    """Bind an address; raises as `PushSocket`."""
    return PushSocket(address, _Series(protocol, kind))
