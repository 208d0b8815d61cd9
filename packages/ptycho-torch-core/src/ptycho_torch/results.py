"""Reconstructions on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch.atomic import atomic_write
from ptycho_torch.data.formats import npz
from ptycho_torch.data.npz_archive import read_arrays
from ptycho_torch.data.recognition import recognised
from ptycho_torch.data.scan.checks import canonical_probe
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.header import ArrayHeader
from ptycho_torch.data.scan.magnitudes import are_in_range
from ptycho_torch.diagnosis.statistics import LARGEST_VALUE
from ptycho_torch.errors import DataError, Fault, fault
from ptycho_torch.reassembly import StitchedObject

__all__ = ["load_object", "load_object_and_probe", "load_sigmas", "save_reconstruction"]

_SIGMA = "sigma"


def save_reconstruction(
    path: str | PathLike[str],
    result: StitchedObject,
    *,
    positions: np.ndarray,
    probe: np.ndarray,
    configuration: Mapping[str, Any],
    others: Mapping[str, np.ndarray | float] | None = None,
) -> None:
    """Write ``object``, ``weight``, ``origin``, ``positions``, ``probe``, ``configuration`` (JSON) as NPZ.

    Parameters
    ----------
    path
        File to create or replace; complete or not at all.
    result
        The reconstruction.
    positions
        Float64, ``(n, 2)``, ``[y, x]`` in px: positions used.
    probe
        Complex64, ``(modes, N, N)``: probe used.
    configuration
        Resolved settings, plain data.
    others
        Further results, an array or a number each, which are written under their names.
    """
    further: dict[str, Any] = {name: np.asarray(value) for name, value in (others or {}).items()}
    with atomic_write(path) as stream:
        np.savez_compressed(
            stream,
            object=result.object,
            weight=result.weight,
            origin=result.origin,
            positions=positions,
            probe=probe,
            configuration=np.array(json.dumps(configuration)),
            **further,
        )


def load_object(path: str | PathLike[str], *, reader: str | PathLike[str] | None = None) -> StitchedObject:
    """Read an object to compare with or to go on from.

    Parameters
    ----------
    path
        A saved reconstruction or reference (``object``, optional ``weight`` and ``origin``), or a
        scan of any format that holds an object.
    reader
        Python file with a format of the caller's own.

    Returns
    -------
    StitchedObject
        ``weight`` is one everywhere if the file has none.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    DataError
        If it holds no object or its arrays do not fit each other.
    """
    format, located = recognised(path, reader)
    if format.name == npz.NAME:
        return _saved_object(path)
    return _object_of_scan(format.read(located), path)


def load_object_and_probe(
    path: str | PathLike[str], *, reader: str | PathLike[str] | None = None
) -> tuple[StitchedObject, np.ndarray | None]:
    """Object as `load_object`, and the probe beside it, from a file that is read once.

    Parameters
    ----------
    path, reader
        As for `load_object`.

    Returns
    -------
    object : StitchedObject
    probe : ndarray or None
        ``(modes, N, N)`` complex64; None if the file holds none.

    Raises
    ------
    FileNotFoundError, DataError
        As `load_object`, and if the probe cannot be read or has another shape.
    """
    format, located = recognised(path, reader)
    if format.name == npz.NAME:
        return _saved_object(path), _saved_probe(path)
    scan = format.read(located)
    return _object_of_scan(scan, path), scan.probe


def load_sigmas(
    path: str | PathLike[str], *, reader: str | PathLike[str] | None = None
) -> dict[str, np.ndarray]:
    """Standard deviations of a saved reconstruction, by name; none of a file that has none.

    Parameters
    ----------
    path, reader
        As for `load_object`.

    Returns
    -------
    dict
        Arrays ``sigma`` and ``sigma_...``, real ``(height, width)``.

    Raises
    ------
    DataError
        If one of them is no real array.
    """
    if recognised(path, reader)[0].name != npz.NAME:
        return {}
    _, found, _ = read_arrays(path, ())
    names = tuple(name for name in found if name == _SIGMA or name.startswith(f"{_SIGMA}_"))
    arrays, _, problems = read_arrays(path, names)
    strange = [
        fault(name, f"expected real (height, width), got {values.dtype} {values.shape}; leave it out")
        for name, values in arrays.items()
        if values.ndim != 2 or values.dtype.kind not in "biuf"
    ]
    if problems or strange:
        raise DataError([*problems, *strange], Path(path))
    return arrays


def _saved_object(path: str | PathLike[str]) -> StitchedObject:
    """Object of an archive: of a reconstruction, or of a scan whose frames need not be read for it."""
    keys = ("object", "weight", "origin", "objectGuess", "objectGuess_origin")
    arrays, found, problems = read_arrays(path, keys, misfits=_misfits)
    source = Path(path)
    if problems:
        raise DataError(problems, source)
    prefix = "object" if "object" in arrays else "objectGuess"
    if prefix not in arrays:
        listed = ", ".join(sorted(found)) or "none"
        raise DataError(
            Fault(f"no key object or objectGuess; keys found: {listed}", "object or objectGuess"), source
        )
    image = arrays[prefix]
    if image.ndim != 2 or not np.iscomplexobj(image):
        raise DataError(
            fault(
                prefix, f"expected complex (height, width), got {image.dtype} {image.shape}; store one object"
            ),
            source,
        )
    if not are_in_range(image, prefix, problems):
        raise DataError(problems, source)
    weight = arrays.get("weight", np.ones(image.shape, dtype=np.float32))
    origin = arrays.get("origin" if prefix == "object" else "objectGuess_origin", np.zeros(2))
    strange = [
        fault(name, f"expected finite numbers, got others ({values.dtype}); repair it, or leave it out")
        for name, values in (("weight", weight), ("origin", origin))
        if values.dtype.kind not in "biuf" or not (np.abs(values.astype(float)) <= LARGEST_VALUE).all()
    ]
    if strange:
        raise DataError(strange, source)
    return StitchedObject(
        object=image.astype(np.complex64),
        weight=weight.astype(np.float32),
        origin=origin.astype(np.float64),
    )


def _misfits(headers: Mapping[str, ArrayHeader]) -> dict[str, Fault]:
    """A weight and an origin that cannot be those of the object, told before they are loaded."""
    found: dict[str, Fault] = {}
    image, weight = headers.get("object") or headers.get("objectGuess"), headers.get("weight")
    if image is not None and weight is not None and weight.shape != image.shape:
        found["weight"] = fault(
            "weight", f"expected shape {image.shape} as the object, got {weight.shape}; cut both alike"
        )
    for name in ("origin", "objectGuess_origin"):
        if name in headers and headers[name].shape != (2,):
            found[name] = fault(
                name,
                f"expected two numbers [y, x], got shape {headers[name].shape}; "
                "leave it out where it is not known",
            )
    return found


def _object_of_scan(scan: Scan, path: str | PathLike[str]) -> StitchedObject:
    image = scan.object_truth
    if image is None:
        raise DataError(Fault("this scan holds no object", "object"), Path(path))
    return StitchedObject(
        object=image.astype(np.complex64),
        weight=np.ones(image.shape, dtype=np.float32),
        origin=scan.object_truth_origin.astype(np.float64),
    )


def _saved_probe(path: str | PathLike[str]) -> np.ndarray | None:
    arrays, _, problems = read_arrays(path, ("probe", "probeGuess"))
    if problems:
        raise DataError(problems, Path(path))
    name = "probe" if "probe" in arrays else "probeGuess"
    if name not in arrays:
        return None
    canonical: list[str] = []
    probe = canonical_probe(arrays[name], canonical, name)
    if probe is None:
        raise DataError(canonical, Path(path))
    return probe
