"""Read scans whose frames are in one place and whose positions are in another, by a small text file.

The text is TOML. Its entries are listed in `ENTRIES`; files are named beside it, a dataset of an HDF5 file as
``file.h5:/path``.
"""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ptycho_config.errors import suggest
from ptycho_torch.data.hdf5.detector import is_master, read_master
from ptycho_torch.data.hdf5.files import Contents, is_hdf5, opened
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.optics import place
from ptycho_torch.data.hdf5.units import scale_of
from ptycho_torch.data.paths import inside_of
from ptycho_torch.data.recognition import Candidate
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.frame_files import frames_of_files
from ptycho_torch.data.scan.geometry import (
    ENERGY,
    NEEDED_ENTRIES,
    OBJECT_PIXEL,
    ScanGeometry,
    finite_number,
    wavelength_m,
)
from ptycho_torch.data.scan.header import Located, ScanHeader
from ptycho_torch.data.scan.probe_guess import (
    disk_probe,
    gaussian_probe,
    probe_of_mean_frame,
    zone_plate_probe,
)
from ptycho_torch.errors import DataError, fault

__all__ = ["ENTRIES", "header", "make_example", "read", "recognise"]

NAME = "parts"
HELP = "text file that names frames, positions and probe in files of their own"
SUFFIXES = (".scan",)

ENTRIES = {
    "frames": "HDF5 dataset or DECTRIS master file, .npy or .tif file, or folder of one file per frame",
    "frame_axis": "first, (n, H, W), or last, (H, W, n), of an HDF5 dataset",
    "positions": ".csv, .txt or .npy file, or HDF5 dataset: two columns, x and y unless a first line names "
    "them",
    "position_unit": "m, mm, um, nm or px",
    "pixel_size": "edge of an object pixel, m; left out: from energy, distance and detector pixels",
    "probe": "complex array, .npy or HDF5 dataset",
    "probe_model": "mean-frame, gaussian, disk or zone-plate, where there is no probe",
    "probe_diameter": "of gaussian (full width at half maximum) or disk, m",
    "probe_outer_zone": "width of the outermost zone of a zone plate, m",
    "probe_defocus": "from the focus of a zone plate to the sample, m",
    "probe_stop": "diameter of the central stop of a zone plate over that of the plate",
    "mask": "array, not zero where the detector did not measure",
    "metadata": "table of photon_energy_eV, detector_object_distance_m, detector_pixel_height_m and _width_m",
}
_NEEDED = ("frames", "positions")
_LARGEST_TEXT = 1 << 20
_NAMES = {"diff3d": "frames", "xcoords": "positions x", "ycoords": "positions y", "probeGuess": "probe"}


def _entries(path: Path) -> dict[str, Any] | str:
    """Entries of the text, or the reason why it is none."""
    if path.is_dir() or path.stat().st_size > _LARGEST_TEXT:
        return "no text file that names frames and positions"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return "no text file that names frames and positions"
    missing = [name for name in _NEEDED if not isinstance(found.get(name), str)]
    return f"a text file without {' and '.join(missing)}" if missing else found


def recognise(candidate: Candidate) -> Located | str:
    """A text that names frames and positions; frames of a detector alone are named."""
    if not candidate.is_folder and candidate.hdf5 is not None:
        if is_master(candidate):
            return (
                "a DECTRIS master file: frames without positions; name both in a text file, see the format "
                "parts"
            )
        if "dp" in candidate.hdf5_names() and "wavelength" not in candidate.hdf5_names():
            return "frames of cSAXS or fold_slice (dp) without positions; name both in a text file"
        return "the content is HDF5, expected a text file that names frames and positions"
    found = _entries(candidate.path)
    return found if isinstance(found, str) else Located(NAME, (candidate.path,))


def header(located: Located) -> ScanHeader:
    """Sizes and metadata."""
    return _gather(located).header()


def read(located: Located, **asked: Any) -> Scan:
    """Scan of the parts, frames left in their files."""
    return _gather(located).scan(**asked)


def _gather(located: Located) -> Gathered:
    """Everything but the frames.

    Raises
    ------
    DataError
        An entry is not known, or names a file that is not there or cannot be read.
    """
    path = located.frames
    stated = _entries(path)
    if isinstance(stated, str):
        raise DataError(stated, path)
    unknown = [name for name in stated if name not in ENTRIES]
    if unknown:
        hint = suggest(unknown[0], list(ENTRIES)) or f"expected {', '.join(ENTRIES)}"
        raise DataError(fault(unknown[0], f"no entry of that name; {hint}"), path)
    found = Gathered(located=located, names=_NAMES, holders=())
    metadata = stated.get("metadata", {})
    if not isinstance(metadata, dict):
        raise DataError(fault("metadata", "expected a table of names and values"), path)
    found.metadata |= metadata
    parts = {
        name: _file_of(path, name, stated[name])
        for name in ("frames", "positions", "probe", "mask")
        if name in stated
    }
    _read_frames(found, *parts["frames"], stated.get("frame_axis", "first"))
    mask = _values(found, "mask", *parts["mask"]) if "mask" in parts else None
    if mask is not None:
        found.bad_pixels = mask != 0
    found.probe = _values(found, "probe", *parts["probe"]) if "probe" in parts else None
    places = _values(found, "positions", *parts["positions"])
    if places is not None:
        _place(found, places, stated)
    if "probe" not in parts:
        found.guess = _model(found, stated)
    return found.settle()


def _file_of(text: Path, name: str, stated: Any) -> tuple[Path, str]:
    """File and dataset that an entry names."""
    if not isinstance(stated, str) or "\0" in stated:
        raise DataError(fault(name, f"expected the name of a file, got {stated!r}"), text)
    file, inside = inside_of(text.parent / stated)
    if not file.exists():
        raise DataError(fault(name, f"{file}: no such file; name it relative to {text.parent}"), text)
    return file, inside


def _read_frames(found: Gathered, file: Path, inside: str, axis: Any) -> None:
    if axis not in ("first", "last"):
        found.problems.append(fault("frame_axis", f"{axis!r}; expected first or last"))
    if file.is_dir() or not is_hdf5(file):
        found.frames = frames_of_files(file)
        return
    found.holders = (file,)
    with Candidate(file) as candidate, opened(file) as hdf5:
        contents = Contents(hdf5, found.problems, file.name)
        if not inside and is_master(candidate):
            read_master(contents, found)
            return
        if not inside:
            said = f"name the dataset as {file.name}:/path; found: {contents.found()}"
            contents.report(fault("frames", said))
        elif contents.require(inside):
            found.frames = contents.frames(inside, raster=True, last=axis == "last")


def _values(found: Gathered, name: str, file: Path, inside: str) -> npt.NDArray[Any] | None:
    """Array of a part; None with a problem."""
    if not file.is_dir() and is_hdf5(file):
        with opened(file) as hdf5:
            contents = Contents(hdf5, found.problems, file.name)
            if inside:
                return contents.array(inside) if contents.require(inside) else None
            said = f"name the dataset as {file.name}:/path; found: {contents.found()}"
            contents.report(fault(name, said))
            return None
    try:
        if file.suffix.lower() == ".npy":
            return np.asarray(np.load(file, allow_pickle=False))
        return _table(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, EOFError) as error:
        said = f"{file}: cannot be read ({error}); expected .npy, .csv, .txt or HDF5"
        found.problems.append(fault(name, said))
        return None


def _table(text: str) -> npt.NDArray[np.float64]:
    """Columns x and y of a text with numbers, separated by commas, semicolons or blanks."""
    lines = [line.replace(",", " ").replace(";", " ").split() for line in text.splitlines()]
    lines = [line for line in lines if line and not line[0].startswith("#")]
    names = [name.lower() for name in lines[0]] if lines else []
    columns = [0, 1]
    if {"x", "y"} <= set(names):
        columns, lines = [names.index("x"), names.index("y")], lines[1:]
    return np.array([[float(line[column]) for column in columns] for line in lines])


def _place(found: Gathered, places: npt.NDArray[Any], stated: dict[str, Any]) -> None:
    """Positions in pixels from the columns x and y of a part, by the unit that is stated."""
    unit, pixel = stated.get("position_unit"), stated.get("pixel_size")
    factor = 1.0 if unit == "px" else scale_of(unit, "m") if isinstance(unit, str) else None
    if factor is None:
        said = f"state the unit of the positions, got {unit!r}; expected {ENTRIES['position_unit']}"
        found.problems.append(fault("position_unit", said))
        return
    if pixel is not None and not (isinstance(pixel, int | float) and 0 < pixel < 1):
        found.problems.append(fault("pixel_size", f"expected metres, got {pixel!r}"))
        return
    if places.ndim != 2 or places.shape[1] < 2 or places.dtype.kind not in "iuf" or not len(places):
        found.problems.append(fault("positions", f"expected two columns x and y, got {places.shape}"))
        return
    frames = found.frames
    if frames is not None and len(places) != len(frames) and not frames.is_growing:
        said = f"{len(places)} positions, expected {len(frames)}, one per frame"
        found.problems.append(fault("positions", said))
        return
    yx = places[:, [1, 0]] * factor
    if pixel is not None:
        found.metadata |= dict.fromkeys(OBJECT_PIXEL, float(pixel))
    if unit == "px":
        found.positions = yx
    elif pixel is None:
        place(found, yx)
    else:
        found.positions = (yx - yx[0]) / pixel


def _model(found: Gathered, stated: dict[str, Any]) -> Any:
    """From the mean frame to a probe of the model that is stated."""
    model = stated.get("probe_model", "mean-frame")
    if model == "mean-frame":
        return probe_of_mean_frame
    models = {"disk": disk_probe, "gaussian": gaussian_probe}
    if model not in (*models, "zone-plate"):
        found.problems.append(fault("probe_model", f"{model!r}; expected {ENTRIES['probe_model']}"))
        return None
    name = "probe_outer_zone" if model == "zone-plate" else "probe_diameter"
    size = stated.get(name)
    pixels = [float(found.metadata[name]) for name in OBJECT_PIXEL if name in found.metadata]
    if not isinstance(size, int | float) or not 0 < size < 1 or len(pixels) < 2:
        found.problems.append(fault(name, f"{model} needs it in metres, and the pixel size of the object"))
        return None
    if model == "zone-plate":
        return _zone_plate(found, stated, (pixels[0], pixels[1]), size)
    return partial(models[model], diameter_px=(size / pixels[0], size / pixels[1]))


def _zone_plate(found: Gathered, stated: dict[str, Any], pixel_m: tuple[float, float], zone_m: float) -> Any:
    energy, defocus, stop = (
        finite_number(value)
        for value in (found.metadata.get(ENERGY), stated.get("probe_defocus", 0), stated.get("probe_stop", 0))
    )
    known = {ENERGY: energy, "probe_defocus": defocus, "probe_stop": stop}
    if energy is None or energy <= 0 or defocus is None or stop is None or not 0 <= stop < 1:
        said = ", ".join(f"{name} {value}" for name, value in known.items())
        found.problems.append(
            fault("probe_model", f"zone-plate needs energy, defocus and stop as numbers, got {said}")
        )
        return None
    return partial(
        zone_plate_probe,
        pixel_m=pixel_m,
        wavelength_m=wavelength_m(energy),
        outer_zone_m=zone_m,
        defocus_m=defocus,
        stop_share=stop,
    )


def make_example(path: Path) -> None:
    """Write the example scan in parts: frames in HDF5, positions in a table, the probe as an array."""
    scan = example_scan()
    geometry = ScanGeometry.from_entries(scan.metadata, scan.N)
    with h5py.File(path.with_name("frames.h5"), "w") as file:
        file.create_dataset("entry/data", data=scan.diffraction[:], chunks=True, compression="gzip")
    places = geometry.middles_m(scan.positions, scan.N) * 1e6
    rows = "\n".join(f"{y!r},{x!r}" for y, x in places.tolist())
    path.with_name("positions.csv").write_text(f"y,x\n{rows}\n", encoding="utf-8")
    with h5py.File(path.with_name("probe.h5"), "w") as file:
        file["probe"] = scan.probe
    facts = ", ".join(f"{name} = {float(scan.metadata[name])!r}" for name in NEEDED_ENTRIES)
    path.write_text(
        'frames = "frames.h5:/entry/data"\npositions = "positions.csv"\nposition_unit = "um"\n'
        f'metadata = {{ {facts} }}\nprobe = "probe.h5:/probe"',
        encoding="utf-8",
    )
