"""What is stated beside a scan whose arrays are in memory, and outranks them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.hdf5.elsewhere import read_stated_probe
from ptycho_torch.data.hdf5.gathered import Gathered
from ptycho_torch.data.hdf5.optics import object_pixel
from ptycho_torch.data.hdf5.stated import PARTS_ENTRY, apply_stated, record_of, stated_optics
from ptycho_torch.data.hdf5.units import scale_of
from ptycho_torch.data.scan import checks
from ptycho_torch.data.scan.assemble import FRAME_KEYS
from ptycho_torch.data.scan.checks import probe_size_from_shape
from ptycho_torch.data.scan.geometry import beyond_middle
from ptycho_torch.data.scan.header import Located
from ptycho_torch.data.scan.probe_guess import mean_frame

__all__ = ["stated_arrays", "stated_metadata", "stated_probe_size"]

_METADATA = "_metadata"
_AXES = (("y", 0), ("x", 1))


class _Loaded:
    """What is known of frames in memory."""

    is_growing = False
    raster = None

    def __init__(self, n: int, shape: tuple[int, ...]) -> None:
        self.shape = (n, *shape)

    def __len__(self) -> int:
        return self.shape[0]


def stated_metadata(located: Located) -> dict[str, Any]:
    """Metadata that are stated beside the arrays."""
    return {**located.metadata, **stated_optics(located.parts), PARTS_ENTRY: record_of(located.parts)}


def stated_probe_size(located: Located, n_pixels: int | None) -> int | None:
    """Edge of the probe that is stated beside the arrays; None where none is, or it cannot be told."""
    parts = located.parts
    if parts is None or parts.probe is None:
        return None if parts is None or parts.probe_model is None else n_pixels
    probe = read_stated_probe(parts.probe, [])
    return None if probe is None else probe_size_from_shape(probe.shape)


def stated_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], located: Located, problems: list[str]
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of the data contract with what is stated beside them.

    Positions in a unit of length become pixels by the size of an object pixel; nothing is moved.

    Parameters
    ----------
    arrays
        By their names in the data contract.
    located
        With what is stated.
    problems
        Sentences are appended.
    """
    result = dict(arrays)
    known = checks.parse_metadata(arrays[_METADATA], []) if _METADATA in arrays else {}
    frames = next((arrays[name] for name in FRAME_KEYS if name in arrays), None)
    found = Gathered(located=located, names={})
    found.metadata = {**known, **found.metadata}
    if frames is not None and frames.ndim == 3:
        n = arrays["xcoords"].size if "xcoords" in arrays else len(frames)
        frames = frames if len(frames) == n else np.moveaxis(frames, -1, 0)
        found.frames = cast(Any, _Loaded(n, frames.shape[1:]))
    apply_stated(found)
    if found.positions is not None and found.frames is not None:
        result["ycoords"], result["xcoords"] = (found.positions + beyond_middle(found.frames.shape[1])).T
    elif found.needs_positions:
        _in_pixels(result, found)
    if found.guess is not None and frames is not None and frames.ndim == 3:
        found.probe = found.guess(mean_frame(frames, found.bad_pixels))
    if found.probe is not None:
        result["probeGuess"] = found.probe
    if found.bad_pixels is not None:
        result["bad_pixels"] = found.bad_pixels
    problems.extend(found.problems)
    if known or _METADATA not in arrays:
        result[_METADATA] = np.array(json.dumps({**found.metadata, PARTS_ENTRY: record_of(located.parts)}))
    return result


def _in_pixels(arrays: dict[str, npt.NDArray[Any]], found: Gathered) -> None:
    """Bring coordinates in the unit that is stated to pixels."""
    unit = found.parts.position_unit
    if unit in (None, "px") or found.frames is None:
        return
    pixel, factor = object_pixel(found, found.frames.shape[1:]), scale_of(unit or "", "m")
    if pixel is None or factor is None:
        return
    for axis, column in _AXES:
        for name in (f"{axis}coords", f"{axis}coords_start"):
            if name in arrays and arrays[name].dtype.kind in "iuf":
                arrays[name] = arrays[name] * (factor / pixel[column])
