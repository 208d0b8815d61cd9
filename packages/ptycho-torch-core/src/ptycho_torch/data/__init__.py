"""Scans: read, check, convert, write and simulate them.

Importing this package loads NumPy only.
"""

from __future__ import annotations

from ptycho_torch.data.formats.npz import infer_probe_size, load_scan, read_npz_headers, save_scan
from ptycho_torch.data.scan.contract import DomainDecision, Scan

__all__ = ["DomainDecision", "Scan", "infer_probe_size", "load_scan", "read_npz_headers", "save_scan"]
