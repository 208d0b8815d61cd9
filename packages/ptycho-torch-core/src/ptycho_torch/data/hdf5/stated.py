"""What is stated beside the files of a scan, and outranks them: positions, probe, mask and optics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ptycho_config import PartsConfig, stated_fields
from ptycho_config.base import plain
from ptycho_torch.data.advice import one_per_frame
from ptycho_torch.data.hdf5.elsewhere import read_places, read_stated_probe, read_values
from ptycho_torch.data.hdf5.optics import place
from ptycho_torch.data.hdf5.units import scale_of
from ptycho_torch.data.scan.geometry import (
    DETECTOR_PIXEL,
    DISTANCE,
    ENERGY,
    FAR_FIELD,
    FOCUS,
    OBJECT_PIXEL,
    beyond_middle,
    electron_wavelength_m,
    energy_eV_of_wavelength,
    finite_number,
    wavelength_m,
)
from ptycho_torch.data.scan.probe_guess import (
    aperture_probe,
    defocused,
    disk_probe,
    gaussian_probe,
    probe_of_mean_frame,
)
from ptycho_torch.data.scan.tables import Places
from ptycho_torch.errors import Fault, fault

if TYPE_CHECKING:
    from ptycho_torch.data.hdf5.gathered import Gathered

__all__ = ["PARTS_ENTRY", "ProbeGuess", "apply_stated", "model_of", "record_of", "stated_optics"]

ProbeGuess: TypeAlias = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.complex64]]
"""From the mean frame to a probe to begin with, (1, N, N)."""

PARTS_ENTRY = "parts"
"""Metadata entry: what was stated beside the files, by the names of `ptycho_config.PartsConfig`."""


def record_of(parts: PartsConfig | None) -> dict[str, Any]:
    """What is stated, as plain data for the metadata."""
    if parts is None:
        return {}
    found = {name: value for name, value in stated_fields(parts).items() if value is not None}
    return {name: plain(value) for name, value in found.items() if (name, value) != ("particle", "photon")}


def stated_optics(parts: PartsConfig | None) -> dict[str, float]:
    """Metadata of the geometry that is stated.

    The energy of electrons is given as that of photons of their wavelength.
    """
    if parts is None:
        return {}
    found: dict[str, float] = {}
    if parts.energy is not None:
        found[ENERGY] = parts.energy
        if parts.particle == "electron":
            found[ENERGY] = energy_eV_of_wavelength(electron_wavelength_m(parts.energy))
    if parts.distance is not None:
        found[DISTANCE] = parts.distance
    if parts.detector_pixel is not None:
        found |= dict.fromkeys(DETECTOR_PIXEL, parts.detector_pixel)
    if parts.propagation is not None:
        found[FAR_FIELD] = parts.propagation == "far"
    if parts.focus_distance is not None:
        # From the sample on, against the beam.
        found[FOCUS] = -parts.focus_distance
    if parts.pixel_size is not None:
        found |= dict.fromkeys(OBJECT_PIXEL, parts.pixel_size)
    return found


def apply_stated(found: Gathered) -> None:
    """Put what is stated in the place of what the file holds; what cannot be is a problem of the scan."""
    parts = found.parts
    if parts.mask is not None:
        mask = read_values(parts.mask, "mask", found.problems, shapes=_mask_shapes(found))
        found.bad_pixels = None if mask is None else _cut(mask, found) != 0
    if parts.positions is not None or parts.raster_step is not None:
        found.frame_index = found.position_index = found.positions = None
        places = _places(found)
        if places is not None:
            _place(found, places)
    if parts.probe is not None:
        found.probe = read_stated_probe(parts.probe, found.problems)
    elif parts.probe_model is not None:
        found.probe, found.guess = None, model_of(parts, found.metadata, found.problems)


def _mask_shapes(found: Gathered) -> tuple[tuple[int, ...], ...]:
    """Shapes that a mask may have: that of the frames, or that of the detector before they were cut."""
    frames = () if found.frames is None else (tuple(found.frames.shape[1:]),)
    whole = () if found.window is None else (tuple(found.window[0]),)
    return tuple(dict.fromkeys((*frames, *whole)))


def _cut(mask: npt.NDArray[Any], found: Gathered) -> npt.NDArray[Any]:
    """A mask of the whole detector, cut like the frames."""
    if found.window is None or mask.shape != found.window[0]:
        return mask
    _, top, left, size = found.window
    return mask[top : top + size, left : left + size]


def _places(found: Gathered) -> Places | None:
    parts, frames = found.parts, found.frames
    n_frames = None if frames is None else len(frames)
    if parts.positions is not None:
        places = read_places(parts.positions, parts.position_columns, n_frames, found.problems)
        # Of a detector that goes on, the frames that are complete are taken.
        growing = frames is not None and frames.is_growing
        if places is None or n_frames is None or growing or len(places.yx) == n_frames:
            return places
        said = one_per_frame(len(places.yx), n_frames, f"positions in {parts.positions}")
        found.problems.append(fault("positions", said))
        return None
    raster = None if frames is None else frames.raster
    if raster is None:
        said = (
            "needs frames of shape (rows, columns, H, W), which say the size of the raster; "
            "state positions instead"
        )
        found.problems.append(fault("raster_step", said))
        return None
    assert parts.raster_step is not None
    grid = np.indices(raster).reshape(2, -1).T.astype(np.float64) * parts.raster_step
    return Places(grid, parts.position_unit or "m")


def _place(found: Gathered, places: Places) -> None:
    """Positions in pixels by the unit that is stated; a file that states another one is refused."""
    asked, beside = found.parts.position_unit, places.unit
    factor, other = (None if unit is None else _factor(unit) for unit in (asked, beside))
    if beside is not None and other is None:
        said = f"the unit stands beside them as {beside!r}; expected m, mm, um, nm, angstrom or px"
        found.problems.append(fault("position_unit", said))
        return
    if factor is not None and other is not None and factor != other:
        said = f"{asked} is stated, but {beside} stands beside the positions; correct one of them"
        found.problems.append(fault("position_unit", said))
        return
    used = factor if factor is not None else other
    if used is None:
        said = "the positions come without a unit; state m, mm, um, nm, angstrom or px"
        found.problems.append(fault("position_unit", said))
        return
    if used == "px":
        # Pixels mean what they mean in an NPZ file, pixel N // 2.
        size = 0 if found.frames is None else found.frames.shape[1]
        found.positions = places.yx - (beyond_middle(size) if size else 0.0)
        return
    assert isinstance(used, float)
    place(found, places.yx * used)


def _factor(unit: str) -> float | str | None:
    """Metres in a unit, or ``"px"``; None when it is no unit."""
    return "px" if unit.strip().lower().rstrip("s") in ("px", "pixel") else scale_of(unit, "m")


def model_of(parts: PartsConfig, metadata: dict[str, Any], problems: list[Fault | str]) -> ProbeGuess | None:
    """From the mean frame to a probe of the model that is stated; None with a problem.

    Parameters
    ----------
    parts
        With its ``probe_model``.
    metadata
        Of the scan, for object pixel and energy.
    problems
        Sentences are appended.
    """
    model, defocus = parts.probe_model, parts.probe_defocus
    pixels = [finite_number(metadata.get(name)) for name in OBJECT_PIXEL]
    energy = finite_number(metadata.get(ENERGY))
    guess: ProbeGuess = probe_of_mean_frame
    needs = [] if model == "mean-frame" and not defocus else ["pixel_size"] if None in pixels else []
    if energy is None and (defocus or model == "lens"):
        needs.append("energy")
    if needs:
        said = f"{model} needs {' and '.join(needs)}; state them, or the optics that they follow from"
        problems.append(fault("probe_model", said))
        return None
    if model == "mean-frame" and not defocus:
        return guess
    pixel_m = (pixels[0] or 1.0, pixels[1] or 1.0)
    length = None if energy is None else wavelength_m(energy)
    if model in ("gaussian", "disk"):
        size = parts.probe_diameter or 0.0
        shape = gaussian_probe if model == "gaussian" else disk_probe
        guess = partial(shape, diameter_px=(size / pixel_m[0], size / pixel_m[1]))
    elif model in ("zone-plate", "lens"):
        largest = 0.5 / parts.probe_outer_zone if parts.probe_outer_zone else 0.0
        if parts.probe_angle and length is not None:
            largest = np.sin(parts.probe_angle * 1e-3) / length
        guess = partial(
            aperture_probe, pixel_m=pixel_m, largest_frequency=largest, stop_share=parts.probe_stop or 0.0
        )
    if not defocus or length is None:
        return guess
    return partial(defocused, guess, pixel_m=pixel_m, wavelength_m=length, defocus_m=defocus)
