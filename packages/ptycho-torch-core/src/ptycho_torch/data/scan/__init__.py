"""The data contract: a scan, its checks, its geometry, its frames; and what a format is written with."""

from __future__ import annotations

from ptycho_torch.data.scan.assemble import KNOWN_KEYS, assemble_scan
from ptycho_torch.data.scan.contract import DomainDecision, Scan, frame_chunks
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.geometry import ScanGeometry
from ptycho_torch.data.scan.hdf5_frames import HDF5Frames
from ptycho_torch.data.scan.header import ArrayHeader, Located, ScanHeader
from ptycho_torch.data.scan.lazy import Frames, FrameStack

__all__ = [
    "KNOWN_KEYS",
    "ArrayHeader",
    "DomainDecision",
    "FrameStack",
    "Frames",
    "HDF5Frames",
    "Located",
    "Scan",
    "ScanGeometry",
    "ScanHeader",
    "assemble_scan",
    "example_scan",
    "frame_chunks",
]
