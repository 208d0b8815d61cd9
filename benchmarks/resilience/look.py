"""Look at the files that a run has left: whether each is whole, and what should not be there."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from pathlib import Path

__all__ = ["broken_files", "fingerprint", "leftovers"]

_LEFT = ("incomplete-", ".replaced-")


def broken_files(folder: Path) -> list[str]:
    """Files with a name of their own that are not whole, by their content; temporary ones do not count."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.endswith(".tmp") or path.name == ".run.lock":
            continue
        try:
            _require_whole(path)
        except Exception as error:  # noqa: BLE001  whatever it is, it counts
            found.append(f"{path.relative_to(folder)}: {type(error).__name__}: {str(error)[:150]}")
    return found


def _require_whole(path: Path) -> None:
    content = path.read_bytes()
    suffix = path.suffix.lower()
    if suffix == ".json":
        json.loads(content)
    elif suffix == ".png":
        assert content.startswith(b"\x89PNG"), "no picture"
        assert content[-8:-4] == b"IEND", "an incomplete picture"
    elif suffix == ".html":
        assert content.rstrip().endswith(b"</html>"), "an incomplete page"
    elif suffix in (".npz", ".zip"):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None, "a damaged archive"
    elif suffix in (".h5", ".cxi", ".nxs"):
        _read_hdf5(path)
    elif suffix == ".ckpt":
        from ptycho_torch.bundle.checkpoint import checkpoint_content

        checkpoint_content(path)
    elif suffix == ".csv":
        rows = list(csv.reader(content.decode().splitlines()))
        assert len({len(row) for row in rows}) == 1, "rows of several lengths"
        assert content.endswith(b"\n"), "half a row"


def _read_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path) as file:
        file.visititems(lambda name, item: item[()] if isinstance(item, h5py.Dataset) else None)


def leftovers(folder: Path) -> list[str]:
    """Temporary files, working folders and locks."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.endswith(".tmp") or path.name.startswith(_LEFT) or path.name == ".run.lock"
    )


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file and folder with a checksum of what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found
