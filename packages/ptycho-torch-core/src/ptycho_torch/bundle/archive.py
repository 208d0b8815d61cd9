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

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_config import ModelConfig, from_dict
from ptycho_torch.atomic import atomic_write
from ptycho_torch.bundle.checkpoint import is_checkpoint, plain_tensors, read_checkpoint
from ptycho_torch.bundle.manifest import (
    LARGEST_TEXT,
    MANIFEST_NAME,
    Manifest,
    describe,
    parse_manifest,
    require_small_text,
)
from ptycho_torch.bundle.members import open_members
from ptycho_torch.errors import BundleError, Fault, fault

if TYPE_CHECKING:
    import torch

    from ptycho_torch.models import PatchModel
    from ptycho_torch.physics import Calibration

__all__ = [
    "BUNDLE_NAME",
    "find_bundle",
    "load_bundle",
    "read_manifest",
    "save_bundle",
]

BUNDLE_NAME = "wts.h5.zip"

_LARGEST_WEIGHTS = 16 * 2**30
_LARGEST_OVERHEAD = 2**20
_NAMED = 3
_WEIGHTS, _RESOLVED = "weights.pt", "resolved.json"


def find_bundle(model_path: str | PathLike[str]) -> Path:
    """Path of the bundle file that a user meant.

    Parameters
    ----------
    model_path
        The bundle itself, a directory that holds ``wts.h5.zip``, the directory it was extracted to, or a
        checkpoint of a training.

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
        Fault(
            f"no {BUNDLE_NAME} in this directory (found {found}); give the output directory of a "
            "training, the bundle file, or the directory it was extracted to",
            BUNDLE_NAME,
        ),
        path,
    )


def save_bundle(
    path: str | PathLike[str],
    model: PatchModel,
    configuration: Mapping[str, Mapping[str, Any]],
    resolved: Mapping[str, Any],
    record: Mapping[str, Any] | None = None,
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
    record
        What the caller wants to keep; plain data.

    Raises
    ------
    BundleError
        If a weight is NaN or infinite, or settings and record take more text than a bundle may hold; nothing
        is written.
    """
    import torch

    stream = io.BytesIO()
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise BundleError(
            Fault(
                f"weights that are NaN or infinite: {', '.join(broken[:_NAMED])}"
                f"{f' and {len(broken) - _NAMED} more' if len(broken) > _NAMED else ''}; save a model that "
                "works",
                ", ".join(broken),
            ),
            path,
        )
    torch.save(state, stream)
    members = {
        _WEIGHTS: stream.getvalue(),
        _RESOLVED: json.dumps(resolved, indent=2).encode(),
    }
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    manifest = describe(model, configuration, checksums, record or {})
    for name, size in ((MANIFEST_NAME, len(manifest.encode())), (_RESOLVED, len(members[_RESOLVED]))):
        require_small_text(name, size, Path(path), LARGEST_TEXT)
    with atomic_write(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST_NAME, manifest)
        for name, content in members.items():
            archive.writestr(name, content)


def read_manifest(model_path: str | PathLike[str], *, largest_text: int = LARGEST_TEXT) -> Manifest:
    """Read what a bundle says about itself; loads no weights and no PyTorch.

    Parameters
    ----------
    model_path
        As for `load_bundle`.
    largest_text
        Bytes that the manifest may have.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    BundleError
        If it is not a bundle, of another backend, of a newer format, or damaged.
    """
    path = find_bundle(model_path)
    if is_checkpoint(path):
        return read_checkpoint(path, largest_text=largest_text)[0]
    with open_members(path) as members:
        content = members.read(MANIFEST_NAME, largest_text)
    return parse_manifest(content, path, largest_text=largest_text)


def load_bundle(
    model_path: str | PathLike[str],
    *,
    device: torch.device | str = "cpu",
    largest_text: int = LARGEST_TEXT,
) -> tuple[PatchModel, Manifest]:
    """Load a model for inference.

    Parameters
    ----------
    model_path
        The bundle itself, a directory that holds ``wts.h5.zip``, or the directory it was extracted to.
    device
        Where the model goes.
    largest_text
        Bytes that the manifest and the resolved configuration may have.

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
        If it is not a bundle, of another backend or a newer format, damaged, or does not fit its own
        settings.
    """
    path = find_bundle(model_path)
    if is_checkpoint(path):
        manifest, state, size = read_checkpoint(path, largest_text=largest_text)
        model = _empty_model(manifest, size, path)
    else:
        with open_members(path) as members:
            text = members.read(MANIFEST_NAME, largest_text)
            manifest = parse_manifest(text, path, largest_text=largest_text)
            content = members.read(_WEIGHTS, _LARGEST_WEIGHTS)
            _verify(_WEIGHTS, content, manifest, path)
            _verify(_RESOLVED, members.read(_RESOLVED, largest_text), manifest, path)
        model = _empty_model(manifest, len(content), path)
        state = plain_tensors(content, _WEIGHTS, path)
    _require_fit(model.state_dict(), state, path)
    model.load_state_dict(state)
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
        raise BundleError(fault(MANIFEST_NAME, f"model settings cannot be used: {error}"), path) from error


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
            fault(
                MANIFEST_NAME,
                f"model settings cannot be used: they describe a model of {needed} bytes, but "
                f"{_WEIGHTS} has {size}; the bundle was changed or damaged",
            ),
            path,
        )


def _require_fit(expected: Mapping[str, torch.Tensor], state: object, path: Path) -> None:
    """Refuse weights of other names, shapes or types than the model has."""
    import torch

    said = f"{_WEIGHTS} does not fit the model settings of the manifest"
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BundleError(Fault(f"{said}: it holds no table of tensors; train again", _WEIGHTS), path)
    missing = [name for name in expected if name not in state]
    strange = [str(name) for name in state if name not in expected]
    other = [
        name
        for name, value in expected.items()
        if name in state
        and (
            state[name].shape != value.shape
            or state[name].is_complex() != value.is_complex()
            or state[name].layout != value.layout
        )
    ]
    found = [
        f"{len(names)} of {len(expected)} weights {what}, {names[0]:.60} for one"
        for what, names in (
            ("are missing", missing),
            ("are of another kind", strange),
            ("differ in shape", other),
        )
        if names
    ]
    if found:
        raise BundleError(
            Fault(f"{said}: {', '.join(found)}; the bundle was changed, train again", _WEIGHTS), path
        )


def _verify(name: str, content: bytes, manifest: Manifest, path: Path) -> None:
    if hashlib.sha256(content).hexdigest() != manifest.checksums.get(name):
        raise BundleError(
            Fault(f"{name} does not match its checksum; the file was changed or damaged", name), path
        )
