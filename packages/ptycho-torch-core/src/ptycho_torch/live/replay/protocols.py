"""Protocols that a scan can be sent over: one entry each, and one module in the folder ``senders``.

Nothing heavy is loaded, so that a help text can list them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_PROTOCOL", "PROTOCOLS", "ProtocolFacts"]

DEFAULT_PROTOCOL = "zmq"


@dataclass(frozen=True, kw_only=True)
class ProtocolFacts:
    """Facts of one protocol.

    Attributes
    ----------
    help
        One line that says what it speaks.
    form
        What an address looks like.
    gives
        What it can send: ``"frames"``, ``"positions"``, or both.
    joins
        Whether a frame and its position can be one message.
    module
        Module of the folder ``senders`` that holds ``open_sender(address, protocol, kind)``.
    modules
        What has to be installed, by import name.
    extra
        Extra of this distribution that installs it.
    """

    help: str
    form: str
    gives: tuple[str, ...]
    module: str
    joins: bool = False
    modules: tuple[str, ...] = ()
    extra: str = ""


_DECTRIS = {
    "form": "tcp://HOST:PORT",
    "gives": ("frames",),
    "module": "dectris",
    "modules": ("zmq", "cbor2", "dectris", "hdf5plugin"),
    "extra": "dectris,hdf5plugin",
}
PROTOCOLS: dict[str, ProtocolFacts] = {
    "zmq": ProtocolFacts(
        help="our own message over ZeroMQ; positions are in the messages of the frames",
        form="tcp://HOST:PORT",
        gives=("frames", "positions"),
        module="own",
        joins=True,
        modules=("zmq",),
        extra="live",
    ),
    "dectris": ProtocolFacts(help="stream of a DECTRIS detector, version 2", **_DECTRIS),  # type: ignore[arg-type]
    "dectris-v1": ProtocolFacts(help="stream of a DECTRIS detector, version 1", **_DECTRIS),  # type: ignore[arg-type]
    "pva": ProtocolFacts(
        help="a channel of EPICS (NTNDArray), which has no end message",
        form="CHANNEL",
        gives=("frames",),
        module="pva",
        modules=("p4p",),
        extra="pva",
    ),
    "hdf5": ProtocolFacts(
        help="a new HDF5 file that grows (SWMR): entry/data/data, and entry/positions with x and y",
        form="FILE",
        gives=("frames", "positions"),
        module="growing",
    ),
    "watch": ProtocolFacts(
        help="a new folder in which a file appears for each frame",
        form="FOLDER",
        gives=("frames",),
        module="files",
    ),
    "csv": ProtocolFacts(
        help="a new text file with a line for each position",
        form="FILE",
        gives=("positions",),
        module="files",
    ),
}
"""Protocols by name."""
