"""Scans: read, check, convert, write and simulate them.

Importing this package loads nothing; using one of its names loads NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptycho_torch.data.convert import write_scan
    from ptycho_torch.data.formats.npz import infer_probe_size, load_scan, read_npz_headers, save_scan
    from ptycho_torch.data.opening import open_scan, read_scan_header
    from ptycho_torch.data.scan.contract import DomainDecision, Scan

__all__ = [
    "DomainDecision",
    "Scan",
    "infer_probe_size",
    "load_scan",
    "open_scan",
    "read_npz_headers",
    "read_scan_header",
    "save_scan",
    "write_scan",
]

_HOMES = {
    "DomainDecision": "scan.contract",
    "Scan": "scan.contract",
    "infer_probe_size": "formats.npz",
    "load_scan": "formats.npz",
    "open_scan": "opening",
    "read_npz_headers": "formats.npz",
    "read_scan_header": "opening",
    "save_scan": "formats.npz",
    "write_scan": "convert",
}


def __getattr__(name: str) -> Any:
    # The command line reads the facts of formats below this package for its help, which loads no NumPy.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
