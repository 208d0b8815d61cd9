"""Model bundles: one archive with everything a reconstruction needs, and nothing that runs.

``wts.h5.zip`` is a zip file with three members:

=============== ==========================================================================
member          content
=============== ==========================================================================
manifest.json   format, backend, package versions, model settings, calibrations, checksums
weights.pt      the state of the :class:`~ptycho_torch.models.PatchModel`, tensors only
resolved.json   the resolved configuration of the training
=============== ==========================================================================

Weights are read by PyTorch's weights-only loader, which builds tensors and refuses to call code. Nothing is
ever extracted, and nothing is read before its size has been found plausible.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_config import ModelConfig, from_dict
from ptycho_torch.atomic import atomic_write
from ptycho_torch.errors import BundleError
from ptycho_torch.members import DAMAGED, open_members

if TYPE_CHECKING:
    import torch

    from ptycho_torch.models import PatchModel
    from ptycho_torch.physics import Calibration

__all__ = [
    "BUNDLE_NAME",
    "Manifest",
    "find_bundle",
    "installed_versions",
    "load_bundle",
    "read_manifest",
    "save_bundle",
]

BUNDLE_NAME = "wts.h5.zip"

_LARGEST_TEXT = 64 * 2**20
_LARGEST_WEIGHTS = 16 * 2**30
_LARGEST_OVERHEAD = 2**20
_FORMAT = "ptycho-torch bundle"
_FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
_WEIGHTS, _RESOLVED = "weights.pt", "resolved.json"


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
    """

    backend: str
    versions: Mapping[str, str]
    configuration: Mapping[str, Mapping[str, Any]]
    scans: Sequence[Mapping[str, float]]
    checksums: Mapping[str, str]


def installed_versions() -> dict[str, str]:
    """Versions of the packages that determine a result; that of the command line where it is installed."""
    names = ("ptycho-config", "ptycho-torch-core", "torch", "lightning", "numpy")
    found = {name: version(name) for name in names}
    with contextlib.suppress(PackageNotFoundError):
        found["ptycho-torch-cli"] = version("ptycho-torch-cli")
    return found


def find_bundle(model_path: str | PathLike[str]) -> Path:
    """Path of the bundle file that a user meant.

    Parameters
    ----------
    model_path
        The bundle itself, a directory that holds ``wts.h5.zip``, or the directory it was extracted to.

    Returns
    -------
    Path
        The file, or the directory with the extracted members. A ``wts.h5.zip`` comes first.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    BundleError
        If it is a directory without a bundle.
    """
    path = Path(model_path)
    if not path.exists():
        raise FileNotFoundError(f"model_path: {path}: no such file or directory")
    if not path.is_dir():
        return path
    if (path / BUNDLE_NAME).is_file():
        return path / BUNDLE_NAME
    if (path / MANIFEST_NAME).is_file():
        return path
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "nothing"
    raise BundleError(
        f"no {BUNDLE_NAME} in this directory (found {found}); give the output directory of a "
        "training, the bundle file, or the directory it was extracted to",
        path,
    )


def save_bundle(
    path: str | PathLike[str],
    model: PatchModel,
    configuration: Mapping[str, Mapping[str, Any]],
    resolved: Mapping[str, Any],
) -> None:
    """Write a bundle; complete or not at all.

    Parameters
    ----------
    path
        File to create or replace.
    model
        Its state is saved as it is.
    configuration
        Settings by section, plain data; must hold the section ``model``.
    resolved
        Resolved configuration with provenance, plain data.
    """
    import torch

    stream = io.BytesIO()
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    torch.save(state, stream)
    members = {
        _WEIGHTS: stream.getvalue(),
        _RESOLVED: json.dumps(resolved, indent=2).encode(),
    }
    manifest = {
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
        "checksums": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
    }
    with atomic_write(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST_NAME, json.dumps(manifest, indent=2))
        for name, content in members.items():
            archive.writestr(name, content)


def read_manifest(model_path: str | PathLike[str]) -> Manifest:
    """Read what a bundle says about itself; loads no weights and no PyTorch.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    BundleError
        If it is no bundle, of another backend, of a newer format, or damaged.
    """
    path = find_bundle(model_path)
    with open_members(path) as members:
        return _parse_manifest(members.read(MANIFEST_NAME, _LARGEST_TEXT), path)


def load_bundle(
    model_path: str | PathLike[str], *, device: torch.device | str = "cpu"
) -> tuple[PatchModel, Manifest]:
    """Load a model for inference.

    Parameters
    ----------
    model_path
        The bundle itself, a directory that holds ``wts.h5.zip``, or the directory it was extracted to.
    device
        Where the model goes.

    Returns
    -------
    model : PatchModel
        In evaluation mode, gradients off.
    manifest : Manifest

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    BundleError
        If it is no bundle, of another backend or a newer format, damaged, or does not fit its own
        settings.
    """
    path = find_bundle(model_path)
    with open_members(path) as members:
        manifest = _parse_manifest(members.read(MANIFEST_NAME, _LARGEST_TEXT), path)
        content = members.read(_WEIGHTS, _LARGEST_WEIGHTS)
        _verify(_WEIGHTS, content, manifest, path)
        _verify(_RESOLVED, members.read(_RESOLVED, _LARGEST_TEXT), manifest, path)
    model = _empty_model(manifest, len(content), path)
    state = _tensors(content, path)
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{_WEIGHTS} does not fit the model settings of the manifest: {error}", path
        ) from error
    return model.to(device).eval().requires_grad_(False), manifest


def _empty_model(manifest: Manifest, size: int, path: Path) -> PatchModel:
    """A model of the settings of a manifest, if weights of ``size`` bytes can be those of such a model."""
    import torch

    from ptycho_torch.models import build_patch_model
    from ptycho_torch.physics import calibrate

    try:
        config = from_dict(ModelConfig, manifest.configuration["model"])
        n_modes = [int(scan["n_modes"]) for scan in manifest.scans]
        if min(n_modes, default=0) < 1:
            raise ValueError(f"n_modes is {n_modes}, expected at least 1 for each of one or more scans")
        # The probes lie in the weights. Settings of a changed file could ask for more memory than there is.
        _require_room(sum(n_modes) * config.N**2 * 8, size, path)
        calibrations = [
            calibrate(torch.ones(count, config.N, config.N, dtype=torch.complex64), 1.0) for count in n_modes
        ]
        _require_room(_state_bytes(config, calibrations[0]), size, path)
        model = build_patch_model(config, calibrations[0])
        for calibration in calibrations[1:]:
            model.add_scan(calibration)
        return model
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise BundleError(f"{MANIFEST_NAME}: model settings cannot be used: {error}", path) from error


def _state_bytes(config: ModelConfig, calibration: Calibration) -> int:
    """Size of the state of a model, found without memory for it; 0 where a generator does not allow that."""
    import torch

    from ptycho_torch.models import build_patch_model

    try:
        with torch.device("meta"):
            state = build_patch_model(config, calibration).state_dict()
    except (RuntimeError, TypeError, ValueError):
        return 0
    return sum(value.numel() * value.element_size() for value in state.values())


def _require_room(needed: int, size: int, path: Path) -> None:
    # Weights that several layers share are stored once.
    if needed > 4 * size + _LARGEST_OVERHEAD:
        raise BundleError(
            f"{MANIFEST_NAME}: model settings cannot be used: they describe a model of {needed} bytes, but "
            f"{_WEIGHTS} has {size}; the bundle was changed or damaged",
            path,
        )


def _verify(name: str, content: bytes, manifest: Manifest, path: Path) -> None:
    if hashlib.sha256(content).hexdigest() != manifest.checksums.get(name):
        raise BundleError(f"{name} does not match its checksum; the file was changed or damaged", path)


def _tensors(content: bytes, path: Path) -> Any:
    """The state that was saved, by a loader that builds tensors and refuses everything else."""
    import torch

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as records:
            packed = [info for info in records.infolist() if info.compress_type != zipfile.ZIP_STORED]
        if packed:
            # PyTorch stores tensors as they are; what is packed could unpack to any size.
            raise ValueError(f"its record {packed[0].filename} is compressed")
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *DAMAGED, AttributeError, TypeError, LookupError) as error:
        raise BundleError(f"{_WEIGHTS} holds something other than tensors: {error}", path) from error


def _parse_manifest(content: bytes, path: Path) -> Manifest:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        said = f"{MANIFEST_NAME} is not JSON ({error}); this is not a model bundle"
        raise BundleError(said, path) from error
    if not isinstance(data, dict) or data.get("format") != _FORMAT:
        raise BundleError(f"{MANIFEST_NAME} does not describe a {_FORMAT}", path)
    if data.get("backend") != "pytorch":
        raise BundleError(f"backend is {data.get('backend')!r}, expected 'pytorch'", path)
    if data.get("format_version") != _FORMAT_VERSION:
        raise BundleError(
            f"format version is {data.get('format_version')!r}, this package reads {_FORMAT_VERSION}; "
            "install the version of ptycho-torch-core that wrote it",
            path,
        )
    try:
        return Manifest(
            backend=data["backend"],
            versions=dict(data["versions"]),
            configuration={name: dict(values) for name, values in data["configuration"].items()},
            scans=tuple(dict(scan) for scan in data["scans"]),
            checksums=dict(data["checksums"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"{MANIFEST_NAME} lacks or garbles {error}; this is not a complete bundle", path
        ) from error
