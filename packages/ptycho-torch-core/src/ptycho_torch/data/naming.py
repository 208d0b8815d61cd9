"""What a file of the field is, where it is no scan: results, frames or positions alone.

Names are given by content. A sentence says what the file is, and what to do with it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ptycho_torch.data.recognition import Candidate

__all__ = ["FRAMES_ALONE", "named"]

FRAMES_ALONE = (
    "state positions and position_unit (--positions FILE --position-unit UNIT), or the raster_step of a "
    "raster"
)
"""What to do with frames that come without positions."""

_BLOCK = re.compile(r"data_\d+")
_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"MATLAB 5.0 MAT-file", "a MATLAB file before version 7.3; save it again with -v7.3, or as NPZ"),
    (b"\x93NUMPY", f"an array of NumPy: frames without positions; {FRAMES_ALONE}"),
    (b"II*\0", f"a TIFF file: frames without positions; {FRAMES_ALONE}"),
    (b"MM\0*", f"a TIFF file: frames without positions; {FRAMES_ALONE}"),
    (b"II+\0", f"a TIFF file: frames without positions; {FRAMES_ALONE}"),
    (b"###CBF", "one frame of a Pilatus detector (CBF); convert the frames of the scan to HDF5 or TIFF"),
    (b"HDR,", f"frames of a Merlin detector (MIB) without positions; {FRAMES_ALONE}"),
    (b"MQ1,", f"frames of a Merlin detector (MIB) without positions; {FRAMES_ALONE}"),
    (b"\0\0\0\x03", f"a file of DigitalMicrograph: frames without positions; {FRAMES_ALONE}"),
    (b"\0\0\0\x04", f"a file of DigitalMicrograph: frames without positions; {FRAMES_ALONE}"),
    (b"\x80", "a pickle of Python; it could run anything, so it is never opened: save the arrays as NPZ"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"%PDF", "a document (PDF)"),
    (b"\x1f\x8b", "a file that gzip packed; unpack it first"),
    (b"BZh", "a file that bzip2 packed; unpack it first"),
    (b"\xfd7zXZ", "a file that xz packed; unpack it first"),
    (b"#F ", "a file of SPEC: motors and counters, no frames; its columns can be exported as positions"),
)
_CURVE = re.compile(rb"\s*\{\s*(?:EDF_|HeaderID)")


def named(candidate: Candidate) -> str | None:
    """What is at a path that no format knows as a scan; None where it is nothing that is known.

    Parameters
    ----------
    candidate
        The path, opened.
    """
    if candidate.is_folder:
        return _folder(candidate)
    if candidate.hdf5 is not None:
        return next((said for said in (look(candidate) for look in _LOOKS) if said), None)
    for start, said in _STARTS:
        if candidate.start.startswith(start):
            return said
    if _CURVE.match(candidate.start):
        return "one frame of an ESRF detector (EDF); convert the frames of the scan to HDF5 or TIFF"
    if candidate.start.startswith(b"PK"):
        return _archive(candidate)
    return _text(candidate)


def _folder(candidate: Candidate) -> str | None:
    frames = [name for name in candidate.names if name.lower().endswith((".tif", ".tiff", ".npy"))]
    if len(frames) > 1:
        return f"a folder of {len(frames)} frames without positions; {FRAMES_ALONE}"
    return None


def _archive(candidate: Candidate) -> str | None:
    try:
        with zipfile.ZipFile(candidate.path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return None
    if "manifest.json" in names:
        return "a trained model of this program, not a scan; give it as model_path"
    if any(name.endswith("data.pkl") for name in names):
        return "a checkpoint of PyTorch, not a scan"
    return None


def _text(candidate: Candidate) -> str | None:
    if b"\0" in candidate.start:
        return None
    lines = candidate.start.decode("utf-8", errors="replace").splitlines()
    if candidate.start.lstrip()[:1] in (b"{", b"["):
        return "text in JSON: settings or metadata, not a scan"
    rows = [line.replace(",", " ").replace(";", " ").split() for line in lines[:-1] or lines]
    numbers = [row for row in rows if len(row) > 1 and all(_is_number(word) for word in row)]
    if len(numbers) >= 2:
        return (
            "a table of numbers, which may be positions; give the file with the frames, and this one as "
            "positions (--positions)"
        )
    return None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _ptypy_result(candidate: Candidate) -> str | None:
    names = candidate.hdf5_names("content")
    if {"obj", "probe"} <= names:
        return "a reconstruction of ptypy, not a scan"
    return "a run of ptypy, not a scan" if {"pars", "runtime"} <= names else None


def _ptylab_result(candidate: Candidate) -> str | None:
    names = candidate.hdf5_names()
    if {"probe", "object", "error", "wavelength"} <= names:
        return "a reconstruction of PtyLab, not a scan"
    return None


def _cdtools_result(candidate: Candidate) -> str | None:
    names = candidate.hdf5_names()
    if {"state_dict", "loss_history"} <= names or {"obj", "probe", "obj_basis"} <= names:
        return "a reconstruction of cdtools, not a scan"
    return None


def _fold_slice(candidate: Candidate) -> str | None:
    names = candidate.hdf5_names()
    if {"object", "probe", "p"} <= names or {"outputs", "probe"} <= names:
        return "a reconstruction of PtychoShelves or fold_slice, not a scan"
    if {"ppX", "ppY"} <= names and "dp" not in names:
        return "positions of fold_slice without frames; give the file with dp"
    if "dp" in names:
        return (
            f"frames of fold_slice (dp) without positions; put NAME_para.hdf5 beside NAME_dp.hdf5, or "
            f"{FRAMES_ALONE}"
        )
    return None


def _own_result(candidate: Candidate) -> str | None:
    if {"object", "probe", "loss_values"} <= candidate.hdf5_names():
        return "a product of ptychodus or a reconstruction of this program: no frames"
    return None


def _detector(candidate: Candidate) -> str | None:
    data = candidate.hdf5_names("entry/data")
    if any(_BLOCK.fullmatch(name) for name in data):
        return f"a DECTRIS master file: frames without positions; {FRAMES_ALONE}"
    if "data" in data and not candidate.hdf5_names("entry_1"):
        if any(name.startswith("eiger_") for name in candidate.hdf5_names("entry/instrument")):
            return (
                f"frames of cSAXS without positions; name them as FILE:/entry/data/data, and {FRAMES_ALONE}"
            )
        return (
            f"frames of a detector without positions; name them as FILE:/entry/data/data, and {FRAMES_ALONE}"
        )
    return None


def _definition(candidate: Candidate) -> str | None:
    from ptycho_torch.data.hdf5.files import Contents

    contents = Contents(candidate.hdf5, [])  # type: ignore[arg-type]
    for entry in sorted(candidate.hdf5_names()):
        said = contents.string(f"{entry}/definition")
        if said and "ptycho" not in said.lower():
            return f"a NeXus file of the definition {said}, which is not of a ptychographic scan"
    return None


def _cube(candidate: Candidate) -> str | None:
    """Frames of a raster somewhere in a file, as those of py4DSTEM, hyperspy or a detector."""
    from ptycho_torch.data.hdf5.files import Contents

    headers = Contents(candidate.hdf5, []).headers()  # type: ignore[arg-type]
    found = [name for name, (shape, dtype) in headers.items() if len(shape) == 4 and dtype.kind in "iuf"]
    if len(found) == 1 and min(headers[found[0]].shape[2:]) >= 16:
        return (
            f"frames of a raster without positions; name them as {candidate.path.name}:/{found[0]}, and "
            "state raster_step and position_unit"
        )
    return None


_LOOKS: tuple[Callable[[Candidate], str | None], ...] = (
    _ptypy_result,
    _ptylab_result,
    _cdtools_result,
    _fold_slice,
    _own_result,
    _detector,
    _definition,
    _cube,
)
