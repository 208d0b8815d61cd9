"""Where and how a run is executed. None of it is part of a model's identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ptycho_config.base import config_class
from ptycho_config.execution_run import RunConfig
from ptycho_config.fields import setting
from ptycho_config.validation import EXECUTION_RULES, Rule

__all__ = ["PyTorchExecutionConfig"]

_TRAIN = ("train",)
_INFERENCE = ("infer", "live")
# Why a training that is continued may have another value.
_REPORTS = "what a run reports does not change what it learns"
_LOG = "Logging"
_INFER = "Inference"
_VALID = "Validation"


@config_class
@dataclass(frozen=True, kw_only=True)
class PyTorchExecutionConfig(RunConfig):
    """Hardware, data loading, checkpoints and logs of one run.

    ``n_devices`` is taken as the older spelling of ``devices``, with a ``DeprecationWarning``, and
    ``accumulate_grad_batches`` as another name of ``accum_steps``. Words such
    as ``"auto"`` are stored as they are and get their meaning when the run starts; building this touches
    no device.

    Examples
    --------
    >>> PyTorchExecutionConfig(accelerator="cpu").devices
    'auto'
    """

    rules: ClassVar[tuple[Rule, ...]] = EXECUTION_RULES
    deprecated: ClassVar[Mapping[str, str]] = {"n_devices": "devices"}
    aliases: ClassVar[Mapping[str, str]] = {"accumulate_grad_batches": "accum_steps"}

    logger_backend: str | None = setting(
        "csv",
        help="where metrics are logged",
        choices=("csv", "tensorboard", "mlflow"),
        cli=("--logger",),
        group=_LOG,
        jobs=_TRAIN,
        effect="a table, event files, a store of MLflow, or nothing in `logs/`",
        tests=(
            "test_losses_fall_and_are_logged_every_epoch",
            "test_tensorboard_files_hold_the_same_numbers",
            "test_mlflow_holds_numbers_and_pictures",
            "test_no_logger_writes_no_log",
        ),
        resume=_REPORTS,
    )
    recon_log_every_n_epochs: int | None = setting(
        None,
        help="log pictures of reconstructed validation patches this often; none is off",
        unit="epochs",
        ge=1,
        group=_LOG,
        jobs=_TRAIN,
        effect="amplitude and phase of validation patches are logged every n epochs",
        tests=(
            "test_every_n_epochs_files_lie_beside_the_table",
            "test_tensorboard_shows_them",
            "test_mlflow_holds_numbers_and_pictures",
        ),
        resume=_REPORTS,
    )
    recon_log_num_patches: int = setting(
        4,
        help="number of patches to draw, spread evenly over the validation data",
        ge=1,
        group=_LOG,
        jobs=_TRAIN,
        effect="this many patches are drawn, spread evenly over the validation data",
        tests=("test_number_and_choice_of_patches",),
        resume=_REPORTS,
    )
    recon_log_fixed_indices: tuple[int, ...] | None = setting(
        None,
        help="numbers of the patches to draw, in place of recon_log_num_patches",
        ge=0,
        group=_LOG,
        jobs=_TRAIN,
        effect="those patches are drawn instead; a number that is not there is refused",
        tests=(
            "test_fixed_patches_are_those_and_no_others",
            "test_numbers_beyond_the_patches_are_refused_before_anything_is_written",
        ),
        resume=_REPORTS,
    )
    recon_log_stitch: bool = setting(
        False,
        help="draw the stitched object too",
        group=_LOG,
        jobs=_TRAIN,
        effect="the stitched object is drawn too",
        tests=("test_the_stitched_object_is_drawn_when_asked",),
        resume=_REPORTS,
    )
    recon_log_max_stitch_samples: int | None = setting(
        None,
        help="patches in the stitched object, from the middle of the scan; none means all",
        ge=1,
        group=_LOG,
        jobs=_TRAIN,
        effect="at most so many patches, from the middle of the scan, make it",
        tests=("test_the_stitched_object_is_drawn_when_asked",),
        resume=_REPORTS,
    )

    inference_batch_size: int | None = setting(
        None,
        help="groups per prediction batch; none means the batch size of the training, and on a GPU "
        "enough to fill it",
        ge=1,
        group=_INFER,
        jobs=_INFERENCE,
        effect="groups predicted at once",
        tests=("test_inference_settings_have_an_effect",),
    )
    middle_trim: int = setting(
        0,
        help="side of the middle of each patch that is stitched; 0 uses the whole patch",
        unit="px",
        ge=0,
        group=_INFER,
        jobs=_INFERENCE,
        effect="only the middle of each patch is placed, and the canvas ends where the middles do",
        tests=(
            "test_trimming_uses_the_middle_of_each_patch",
            "test_a_trimmed_canvas_ends_where_the_middles_do",
        ),
    )
    pad_eval: bool = setting(
        False,
        help="with middle_trim: extend the canvas so that no border patch is cut, and fill the margin",
        group=_INFER,
        jobs=_INFERENCE,
        effect="the canvas holds border patches whole; the margin is filled from their rims",
        tests=(
            "test_padding_keeps_border_patches_whole_and_the_inside_as_it_is",
            "test_padding_extends_the_canvas",
        ),
    )
    physics_steps: int | None = setting(
        None,
        help="classical steps that correct the predicted patches by their frames; none means 4 for "
        "single frames and 32 for groups",
        ge=0,
        group=_INFER,
        jobs=_INFERENCE,
        effect="so many classical steps bring each patch nearer to its frame",
        tests=("test_steps_after_the_network_bring_the_object_nearer_to_frames_and_truth",),
    )

    val_fraction: float = setting(
        0.05,
        help="part of the groups set aside when there is no test file",
        ge=0,
        lt=1,
        group=_VALID,
        jobs=_TRAIN,
        effect="so many groups are set aside",
        tests=("test_validation_frames_are_set_aside_from_the_chosen_ones",),
    )
    val_seed: int = setting(
        42,
        help="seed of the choice of validation groups",
        ge=0,
        group=_VALID,
        jobs=_TRAIN,
        effect="decides which",
        tests=("test_validation_frames_are_set_aside_from_the_chosen_ones",),
    )
    check_val_every_n_epoch: int = setting(
        1,
        help="validate this often",
        unit="epochs",
        ge=1,
        group=_VALID,
        jobs=_TRAIN,
        effect="validation metrics exist in those epochs only",
        tests=("test_patience_is_counted_in_epochs_when_validation_is_rare",),
    )

    @property
    def accumulate_grad_batches(self) -> int:
        """The other name of ``accum_steps``."""
        return self.accum_steps
