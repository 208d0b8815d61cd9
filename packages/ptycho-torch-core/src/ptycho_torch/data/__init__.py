"""Scans: read, check, convert, write and simulate them.

Importing this package loads NumPy only.
"""

from __future__ import annotations

from ptycho_torch.data.contract import DomainDecision, Scan
from ptycho_torch.data.npz import infer_probe_size, load_scan, read_npz_headers, save_scan

__all__ = ["DomainDecision", "Scan", "infer_probe_size", "load_scan", "read_npz_headers", "save_scan"]
