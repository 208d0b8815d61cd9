"""What a scan file lacks, or states wrong, and lies elsewhere: positions, probe, mask, optics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ptycho_config.base import Config, config_class
from ptycho_config.errors import Problem
from ptycho_config.fields import setting
from ptycho_config.validation import Rule

__all__ = ["PartsConfig"]

_JOBS = ("train", "infer", "refine", "tune")
# A live scan gets its positions elsewhere, and a probe to begin with from its frames.
_LIVE = (*_JOBS, "live")
# Networks know the far field only.
_NEAR = ("refine",)
_FRAMES = "Frames"
_POSITIONS = "Positions"
_OPTICS = "Optics"
_PROBE = "Probe"
_EVERY_JOB = "test_every_job_reads_the_parts_that_it_is_told_of"

_NEEDED = {
    "gaussian": ("probe_diameter",),
    "disk": ("probe_diameter",),
    "zone-plate": ("probe_outer_zone",),
    "lens": ("probe_angle",),
}
_USED = {
    "mean-frame": ("probe_defocus",),
    "gaussian": ("probe_diameter", "probe_defocus"),
    "disk": ("probe_diameter", "probe_defocus"),
    "zone-plate": ("probe_outer_zone", "probe_defocus", "probe_stop"),
    "lens": ("probe_angle", "probe_defocus", "probe_stop"),
}
_OF_MODELS = ("probe_diameter", "probe_outer_zone", "probe_angle", "probe_defocus", "probe_stop")


def _one_probe(v: Mapping[str, Any]) -> Problem | None:
    if v["probe"] is None or v["probe_model"] is None:
        return None
    return Problem("probe_model", v["probe_model"], "None while probe names a file", "keep one of them")


def _model_is_complete(v: Mapping[str, Any]) -> Problem | None:
    for name in _NEEDED.get(v["probe_model"], ()):
        if v[name] is None:
            return Problem(name, None, f"a number for probe_model = {v['probe_model']!r}", "state it")
    return None


def _size_has_a_model(v: Mapping[str, Any]) -> Problem | None:
    used = _USED.get(v["probe_model"], ())
    for name in _OF_MODELS:
        if v[name] is None or name in used:
            continue
        models = ", ".join(model for model, names in _USED.items() if name in names)
        return Problem(name, v[name], f"None while probe_model = {v['probe_model']!r}", f"it is of {models}")
    return None


def _positions_have_one_place(v: Mapping[str, Any]) -> Problem | None:
    if v["positions"] is None or v["raster_step"] is None:
        return None
    hint = "keep one of them"
    return Problem("raster_step", v["raster_step"], "None while positions names a file", hint)


def _columns_are_of_a_file(v: Mapping[str, Any]) -> Problem | None:
    if v["position_columns"] is None or v["positions"] is not None:
        return None
    return Problem("position_columns", v["position_columns"], "None without positions", "name the file too")


@config_class
@dataclass(frozen=True, kw_only=True)
class PartsConfig(Config):
    """Parts of a scan that are not in its file, or not rightly: each one that is stated outranks the file.

    Examples
    --------
    >>> PartsConfig(positions="places.csv", position_unit="um").probe_model is None
    True
    """

    positions: Path | None = setting(
        None,
        help="positions of the frames in a file of their own: .csv, .txt, .dat, .npy, or FILE.h5:/PATH of a "
        "dataset (n, 2) or of a group with x and y",
        group=_POSITIONS,
        jobs=_JOBS,
        effect="positions come from this file",
        tests=(_EVERY_JOB, "test_positions_may_be_in_a_table_or_an_array"),
    )
    position_columns: str | None = setting(
        None,
        help="names or numbers (from 0) of the columns x and y in that file, with a comma between them",
        pattern=(r"[^,]+,[^,]+", "two names or numbers with a comma between them"),
        group=_POSITIONS,
        jobs=_JOBS,
        effect="these columns are x and y",
        tests=("test_columns_are_found_by_name_or_number",),
    )
    position_unit: str | None = setting(
        None,
        help="unit of the positions, here or in the scan file; none: as the file states it",
        choices=("m", "mm", "um", "nm", "angstrom", "px"),
        group=_POSITIONS,
        jobs=_LIVE,
        effect="positions are multiplied by the unit over the object pixel",
        tests=(_EVERY_JOB, "test_the_unit_of_the_positions_in_the_file_may_be_stated"),
    )
    raster_step: float | None = setting(
        None,
        help="step of a raster whose frames are stored as (rows, columns, H, W), in position_unit (m without "
        "one)",
        gt=0,
        group=_POSITIONS,
        jobs=_JOBS,
        effect="positions are those of a raster with this step",
        tests=("test_a_step_makes_the_positions_of_a_raster",),
    )
    pixel_size: float | None = setting(
        None,
        help="edge of an object pixel; none: as the file states it, or from energy, distance and detector "
        "pixel",
        unit="m",
        gt=0,
        lt=1,
        group=_POSITIONS,
        jobs=_LIVE,
        effect="lengths become pixels by it",
        tests=(_EVERY_JOB, "test_pixels_and_a_stated_pixel_size_need_no_optics"),
    )
    frame_axis: str | None = setting(
        None,
        help="where a plain dataset has its frame axis: first, (n, H, W), or last, (H, W, n); none: first, "
        "unless only the last axis has the length of the positions",
        choices=("first", "last"),
        group=_FRAMES,
        jobs=_JOBS,
        effect="this axis counts the frames",
        tests=("test_the_frame_axis_may_be_the_last",),
    )
    mask: Path | None = setting(
        None,
        help="array with zero at pixels that measure and another value at those that do not: .npy, .tif or "
        "FILE.h5:/PATH",
        group=_FRAMES,
        jobs=_LIVE,
        effect="these pixels carry no loss",
        tests=("test_a_mask_of_its_own_marks_pixels",),
    )
    energy: float | None = setting(
        None,
        help="energy of the photons; of the electrons if particle says so",
        unit="eV",
        gt=0,
        group=_OPTICS,
        jobs=_LIVE,
        effect="it makes the wavelength",
        tests=("test_stated_optics_outrank_those_of_the_file",),
    )
    particle: str = setting(
        "photon",
        help="particle whose energy is stated",
        choices=("photon", "electron"),
        group=_OPTICS,
        jobs=_LIVE,
        effect="electrons have a shorter wavelength than photons of their energy",
        tests=("test_electrons_have_their_own_wavelength",),
    )
    distance: float | None = setting(
        None,
        help="distance from sample to detector",
        unit="m",
        gt=0,
        group=_OPTICS,
        jobs=_LIVE,
        effect="it makes the object pixel",
        tests=("test_stated_optics_outrank_those_of_the_file",),
    )
    detector_pixel: float | None = setting(
        None,
        help="edge of a detector pixel",
        unit="m",
        gt=0,
        lt=1,
        group=_OPTICS,
        jobs=_LIVE,
        effect="it makes the object pixel",
        tests=("test_stated_optics_outrank_those_of_the_file",),
    )
    propagation: str | None = setting(
        None,
        help="where the detector is: far, so that it shows Fourier transforms, or near, so that it shows the "
        "light itself, some way on (Fresnel); none: as the file states it, far if it does not",
        choices=("far", "near"),
        group=_OPTICS,
        jobs=_NEAR,
        effect="frames are those of the far field or of the near field",
        tests=("test_the_near_field_may_be_stated",),
    )
    focus_distance: float | None = setting(
        None,
        help="distance from the focus of the beam to the sample behind it, in the near field: the cone "
        "magnifies; none: as the file states it, a parallel beam if it does not",
        unit="m",
        gt=0,
        group=_OPTICS,
        jobs=_NEAR,
        effect="object pixels are those of the detector over the magnification",
        tests=("test_the_near_field_may_be_stated",),
    )
    probe: Path | None = setting(
        None,
        help="complex array to begin with: .npy or FILE.h5:/PATH; of an .npz file its probe",
        group=_PROBE,
        jobs=_LIVE,
        effect="the probe comes from this file",
        tests=(_EVERY_JOB, "test_a_probe_may_be_in_a_file_of_its_own"),
    )
    probe_model: str | None = setting(
        None,
        help="probe to begin with: mean-frame (inverse transform of the root of the mean frame), gaussian, "
        "disk, zone-plate, or lens (an aperture of probe_angle); none: the probe of "
        "the file, or mean-frame if it has none",
        choices=tuple(_USED),
        group=_PROBE,
        jobs=_JOBS,
        effect="the probe is computed",
        tests=(_EVERY_JOB, "test_a_probe_is_modelled_where_there_is_none"),
    )
    probe_diameter: float | None = setting(
        None,
        help="diameter of a disk; of a gaussian its full width at half maximum",
        unit="m",
        gt=0,
        lt=1,
        group=_PROBE,
        jobs=_JOBS,
        effect="the modelled probe has this size",
        tests=("test_a_probe_is_modelled_where_there_is_none",),
    )
    probe_outer_zone: float | None = setting(
        None,
        help="width of the outermost zone of a zone plate",
        unit="m",
        gt=0,
        lt=1,
        group=_PROBE,
        jobs=_JOBS,
        effect="the modelled probe holds the frequencies of this plate",
        tests=("test_a_zone_plate_lights_the_frequencies_of_its_aperture",),
    )
    probe_angle: float | None = setting(
        None,
        help="half of the opening angle of a lens",
        unit="mrad",
        gt=0,
        group=_PROBE,
        jobs=_JOBS,
        effect="the modelled probe holds the frequencies of this lens",
        tests=("test_a_lens_lights_the_frequencies_of_its_angle",),
    )
    probe_defocus: float | None = setting(
        None,
        help="distance from the focus to the sample along the beam, for every model",
        unit="m",
        ge=-10,
        le=10,
        group=_PROBE,
        jobs=_JOBS,
        effect="the modelled probe is propagated so far",
        tests=("test_every_model_can_be_out_of_focus",),
    )
    probe_stop: float | None = setting(
        None,
        help="diameter of the central stop, as a fraction of that of the zone plate or lens",
        ge=0,
        lt=1,
        group=_PROBE,
        jobs=_JOBS,
        effect="the modelled probe lacks low frequencies",
        tests=("test_a_zone_plate_lights_the_frequencies_of_its_aperture",),
    )

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that are named; a dataset in an HDF5 file as ``file.h5:/path``."""
        return tuple(path for path in (self.positions, self.mask, self.probe) if path is not None)

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(("probe", "probe_model"), _one_probe),
        Rule(("probe_model", *_OF_MODELS), _model_is_complete),
        Rule(("probe_model", *_OF_MODELS), _size_has_a_model),
        Rule(("positions", "raster_step"), _positions_have_one_place),
        Rule(("positions", "position_columns"), _columns_are_of_a_file),
    )
