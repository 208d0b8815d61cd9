"""Stream of DECTRIS detectors, whichever version a message is of."""

from __future__ import annotations

from collections.abc import Sequence

from ptycho_torch.live.codecs import dectris_v1, dectris_v2
from ptycho_torch.live.codecs.series import SeriesMessage

__all__ = ["decode"]


def decode(parts: Sequence[bytes]) -> SeriesMessage:
    """What a message says; its first byte tells the version.

    Parameters
    ----------
    parts
        Of the message, as they came.

    Raises
    ------
    Malformed
        It cannot be used.
    """
    # JSON objects begin with a brace; a map in CBOR never does.
    if len(parts) == 1 and not parts[0].startswith(b"{"):
        return dectris_v2.decode(parts[0])
    return dectris_v1.decode(parts)
