"""Where and how a run is executed. None of it is part of a model's identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ptycho_config.base import Config, config_class
from ptycho_config.fields import setting
from ptycho_config.validation import EXECUTION_RULES, Rule

__all__ = ["PyTorchExecutionConfig"]

_TRAIN = ("train",)
_INFERENCE = ("infer",)
_NETWORK = ("train", "infer")
_ALL = ("train", "infer", "refine")
# Why a training that is continued may have another value.
_WHERE = "where a run goes on does not change what it learns"
_LOADING = "how batches are loaded does not change them"
_REPORTS = "what a run reports does not change what it learns"
_TRAINER = "Trainer"
_LOADER = "Data loading"
_OPTIM = "Optimisation"
_CHECKPOINT = "Checkpoints and stopping"
_LOG = "Logging"
_INFER = "Inference"
_VALID = "Validation"
_MAX_TIME = (r"\d\d:\d\d:[0-5]\d:[0-5]\d", "a time as DD:HH:MM:SS, such as '00:12:00:00',")


@config_class
@dataclass(frozen=True, kw_only=True)
class PyTorchExecutionConfig(Config):
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

    accelerator: str = setting(
        "auto",
        help="device type; auto takes CUDA, then MPS, then the CPU",
        choices=("auto", "cpu", "gpu", "cuda", "mps"),
        refused={"tpu": "TPUs are not supported, because the forward model needs complex FFTs; use auto"},
        group=_TRAINER,
        jobs=_ALL,
        effect="device type of network and canvas; one that is not there is refused",
        tests=(
            "test_the_best_device_is_taken_without_a_word",
            "test_a_device_that_is_not_there_is_refused",
            "test_auto_warns_on_a_machine_without_a_gpu",
        ),
        resume=_WHERE,
    )
    devices: int | Literal["auto"] = setting(
        "auto",
        help="how many devices",
        ge=1,
        group=_TRAINER,
        jobs=_ALL,
        effect="so many processes of a machine share the work, with the result of one",
        tests=("test_two_processes_give_the_result_of_one",),
        resume=_WHERE,
    )
    num_nodes: int = setting(
        1,
        help="how many machines",
        ge=1,
        group=_TRAINER,
        jobs=_NETWORK,
        effect="so many machines do",
        tests=("test_two_nodes_give_the_result_of_one",),
        resume=_WHERE,
    )
    strategy: str = setting(
        "auto",
        help="how work is spread over devices, such as auto, ddp, ddp_spawn or fsdp",
        group=_TRAINER,
        jobs=_NETWORK,
        effect="how processes are started and keep in step; one that cannot be is refused",
        tests=("test_a_strategy_that_cannot_be_is_refused_before_anything_is_written",),
        resume=_WHERE,
    )
    deterministic: bool | Literal["warn"] = setting(
        True,
        help="repeat a run bit for bit; warn only reports operations that cannot",
        group=_TRAINER,
        jobs=_TRAIN,
        effect="the same seed gives the same weights bit for bit; an operation that cannot is refused",
        tests=(
            "test_two_runs_of_one_seed_are_equal_bit_for_bit",
            "test_operations_that_cannot_repeat_fail_are_reported_or_pass",
        ),
    )
    precision: str = setting(
        "32-true",
        help="arithmetic of the network; the physics stays in 32 bits; 16-mixed needs a GPU",
        choices=("32-true", "16-mixed", "bf16-mixed"),
        group=_TRAINER,
        jobs=_TRAIN,
        effect="convolutions in 16 bits, physics and loss in 32",
        tests=(
            "test_the_network_computes_in_16_bits_and_the_physics_in_32",
            "test_mixed_precision_trains",
            "test_half_precision_on_the_cpu_is_refused_and_nothing_is_written",
        ),
    )
    max_time: str | None = setting(
        None,
        help="stop training after this time",
        unit="DD:HH:MM:SS",
        pattern=_MAX_TIME,
        group=_TRAINER,
        jobs=_TRAIN,
        effect="training ends when the time is up and leaves a complete run",
        tests=("test_training_ends_when_its_time_is_up",),
        resume="how long a run lasts does not change what it learns until then",
    )
    gradient_clip_val: float | None = setting(
        None,
        help="bound on the gradients, in the sense of gradient_clip_algorithm; none is off",
        gt=0,
        group=_TRAINER,
        jobs=_TRAIN,
        effect="bounds what `gradient_clip_algorithm` says",
        tests=("test_clipping_bounds_the_gradients",),
    )
    gradient_clip_algorithm: str = setting(
        "norm",
        help="what gradient_clip_val bounds: the norm of all gradients, every value, or, adaptive, the norm "
        "of each unit relative to its weights",
        choices=("norm", "value", "adaptive"),
        group=_TRAINER,
        jobs=_TRAIN,
        effect="what is bounded by `gradient_clip_val`",
        tests=(
            "test_clipping_bounds_the_gradients",
            "test_adaptive_clipping_bounds_each_step_by_the_weights",
            "test_values_of_a_complex_probe_can_be_clipped",
        ),
    )
    accum_steps: int = setting(
        1,
        help="batches whose gradients make one step",
        ge=1,
        cli=("--accumulate-grad-batches",),
        group=_TRAINER,
        jobs=_TRAIN,
        effect="k batches of b make the step of one batch of k · b",
        tests=("test_accumulated_batches_equal_one_large_batch",),
    )
    compile: bool = setting(
        False,
        help="compile the network before it is used; needs a compiler",
        group=_TRAINER,
        jobs=_NETWORK,
        effect="runs compiled code; weights and bundle keep their names",
        tests=(
            "test_a_compiled_network_trains_alike_and_keeps_its_names",
            "test_a_compiled_network_reconstructs_the_same_object",
            "test_without_a_compiler_compiling_is_refused_and_nothing_is_written",
        ),
    )

    num_workers: int = setting(
        0,
        help="processes that load data; 0 loads in the main one",
        ge=0,
        group=_LOADER,
        jobs=_NETWORK,
        effect="that many processes load the batches, which stay the same",
        tests=(
            "test_workers_load_the_same_batches_in_other_processes",
            "test_workers_load_frames_and_the_object_is_the_same",
        ),
        resume=_LOADING,
    )
    pin_memory: bool = setting(
        False,
        help="load into page-locked memory, from where a GPU copies faster",
        group=_LOADER,
        jobs=_TRAIN,
        effect="batches lie in page-locked memory; without a GPU there is none, with a warning",
        tests=(
            "test_batches_lie_in_page_locked_memory",
            "test_page_locked_memory_without_a_gpu_is_said_to_be_none",
        ),
        resume=_LOADING,
    )
    persistent_workers: bool = setting(
        False,
        help="keep the loading processes between epochs; needs num_workers",
        group=_LOADER,
        jobs=_TRAIN,
        effect="the same processes load the next epoch",
        tests=("test_loading_processes_stay_between_epochs_when_asked",),
        resume=_LOADING,
    )
    prefetch_factor: int | None = setting(
        None,
        help="batches each loading process prepares ahead; needs num_workers",
        ge=1,
        group=_LOADER,
        jobs=_TRAIN,
        effect="that many batches per process wait ready",
        tests=("test_so_many_batches_are_prepared_ahead",),
        resume=_LOADING,
    )

    learning_rate: float = setting(
        1e-3,
        help="learning rate of the network",
        gt=0,
        group=_OPTIM,
        jobs=_TRAIN,
        effect="the rate that is logged, and how far a step goes",
        tests=("test_schedules_change_the_logged_learning_rate", "test_early_stopping_stops"),
    )
    scheduler: str = setting(
        "Default",
        help="how the learning rate changes; Default keeps it",
        choices=("Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine", "ReduceLROnPlateau"),
        group=_OPTIM,
        jobs=_TRAIN,
        effect="the logged rate follows the schedule of that name",
        tests=("test_schedules_change_the_logged_learning_rate",),
    )

    enable_progress_bar: bool = setting(
        False,
        help="draw a progress bar",
        group=_LOG,
        jobs=_TRAIN,
        effect="a bar is drawn",
        tests=("test_a_bar_is_drawn_when_asked",),
        resume=_REPORTS,
    )
    enable_checkpointing: bool = setting(
        True,
        help="save checkpoints",
        group=_CHECKPOINT,
        jobs=_TRAIN,
        effect="checkpoints are written; without them the bundle holds the last weights",
        tests=("test_without_checkpoints_the_last_weights_are_saved_and_said_to_be",),
    )
    checkpoint_save_top_k: int = setting(
        1,
        help="checkpoints to keep, the best ones; -1 keeps all, 0 none",
        ge=-1,
        group=_CHECKPOINT,
        jobs=_TRAIN,
        effect="so many of the best checkpoints remain",
        tests=("test_the_best_k_checkpoints_are_kept_and_the_last",),
    )
    checkpoint_monitor_metric: str = setting(
        "val_loss",
        help="what decides which checkpoint is best; without validation data, the training loss",
        cli=("--checkpoint-monitor",),
        group=_CHECKPOINT,
        jobs=_TRAIN,
        effect="decides which checkpoint is best; always one that exists",
        tests=(
            "test_the_monitored_metric_exists",
            "test_without_validation_data_the_training_loss_decides",
            "test_the_bundle_holds_the_best_weights_and_not_the_last",
        ),
    )
    checkpoint_mode: str = setting(
        "min",
        help="whether less or more of it is better",
        choices=("min", "max"),
        group=_CHECKPOINT,
        jobs=_TRAIN,
        effect="whether the smallest or the largest is the best",
        tests=("test_the_largest_can_be_the_best",),
    )
    early_stop_patience: int = setting(
        100,
        help="epochs without improvement before training stops",
        unit="epochs",
        ge=1,
        group=_CHECKPOINT,
        jobs=_TRAIN,
        effect="training stops after so many epochs without improvement",
        tests=("test_early_stopping_stops",),
    )

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
        help="patches to draw, spread evenly",
        ge=1,
        group=_LOG,
        jobs=_TRAIN,
        effect="so many patches, spread evenly, are drawn",
        tests=("test_number_and_choice_of_patches",),
        resume=_REPORTS,
    )
    recon_log_fixed_indices: tuple[int, ...] | None = setting(
        None,
        help="numbers of the patches to draw instead of those",
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
        help="patches to stitch for that, from the middle of the scan; none means all",
        ge=1,
        group=_LOG,
        jobs=_TRAIN,
        effect="at most so many patches, from the middle of the scan, make it",
        tests=("test_the_stitched_object_is_drawn_when_asked",),
        resume=_REPORTS,
    )

    inference_batch_size: int | None = setting(
        None,
        help="groups per prediction batch; none means as many as in training, and on a GPU enough to fill it",
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
        help="classical steps that hold what the network drew against the frames; none means 4 for single "
        "frames and 32 for groups",
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
        help="seed of that choice",
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
