"""Scans that a program holds in memory, under the names of the data contract."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ptycho_torch.control import Progress
from ptycho_torch.data.scan.assemble import (
    CEILING_KEY,
    FRAME_AXIS_ENTRY,
    FRAME_INDEX_KEY,
    FRAME_KEYS,
    KNOWN_KEYS,
    ORIGIN_KEY,
    REQUIRED_KEYS,
    assemble_scan,
)
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import DataError, fault

__all__ = [
    "HoldsScan",
    "InMemory",
    "ScanSource",
    "contract_arrays",
    "in_memory",
    "is_in_memory",
    "name_of",
    "named_arrays",
    "not_in_memory",
    "scan_of",
]


class HoldsScan(Protocol):
    """An object of another program with the arrays of a scan as attributes, such as a ``RawData``.

    Its other attributes are taken where they have names of the data contract; ``metadata`` may be a mapping.
    """

    @property
    def diff3d(self) -> Any: ...
    @property
    def xcoords(self) -> Any: ...
    @property
    def ycoords(self) -> Any: ...
    @property
    def probeGuess(self) -> Any: ...


InMemory: TypeAlias = Scan | Mapping[str, Any]
"""A scan, or arrays by their names in the data contract: what ``numpy.load`` gives."""

ScanSource: TypeAlias = Path | InMemory
"""Where a scan comes from."""

_METADATA = "_metadata"


def is_in_memory(data: object) -> bool:
    """Whether this is a scan in memory and no path."""
    return isinstance(data, (Scan, Mapping))


def in_memory(data: object) -> InMemory | None:
    """The scan that an object is or has as attributes, see `HoldsScan`; None if it is none, as a path is."""
    if isinstance(data, (Scan, Mapping)):
        return data
    if not_in_memory(data):
        return None
    found = {name: getattr(data, name, None) for name in KNOWN_KEYS}
    if found[_METADATA] is None:
        found[_METADATA] = getattr(data, "metadata", None)
    return found


def not_in_memory(data: object) -> tuple[str, ...]:
    """What an object lacks to be taken for a scan: names of the data contract."""
    frames = any(getattr(data, name, None) is not None for name in FRAME_KEYS)
    missing = tuple(name for name in REQUIRED_KEYS if getattr(data, name, None) is None)
    return missing if frames else (FRAME_KEYS[0], *missing)


def name_of(data: ScanSource | HoldsScan) -> str:
    """Short name for a message: that of the file, or that there is none."""
    if isinstance(data, Path):
        return data.name
    return f"the scan in memory{f' ({data.source.name})' if isinstance(data, Scan) and data.source else ''}"


def contract_arrays(scan: Scan) -> dict[str, Any]:
    """Arrays of a scan by their names in the data contract, from which `assemble_scan` makes it again.

    The metadata state the measurement domain, ``counts``, and that the frame axis is the first. Frames in a
    file stay there.

    Parameters
    ----------
    scan
        The scan; nothing is copied.

    Raises
    ------
    DataError
        The metadata cannot be written as JSON.
    """
    try:
        metadata = json.dumps({**scan.metadata, "measurement_domain": "counts", FRAME_AXIS_ENTRY: "first"})
    except TypeError as error:
        raise DataError(
            fault("metadata", f"cannot be written as JSON ({error}); keep to text, numbers, lists and dicts"),
            scan.source,
        ) from error
    arrays: dict[str, Any] = {
        FRAME_KEYS[0]: scan.diffraction,
        "xcoords": scan.positions[:, 1],
        "ycoords": scan.positions[:, 0],
        "xcoords_start": scan.positions_nominal[:, 1],
        "ycoords_start": scan.positions_nominal[:, 0],
        "probeGuess": scan.probe,
        "scan_index": scan.scan_index,
        _METADATA: np.array(metadata),
    }
    optional = {
        "objectGuess": scan.object_truth,
        "bad_pixels": scan.bad_pixels,
        CEILING_KEY: scan.ceiling,
        "Y": scan.labels,
    }
    arrays.update({key: value for key, value in optional.items() if value is not None})
    if scan.object_truth_origin.any():
        arrays[ORIGIN_KEY] = scan.object_truth_origin
    if not np.array_equal(scan.frame_index, np.arange(scan.n_frames)):
        arrays[FRAME_INDEX_KEY] = scan.frame_index
    return arrays


def named_arrays(
    data: Mapping[str, Any], keys: tuple[str, ...] = KNOWN_KEYS
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Arrays of a mapping by their names in the data contract, and a sentence for each name that has none.

    ``None`` counts as absent; metadata may be a mapping instead of JSON text.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    problems: dict[str, str] = {}
    for name in keys:
        try:
            value = data.get(name)
            if name == _METADATA and isinstance(value, Mapping):
                value = json.dumps(dict(value))
            if value is None:
                continue
            array = np.asarray(value)
        except (TypeError, ValueError) as error:
            problems[name] = fault(name, f"is no array of numbers ({error})")
            continue
        if array.dtype.hasobject:
            problems[name] = fault(name, f"holds Python objects (dtype {array.dtype}); give numbers, or text")
            continue
        arrays[name] = array
    return arrays, problems


def scan_of(
    data: InMemory,
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
    clean: Collection[str] = CLEANING,
    position_scale: float = 1.0,
) -> Scan:
    """Check a scan in memory against the data contract and give it out in counts.

    Parameters
    ----------
    data
        A scan, whose frames are counts, or arrays by their names in the data contract.
    measurement_domain
        What the caller states about the frames: ``"auto"``, ``"counts"`` or ``"amplitude"``. For a scan, what
        its source held.
    N
        Edge of the frames wanted; px. Smaller than the frames: they are cropped around the zero frequency.
    progress
        Called with frames checked and frames in all.
    clean, position_scale
        As for `ptycho_torch.data.scan.assemble.assemble_scan`.

    Raises
    ------
    DataError
        With every problem found.
    """
    if not isinstance(data, Scan):
        arrays, problems = named_arrays(data)
        known = set(arrays) | set(problems)
        return assemble_scan(
            arrays,
            measurement_domain=measurement_domain,
            N=N,
            problems=problems.values(),
            keys=[str(name) for name in data if name in known or name not in KNOWN_KEYS],
            progress=progress,
            clean=clean,
            position_scale=position_scale,
        )
    if measurement_domain not in ("auto", data.domain.domain):
        raise DataError(
            fault(
                "measurement_domain",
                f"{measurement_domain!r} was stated, but the scan came from "
                f"{data.domain.domain} ({data.domain.reason}); leave it at 'auto'",
            ),
            data.source,
        )
    checked = assemble_scan(
        contract_arrays(data),
        N=N,
        source=data.source,
        progress=progress,
        clean=clean,
        position_scale=position_scale,
    )
    return replace(checked, domain=data.domain)
