"""What can be said of a scan before its frames are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptycho_config import PartsConfig

__all__ = ["ArrayHeader", "Located", "ScanHeader"]


class ArrayHeader(NamedTuple):
    """Shape and dtype of a stored array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Located:
    """Where a scan is and what kind of file holds it.

    Attributes
    ----------
    format
        Name of the format.
    files
        Every file of the scan, that with the frames first.
    inside
        Group or dataset of the file that holds the scan, where one file holds several; empty otherwise.
    parts
        What is stated beside the files, and outranks them; None: nothing.
    metadata
        Entries that are stated beside the files, and outrank theirs.
    """

    format: str
    files: tuple[Path, ...]
    inside: str = ""
    parts: PartsConfig | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> Path:
        """File with the frames."""
        return self.files[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanHeader:
    """Sizes and metadata of a scan, found without reading its frames.

    Attributes
    ----------
    n_frames
        Frames that a reader gives out; None: cannot be told.
    N
        Edge of a stored frame; px. None: cannot be told.
    probe_size
        Edge of the probe; px. None: cannot be told.
    metadata
        Entries that come with the scan.
    arrays
        What is stored, by the names of the file; empty for a scan in memory.
    problems
        Arrays of the file that are damaged, a sentence each.
    """

    n_frames: int | None = None
    N: int | None = None
    probe_size: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, ArrayHeader] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
