"""What network is trained, and through which physics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ptycho_config.base import Config, config_class
from ptycho_config.fields import setting
from ptycho_config.validation import MODEL_RULES, Rule

__all__ = ["ModelConfig"]

_JOBS = ("train", "infer")
_NET = "Network"
_PHYSICS = "Probe and object"


@config_class
@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """Identity of a model: two models with equal settings have interchangeable weights.

    Examples
    --------
    >>> ModelConfig(N=128).gridsize
    1
    """

    rules: ClassVar[tuple[Rule, ...]] = MODEL_RULES

    N: int = setting(
        64,
        help="side of a frame and of an object patch",
        unit="px",
        ge=32,
        multiple_of=16,
        group=_NET,
        jobs=_JOBS,
        effect="frames and probe have this size; larger ones are cropped to it",
        tests=(
            "test_a_smaller_N_crops_with_a_warning_and_a_note",
            "test_patches_have_the_size_of_the_frames",
        ),
    )
    gridsize: int = setting(
        1,
        help="g: groups of g x g overlapping patches are solved together",
        ge=1,
        group=_NET,
        jobs=_JOBS,
        effect="that many neighbouring frames squared make one group",
        tests=("test_a_group_is_four_neighbouring_frames_and_not_one_repeated",),
    )
    n_filters_scale: int = setting(
        2,
        help="width multiplier of the network",
        ge=1,
        group=_NET,
        jobs=_JOBS,
        effect="a wider network has more weights",
        tests=("test_width_makes_the_network_larger",),
    )
    model_type: str = setting(
        "pinn",
        help="pinn learns through the physics and needs no labels; supervised learns from labels in the data",
        choices=("pinn", "supervised"),
        group=_NET,
        jobs=_JOBS,
        effect="the loss compares with frames, or with labels that are cut from the object of the scan",
        tests=("test_learning_from_labels_approaches_the_truth", "test_labels_are_those_of_their_frames"),
    )
    architecture: str = setting(
        "unrolled",
        help="name of the network in the generator registry",
        group=_NET,
        jobs=_JOBS,
        effect="the network of that name is built",
        tests=("test_new_generator_is_built_by_its_name",),
    )
    object_head: str = setting(
        "amplitude_phase",
        help="what the network predicts of an object: amplitude and phase, or real and imaginary part",
        choices=("amplitude_phase", "real_imaginary"),
        group=_NET,
        jobs=_JOBS,
        effect="the same features become amplitude and phase, or real and imaginary part",
        tests=("test_a_head_of_parts_is_another_object_of_the_same_features",),
    )
    amp_activation: str = setting(
        "sigmoid",
        help="activation at the end of the amplitude branch; without effect if object_head is real_imaginary",
        choices=("sigmoid", "swish", "silu", "softplus", "relu"),
        group=_NET,
        jobs=_JOBS,
        effect="the amplitude is that function of the feature",
        tests=("test_activation_is_the_documented_function",),
    )
    object_big: bool = setting(
        True,
        help="merge the patches of a group where they overlap; off: each patch stays alone",
        group=_PHYSICS,
        jobs=_JOBS,
        effect="without it the patches of a group are not merged",
        tests=("test_without_object_big_the_patches_of_a_group_stay_apart",),
    )
    probe_big: bool = setting(
        True,
        help="decode the outer border of the patch too",
        group=_PHYSICS,
        jobs=_JOBS,
        effect="the border of a patch is decoded too",
        tests=("test_border_settings_arrive", "test_border_is_decoded_when_asked_for"),
    )
    probe_mask: bool = setting(
        False,
        help="restrict the probe to a circular support",
        group=_PHYSICS,
        jobs=_JOBS,
        effect="the probe is zero outside its support and keeps its power",
        tests=("test_probe_mask_limits_the_probe_and_keeps_its_power",),
    )
    probe_mask_sigma: float = setting(
        1.0,
        help="width of the soft edge of the support",
        unit="px",
        ge=0,
        group=_PHYSICS,
        jobs=_JOBS,
        effect="width of the edge of that support",
        tests=("test_soft_disk_is_one_inside_and_falls_like_a_gaussian",),
    )
    probe_mask_diameter: float | None = setting(
        None,
        help="diameter of the support; none means N/2",
        unit="px",
        gt=0,
        group=_PHYSICS,
        jobs=_JOBS,
        effect="width of that support",
        tests=(
            "test_probe_mask_limits_the_probe_and_keeps_its_power",
            "test_soft_disk_is_one_inside_and_falls_like_a_gaussian",
        ),
    )
    pad_object: bool = setting(
        True,
        help="pad decoded patches to the full size of the frame",
        group=_PHYSICS,
        jobs=_JOBS,
        effect="decoded patches get a border, or fill the frame",
        tests=("test_border_settings_arrive",),
    )
    probe_scale: float = setting(
        4.0,
        help="normalisation constant of the probe",
        gt=0,
        group=_PHYSICS,
        jobs=_JOBS,
        effect="none",
        tests=("test_what_has_no_effect_is_refused_with_words",),
        only_default="the probe is calibrated from the data instead",
    )
    gaussian_smoothing_sigma: float = setting(
        0.0,
        help="width of the Gaussian that smooths the illuminated field; 0 is off",
        unit="px",
        ge=0,
        group=_PHYSICS,
        jobs=_JOBS,
        effect="the expected counts are those of a blurred field",
        tests=("test_smoothing_changes_the_counts", "test_blur_keeps_the_mean_and_has_the_stated_width"),
    )
