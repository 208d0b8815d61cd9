"""Checkpoints of a training as models: each holds the manifest of a bundle beside the weights."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

from ptycho_torch.bundle.checksum import CHECKSUM_ENTRY, checksum_of
from ptycho_torch.bundle.manifest import LARGEST_TEXT, Manifest, parse_manifest
from ptycho_torch.bundle.members import DAMAGED
from ptycho_torch.errors import BundleError, Fault
from ptycho_torch.inside import OutsideError, inside

__all__ = [
    "CHECKPOINT_ENTRY",
    "best_checkpoint",
    "checkpoint_content",
    "is_checkpoint",
    "plain_tensors",
    "read_checkpoint",
]

CHECKPOINT_ENTRY = "ptycho_torch"
"""Entry of a checkpoint with the text of the manifest."""

_PREFIX = "model."
_LARGEST = 16 * 2**30
_BEST, _KIND = "best_model_path", "BestCheckpoints"


def is_checkpoint(path: Path) -> bool:
    """Whether a file is an archive that PyTorch wrote; nothing of it is read but its table of contents."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except DAMAGED:
        return False


def read_checkpoint(path: Path, *, largest_text: int = LARGEST_TEXT) -> tuple[Manifest, dict[str, Any], int]:
    """Manifest and weights of a checkpoint, and the bytes of the file.

    Parameters
    ----------
    path
        The checkpoint.
    largest_text
        Bytes that the manifest may have.

    Raises
    ------
    BundleError
        If it is damaged, holds something that would run, or was not written by a training of this package.
    """
    content = checkpoint_content(path)
    text, state = content[CHECKPOINT_ENTRY], content.get("state_dict")
    if not isinstance(state, dict):
        raise BundleError("the checkpoint holds no weights", path)
    manifest = parse_manifest(text.encode(), path, largest_text=largest_text)
    weights = {str(name).removeprefix(_PREFIX): value for name, value in state.items()}
    return manifest, weights, path.stat().st_size


def checkpoint_content(path: Path) -> dict[str, Any]:
    """Everything that a checkpoint holds, on the CPU: tensors and plain data; nothing is executed.

    Raises
    ------
    BundleError
        If it is damaged, holds something that would run, or was not written by a training of this package.
    """
    size = path.stat().st_size
    if size > _LARGEST:
        said = f"has {size} bytes, expected at most {_LARGEST}; this is no checkpoint"
        raise BundleError(Fault(said, kind="too large"), path)
    content = plain_tensors(path.read_bytes(), "the checkpoint", path)
    if not isinstance(content, dict) or not isinstance(content.get(CHECKPOINT_ENTRY), str):
        raise BundleError(
            "this checkpoint was not written by a training of ptycho-torch; train again: one of another "
            "program cannot be used",
            path,
        )
    try:
        found = checksum_of(content)
    except TypeError as error:
        said = f"the checkpoint holds {error}, expected plain ones: it was changed or damaged"
        raise BundleError(Fault(said, CHECKSUM_ENTRY), path) from error
    if content.pop(CHECKSUM_ENTRY, None) != found:
        said = "the checkpoint does not match its checksum: it was changed or damaged"
        raise BundleError(Fault(said, CHECKSUM_ENTRY), path)
    return content


def plain_tensors(content: bytes, what: str, path: Path) -> Any:
    """What PyTorch wrote, by a loader that builds tensors and plain data and refuses everything else.

    Raises
    ------
    BundleError
        If there is something else in it, or it is damaged.
    """
    import torch

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as records:
            packed = [info for info in records.infolist() if info.compress_type != zipfile.ZIP_STORED]
    except DAMAGED as error:
        raise BundleError(
            Fault(f"{what} holds something other than tensors, or is damaged ({error})", what), path
        ) from error
    if packed:
        # PyTorch stores tensors as they are; what is packed could unpack to any size.
        raise BundleError(
            Fault(f"{what} holds something other than tensors: {packed[0].filename} is compressed", what),
            path,
        )
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        *DAMAGED,
        AttributeError,
        TypeError,
        LookupError,
        AssertionError,
    ) as error:
        # What PyTorch says here is a page that advises to load it all the same.
        raise BundleError(
            Fault(
                f"{what} holds something other than tensors, or is damaged; nothing of it was run or used",
                what,
            ),
            path,
        ) from error


def best_checkpoint(run_dir: Path) -> Path | None:
    """Checkpoint with the best weights in the folder of a training; None if it kept none.

    Raises
    ------
    BundleError
        If the last checkpoint, which names the best, is damaged.
    """
    folder = run_dir / "checkpoints"
    last = folder / "last.ckpt"
    if not last.is_file():
        return None
    states = checkpoint_content(last).get("callbacks")
    for key, state in states.items() if isinstance(states, dict) else ():
        if str(key).startswith(_KIND) and isinstance(state, dict) and state.get(_BEST):
            try:
                best = inside(folder, state[_BEST])
            except OutsideError as error:
                raise BundleError(str(error), last) from error
            return best if best.is_file() else last
    return last
