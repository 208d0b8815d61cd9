"""Trained models on disk: bundles, and checkpoints that hold everything a bundle does."""

from __future__ import annotations

from ptycho_torch.bundle.archive import BUNDLE_NAME, find_bundle, load_bundle, read_manifest, save_bundle
from ptycho_torch.bundle.checkpoint import CHECKPOINT_ENTRY, best_checkpoint
from ptycho_torch.bundle.manifest import Manifest, describe, installed_versions

__all__ = [
    "BUNDLE_NAME",
    "CHECKPOINT_ENTRY",
    "Manifest",
    "best_checkpoint",
    "describe",
    "find_bundle",
    "installed_versions",
    "load_bundle",
    "read_manifest",
    "save_bundle",
]
