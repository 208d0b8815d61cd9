"""How an object is refined against all frames of a scan, and which scan that is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ptycho_config.base import Config, config_class
from ptycho_config.fields import setting
from ptycho_config.validation import REFINE_RULES, Rule

__all__ = ["RefineConfig", "RefineDataConfig"]

_JOBS = ("infer", "refine", "live")
# What a trial of a search does as a refinement does.
_TRIED = (*_JOBS, "tune")
_REFINE = ("refine",)
_DATA_JOBS = ("refine", "tune")
_FIT = "What is fitted"
_ITERATION = "Iteration"
_SURE = "How sure"
_DATA = "Data"


@config_class
@dataclass(frozen=True, kw_only=True)
class RefineConfig(Config):
    """Refinement of an object against the measured frames, from a network's object or another start.

    ``probe_modes``, ``probe_support`` and ``probe_variation`` need ``refine_probe``;
    ``probe_variation_smooth`` needs ``probe_variation``, ``position_search_px`` needs ``refine_positions``.
    Beside ``tile_px`` the probe is all that is fitted with the object.

    Examples
    --------
    >>> RefineConfig(refine_epochs=30).likelihood
    'poisson'
    """

    rules: ClassVar[tuple[Rule, ...]] = REFINE_RULES

    refine_epochs: int | Literal["auto"] = setting(
        "auto",
        help="largest number of passes over all frames; auto means 60 in refine and live, 120 where the "
        "probe varies, 200 where doses or the distance of slices are fitted or the detector is in the near "
        "field, and no refinement in infer",
        unit="epochs",
        ge=1,
        cli=("--refine", "--epochs"),
        group=_ITERATION,
        jobs=_TRIED,
        effect="at most so many passes; a reconstruction with a network is refined only when it is stated",
        tests=("test_what_auto_means", "test_inference_refines_what_the_network_made"),
    )
    refine_probe: bool = setting(
        False,
        help="fit the modes of the probe too",
        group=_FIT,
        jobs=_TRIED,
        effect="the probe changes",
        tests=(
            "test_blurred_probe_is_recovered",
            "test_positions_and_probe_stay_unless_asked_for",
            "test_settings_reach_the_iteration",
        ),
    )
    probe_modes: int | None = setting(
        None,
        help="number of incoherent modes to fit; missing ones are added with little power; needs "
        "refine_probe; none keeps the modes of the probe",
        ge=1,
        group=_FIT,
        jobs=_TRIED,
        effect="so many modes are fitted and saved",
        tests=("test_modes_are_added_and_saved", "test_modes_that_are_missing_are_found"),
    )
    probe_variation: int = setting(
        0,
        help="number of modes that the first mode of the probe varies by from frame to frame, each with a "
        "weight per frame; needs refine_probe; 0 is a probe that stays",
        ge=0,
        group=_FIT,
        jobs=_TRIED,
        effect="every frame has a probe of its own",
        tests=("test_a_probe_that_drifts_is_followed",),
    )
    probe_variation_smooth: float = setting(
        0.0,
        help="standard deviation of the Gaussian over frames that the weights of the variation are smoothed "
        "with; needs probe_variation; 0 leaves them free",
        unit="frames",
        ge=0,
        group=_FIT,
        jobs=_TRIED,
        effect="weights of neighbouring frames differ less",
        tests=("test_weights_are_smooth_on_request",),
    )
    probe_support: float | None = setting(
        None,
        help="diameter of the disk around the middle of the frame beside which a fitted probe is zero; needs "
        "refine_probe; none is no bound",
        unit="px",
        gt=0,
        group=_FIT,
        jobs=_TRIED,
        effect="the probe is zero beside the disk",
        tests=("test_a_probe_stays_within_its_support",),
    )
    refine_positions: bool = setting(
        False,
        help="fit the position of every frame too",
        group=_FIT,
        jobs=_TRIED,
        effect="positions change",
        tests=(
            "test_position_errors_are_halved",
            "test_positions_and_probe_stay_unless_asked_for",
            "test_settings_reach_the_iteration",
        ),
    )
    position_search_px: float | None = setting(
        None,
        help="how far frames may lie beside their stated positions: they are looked for so far off before "
        "the refinement; needs refine_positions; none looks for none",
        unit="px",
        gt=0,
        group=_FIT,
        jobs=_JOBS,
        effect="frames many pixels beside their stated positions are found",
        tests=("test_frames_far_from_their_positions_come_home",),
    )
    refine_geometry: bool = setting(
        False,
        help="fit scale, rotation and shear of the scan too: for stages whose steps or axes are not quite "
        "what they say",
        group=_FIT,
        jobs=_TRIED,
        effect="an affine map of the positions is found and taken out",
        tests=("test_a_stretched_and_turned_scan_comes_back",),
    )
    refine_drift: bool = setting(
        False,
        help="fit a drift of the sample against the scan too, a smooth function of the frame number",
        group=_FIT,
        jobs=_TRIED,
        effect="positions move smoothly from frame to frame",
        tests=("test_a_drift_comes_back",),
    )
    refine_dose: bool = setting(
        False,
        help="fit the dose of every frame too, their mean kept: for sources that fade or flicker",
        group=_FIT,
        jobs=_TRIED,
        effect="every frame has its own intensity",
        tests=("test_doses_come_back",),
    )
    refine_background: str = setting(
        "off",
        help="fit counts that every frame shows beside the light of the object, smooth over the detector",
        choices=("off", "smooth"),
        group=_FIT,
        jobs=_TRIED,
        effect="counts are expected where object and probe send no light",
        tests=("test_a_background_comes_back",),
    )
    slices: int = setting(
        1,
        help="slices of a thick object along the beam, each an object of its own; the result is their product"
        ", with them beside it",
        ge=1,
        le=32,
        group=_FIT,
        jobs=_REFINE,
        effect="so many slices are fitted and saved",
        tests=("test_slices_are_told_apart", "test_thin_slices_are_one"),
    )
    slice_distance: float | None = setting(
        None,
        help="distance from a slice to the next one; needs slices",
        unit="m",
        gt=0,
        lt=1,
        group=_FIT,
        jobs=_REFINE,
        effect="light goes so far between slices",
        tests=("test_slices_are_told_apart", "test_thin_slices_are_one"),
    )
    refine_slice_distance: bool = setting(
        False,
        help="fit the distance between slices too, from the one that is stated; needs slices",
        group=_FIT,
        jobs=_REFINE,
        effect="the distance between slices changes",
        tests=("test_a_wrong_distance_comes_back",),
    )
    likelihood: str = setting(
        "poisson",
        help="noise model: poisson for counts with shot noise alone, amplitude if model or data have "
        "larger errors",
        choices=("poisson", "amplitude"),
        group=_FIT,
        jobs=_TRIED,
        effect="the objective is that of the noise model",
        tests=("test_settings_reach_the_iteration", "test_without_noise_the_error_keeps_falling"),
    )
    sub_pixel: str = setting(
        "object",
        help="what is shifted by fractions of a pixel: the object (interpolated, as in the network and "
        "the simulator) or the probe (by Fourier transforms, closer to an experiment)",
        choices=("object", "probe"),
        group=_FIT,
        jobs=_TRIED,
        effect="what is moved between pixels",
        tests=("test_residual_tells_the_models_apart", "test_settings_reach_the_iteration"),
    )
    smoothness: float = setting(
        0.0,
        help="weight of the squared differences between neighbouring pixels of the object, as a share of the "
        "brightest illumination; 0 is off",
        ge=0,
        group=_FIT,
        jobs=_TRIED,
        effect="neighbouring pixels of the object differ less",
        tests=("test_more_of_it_makes_the_object_smoother",),
    )
    total_variation: float = setting(
        0.0,
        help="weight of the total variation of the object, as a share of the brightest illumination: flat "
        "areas with edges between them; 0 is off",
        ge=0,
        group=_FIT,
        jobs=_TRIED,
        effect="flat areas of the object hold less noise",
        tests=("test_total_variation_quiets_flat_areas_and_keeps_edges",),
    )
    object_constraint: str = setting(
        "none",
        help="what is known of the sample: phase if it absorbs nothing, so that the amplitude is the same "
        "everywhere; none lets it do anything",
        choices=("none", "phase"),
        group=_FIT,
        jobs=_TRIED,
        effect="the amplitude of the object is the same everywhere",
        tests=("test_a_sample_that_absorbs_nothing_has_one_amplitude",),
    )
    error_bars: str = setting(
        "shot",
        help="what says how sure the object is: shot for the standard deviation that shot noise leaves at "
        "every pixel; thinning to measure it, and the resolution, by two further solutions, each of half of "
        "the counts; jackknife to measure how far the frames disagree, by eight solutions without an eighth "
        "of them each; or none",
        choices=("none", "shot", "thinning", "jackknife"),
        group=_SURE,
        jobs=_JOBS,
        effect="so is the standard deviation of the object found and saved",
        tests=(
            "test_error_bars_are_saved_as_asked_for",
            "test_thinning_measures_the_error",
            "test_the_jackknife_sees_what_shot_noise_does_not",
        ),
    )
    refine_batch_size: int | None = setting(
        None,
        help="frames per step in the first epochs; later epochs take more; none takes as many as light the "
        "whole object",
        ge=1,
        group=_ITERATION,
        jobs=_JOBS,
        effect="frames of the first steps",
        tests=("test_settings_reach_the_iteration", "test_batches_larger_than_the_scan_are_refused"),
    )
    refine_tolerance: float = setting(
        1e-5,
        help="the run ends when the objective falls by less than this fraction per epoch; 0 runs all epochs, "
        "as a run does that fits doses or a probe that varies",
        ge=0,
        lt=1,
        group=_ITERATION,
        jobs=_TRIED,
        effect="the run ends when the objective falls by less",
        tests=("test_settings_reach_the_iteration", "test_run_ends_when_the_objective_stops_falling"),
    )
    refine_warm_up: int | None = setting(
        None,
        help="epochs in which only the object is fitted; none means, from a flat start, 2 before the probe "
        "is fitted and 5 before the positions are; where geometry or drift are, 3 before these, 10 before "
        "the probe and 15 before the positions; and 0 from another start",
        unit="epochs",
        ge=0,
        group=_ITERATION,
        jobs=_TRIED,
        effect="probe and positions stay for so many epochs",
        tests=("test_probe_and_positions_wait_for_the_warm_up",),
    )
    refine_seed: int = setting(
        0,
        help="seed of the order of frames",
        ge=0,
        group=_ITERATION,
        jobs=_TRIED,
        effect="another order of frames",
        tests=("test_settings_reach_the_iteration", "test_seed_repeats_bit_for_bit"),
    )
    slow_phases: bool = setting(
        True,
        help="carry phases of the object that change more slowly than the probe is wide to the end of their "
        "way after every pass: several times fewer passes",
        group=_ITERATION,
        jobs=_TRIED,
        effect="slow phases of the object are right after fewer epochs",
        tests=("test_slow_phases_arrive_in_fewer_epochs",),
    )
    tile_px: int | None = setting(
        None,
        help="largest side of the tiles that a scan is refined in, one after the other, where its object is "
        "too large for the memory: each takes frames around it too, as far as a frame is wide; none takes "
        "all frames at once",
        unit="px",
        ge=1,
        group=_ITERATION,
        jobs=_REFINE,
        effect="one tile of the object is in work at a time",
        tests=("test_tiles_find_what_one_canvas_finds", "test_one_tile_at_a_time_is_worked_on"),
    )
    compiled_steps: bool = setting(
        True,
        help="take the steps with functions compiled on this machine, if it has a C compiler and computes on "
        "the CPU; otherwise torch takes them, several times slower and with other last digits",
        group=_ITERATION,
        jobs=_TRIED,
        effect="the last digits, and the time",
        tests=("test_compiled_steps_are_the_steps_of_torch",),
    )


@config_class
@dataclass(frozen=True, kw_only=True)
class RefineDataConfig(Config):
    """The scan of a refinement without a network, its start and its output.

    Examples
    --------
    >>> RefineDataConfig(scan_file="scan.npz").start_file is None
    True
    """

    scan_file: Path | tuple[Path, ...] | None = setting(
        None,
        help="scan to reconstruct; of several scans of one object one object is made",
        cli=("--data", "--scan"),
        group=_DATA,
        jobs=_DATA_JOBS,
        effect="this scan is reconstructed, or these together",
        tests=(
            "test_a_scan_is_refined_and_everything_is_saved",
            "test_missing_files_are_named",
            "test_two_files_become_one_object",
        ),
        resume="files move; what they hold is compared instead",
    )
    reader: Path | None = setting(
        None,
        help="Python file with a reader of your own, for files that no format here knows",
        group=_DATA,
        jobs=_DATA_JOBS,
        effect="scans are read with the format in that file",
        tests=("test_a_reader_file_serves_every_job",),
        resume="files move; what they hold is compared instead",
    )
    clean: str = setting(
        "auto",
        help="what is masked and left out when a scan is read: auto for all that is found, off, or names of "
        "findings with commas between them, such as gaps,hits",
        group=_DATA,
        jobs=_DATA_JOBS,
        effect="decides whether pixels and frames that did not measure the sample are left out",
        tests=("test_every_job_cleans_what_it_is_told_to",),
    )
    strict: bool = setting(
        False,
        help="refuse a scan in which something would be masked or left out, and fail if the result explains "
        "its frames no better than an empty object",
        group=_DATA,
        jobs=_DATA_JOBS,
        effect="faults and bad results end a run",
        tests=("test_every_job_refuses_faults_when_strict",),
    )
    start_file: Path | None = setting(
        None,
        help="reconstruction or scan with an object to start from; none starts from a flat object",
        cli=("--start",),
        group=_DATA,
        jobs=_REFINE,
        effect="the iteration starts from this object",
        tests=("test_it_goes_on_from_an_earlier_result",),
    )
    dark_file: Path | None = setting(
        None,
        help="dark frame in counts, or several, whose mean is taken: .npy or .npz, in the cut and the "
        "orientation of the frames as they are read",
        cli=("--dark",),
        group=_DATA,
        jobs=_DATA_JOBS,
        effect="its counts are expected in every frame beside the light",
        tests=("test_a_dark_frame_is_a_file", "test_a_dark_frame_that_is_given_stays_unless_it_is_fitted"),
        resume="files move; what they hold is compared instead",
    )
    measurement_domain: str = setting(
        "auto",
        help="what the frames hold: amplitude, counts, or auto to decide from the data",
        choices=("auto", "amplitude", "counts"),
        group=_DATA,
        jobs=_DATA_JOBS,
        effect="frames are squared, or taken as they are",
        tests=("test_roots_of_counts_become_the_counts",),
    )
    nphotons: float = setting(
        1e9,
        help="mean photons per frame, for amplitudes of unknown dose",
        unit="photons",
        gt=0,
        group=_DATA,
        jobs=_DATA_JOBS,
        effect="amplitudes of unknown dose become counts of this mean",
        tests=("test_amplitudes_of_unknown_dose_get_the_stated_photons",),
    )
    output_dir: Path = setting(
        Path("refine_outputs"),
        help="folder for everything the run writes",
        cli=("--output_dir",),
        group=_DATA,
        jobs=_DATA_JOBS,
        effect="everything is written there",
        tests=("test_a_scan_is_refined_and_everything_is_saved",),
        resume="a run can be moved and go on elsewhere",
    )
