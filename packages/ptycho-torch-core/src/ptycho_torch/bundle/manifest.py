"""What a bundle or a checkpoint says about itself."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_torch.errors import BundleError, Fault, fault

if TYPE_CHECKING:
    from ptycho_torch.models import PatchModel

__all__ = [
    "LARGEST_TEXT",
    "MANIFEST_NAME",
    "Manifest",
    "describe",
    "installed_versions",
    "parse_manifest",
    "require_small_text",
]

MANIFEST_NAME = "manifest.json"

LARGEST_TEXT = 4 * 2**20
"""Bytes that a manifest or a resolved configuration may have; a hundred times what a training writes.

Lists and names that JSON unpacks take up to thirty times as much memory as their text.
"""

_FORMAT = "ptycho-torch bundle"
_FORMAT_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says about itself.

    Attributes
    ----------
    backend
        Always ``"pytorch"``.
    versions
        Package versions that wrote it.
    configuration
        Settings by section; ``configuration["model"]`` builds the network.
    scans
        Of each scan of the training: ``intensity_scale``, ``mean_counts``, ``n_modes``.
    checksums
        SHA-256 of each other member.
    record
        What the program that trained it wanted to keep; plain data.
    """

    backend: str
    versions: Mapping[str, str]
    configuration: Mapping[str, Mapping[str, Any]]
    scans: Sequence[Mapping[str, float]]
    checksums: Mapping[str, str]
    record: Mapping[str, Any] = field(default_factory=dict)


def installed_versions() -> dict[str, str]:
    """Versions of the packages that determine a result; that of the command line where it is installed."""
    names = ("ptycho-config", "ptycho-torch-core", "torch", "lightning", "numpy")
    found = {name: version(name) for name in names}
    with contextlib.suppress(PackageNotFoundError):
        found["ptycho-torch-cli"] = version("ptycho-torch-cli")
    return found


def describe(
    model: PatchModel,
    configuration: Mapping[str, Mapping[str, Any]],
    checksums: Mapping[str, str],
    record: Mapping[str, Any],
) -> str:
    """Text of the manifest of a model.

    Parameters
    ----------
    model
        Its scans are described as they are.
    configuration
        Settings by section, plain data; must hold the section ``model``.
    checksums
        SHA-256 of each other member.
    record
        What the caller wants to keep; plain data.
    """
    content = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "backend": "pytorch",
        "versions": installed_versions(),
        "configuration": configuration,
        "scans": [
            {
                "intensity_scale": float(model.on(number).intensity_scale),
                "mean_counts": float(model.on(number).mean_counts),
                "n_modes": int(model.on(number).probe_modes.shape[0]),
            }
            for number in range(len(model.scans))
        ],
        "checksums": dict(checksums),
        "record": dict(record),
    }
    return json.dumps(content, indent=2)


def require_small_text(name: str, size: int, path: Path, limit: int) -> None:
    """Refuse a text that no training writes, before it is looked into.

    Raises
    ------
    BundleError
        If it has more than ``limit`` bytes.
    """
    if size > limit:
        raise BundleError(
            Fault(
                f"{name} has {size} bytes, expected at most {limit}; a training writes some thousand. If it "
                "is right, read it with a larger largest_text",
                name,
            ),
            path,
        )


def parse_manifest(content: bytes, path: Path, *, largest_text: int = LARGEST_TEXT) -> Manifest:
    """Read and check the text of a manifest.

    Parameters
    ----------
    content, path
        The text, and the file it comes from.
    largest_text
        Bytes that it may have.

    Raises
    ------
    BundleError
        If it is no manifest, too large, of another backend or format, or incomplete.
    """
    require_small_text(MANIFEST_NAME, len(content), path, largest_text)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        said = f"{MANIFEST_NAME} is not JSON ({error}); this is not a model bundle"
        raise BundleError(Fault(said, MANIFEST_NAME), path) from error
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise BundleError(Fault(f"{MANIFEST_NAME} does not describe a {_FORMAT}", MANIFEST_NAME), path)
    if data.get("backend") != "pytorch":
        raise BundleError(Fault(f"backend is {data.get('backend')!r}, expected 'pytorch'", "backend"), path)
    if data.get("format_version") != _FORMAT_VERSION:
        raise BundleError(
            Fault(
                f"format version is {data.get('format_version')!r}, this package reads {_FORMAT_VERSION}; "
                "install the version of ptycho-torch-core that wrote it",
                "format_version",
            ),
            path,
        )
    try:
        manifest = Manifest(
            backend=data["backend"],
            versions=dict(data["versions"]),
            configuration={name: dict(values) for name, values in data["configuration"].items()},
            scans=tuple(dict(scan) for scan in data["scans"]),
            checksums=dict(data["checksums"]),
            record=dict(data.get("record") or {}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            Fault(f"{MANIFEST_NAME} lacks or garbles {error}; this is not a complete bundle", MANIFEST_NAME),
            path,
        ) from error
    _require_settings(manifest, path)
    return manifest


def _require_settings(manifest: Manifest, path: Path) -> None:
    """Refuse settings that a reconstruction cannot take its numbers from."""
    if "model" not in manifest.configuration:
        raise BundleError(fault(MANIFEST_NAME, "model settings cannot be used: there are none"), path)
    training = manifest.configuration.get("training", {})
    for name in ("nphotons", "batch_size"):
        value = training.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            said = (
                f"{MANIFEST_NAME}: the training setting {name} is {value!r:.40}, expected a positive number"
            )
            raise BundleError(Fault(f"{said}; the bundle was changed or damaged", name), path)
