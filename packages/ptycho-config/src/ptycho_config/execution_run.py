"""How a run is executed: devices, data loading, steps, checkpoints; a part of the execution settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ptycho_config.base import Config
from ptycho_config.fields import setting

__all__ = ["RunConfig"]

_TRAIN = ("train",)
_NETWORK = ("train", "infer")
_JOBS = ("train", "infer", "refine", "live", "tune")
_SPREAD = ("train", "infer", "refine")
# Why a training that is continued may have another value.
_WHERE = "where a run goes on does not change what it learns"
_LOADING = "how batches are loaded does not change them"
_REPORTS = "what a run reports does not change what it learns"
_TRAINER = "Trainer"
_LOADER = "Data loading"
_OPTIM = "Optimisation"
_CHECKPOINT = "Checkpoints and stopping"
_LOG = "Logging"
_MAX_TIME = (r"\d\d:\d\d:[0-5]\d:[0-5]\d", "a time as DD:HH:MM:SS, such as '00:12:00:00',")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """Settings that :class:`~ptycho_config.PyTorchExecutionConfig` inherits, in a file of their own."""

    accelerator: str = setting(
        "auto",
        help="device type; auto takes CUDA, then MPS, then the CPU",
        choices=("auto", "cpu", "gpu", "cuda", "mps"),
        refused={"tpu": "TPUs are not supported, because the forward model needs complex FFTs; use auto"},
        group=_TRAINER,
        jobs=_JOBS,
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
        jobs=_SPREAD,
        effect="so many processes of a machine share the work, with the result of one",
        tests=("test_two_processes_give_the_result_of_one", "test_how_many_processes_a_run_has"),
        resume=_WHERE,
    )
    num_nodes: int = setting(
        1,
        help="how many machines",
        ge=1,
        group=_TRAINER,
        jobs=_NETWORK,
        effect="so many machines do",
        tests=("test_two_nodes_give_the_result_of_one", "test_how_many_processes_a_run_has"),
        resume=_WHERE,
    )
    strategy: str = setting(
        "auto",
        help="how work is spread over devices, such as auto, ddp, ddp_spawn or fsdp",
        group=_TRAINER,
        jobs=_NETWORK,
        effect="how processes are started and keep in step; one that cannot be is refused",
        tests=(
            "test_a_strategy_that_cannot_be_is_refused_before_anything_is_written",
            "test_two_processes_give_the_result_of_one",
        ),
        resume=_WHERE,
    )
    process_timeout_min: float | None = setting(
        None,
        help="how long processes wait for each other, to begin and in between; none: 30, and 10 on GPUs",
        unit="min",
        gt=0,
        group=_TRAINER,
        jobs=_NETWORK,
        effect="a process that waits longer for the others ends, and says for whom it waited and where",
        tests=("test_processes_wait_as_long_as_is_stated", "test_every_strategy_waits_as_long_as_is_stated"),
        resume=_WHERE,
    )
    deterministic: bool | Literal["warn"] = setting(
        True,
        help="get the same result bit for bit in every run; warn only reports operations that may differ",
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
        help="bound on the gradients, see gradient_clip_algorithm; none is off",
        gt=0,
        group=_TRAINER,
        jobs=_TRAIN,
        effect="bounds what `gradient_clip_algorithm` says",
        tests=(
            "test_clipping_bounds_the_gradients",
            "test_adaptive_clipping_bounds_each_step_by_the_weights",
        ),
    )
    gradient_clip_algorithm: str = setting(
        "norm",
        help="what gradient_clip_val bounds: the norm of all gradients, every value, or (adaptive) the "
        "norm of each unit relative to its weights",
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
        help="processes that load data; 0 loads in the main process. Each takes seconds to start and holds "
        "the frames once more, unless they are read from a file",
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
        help="load into page-locked memory, which is faster to copy to a GPU",
        group=_LOADER,
        jobs=_TRAIN,
        effect="batches lie in page-locked memory; without a GPU there is none, with a warning",
        tests=(
            "test_batches_lie_in_page_locked_memory",
            "test_page_locked_memory_without_a_gpu_is_said_to_be_none",
        ),
        resume=_LOADING,
    )
    persistent_workers: bool | None = setting(
        None,
        help="keep the loading processes between epochs; none: keep them if num_workers starts any",
        group=_LOADER,
        jobs=_TRAIN,
        effect="the same processes load the next epoch",
        tests=("test_loading_processes_stay_between_epochs_unless_told_otherwise",),
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
    largest_array_gib: float | None = setting(
        None,
        help="memory that an array of a scan may take which is not its frames; none: 4, or a quarter of the "
        "memory of the machine where that is less",
        unit="GiB",
        gt=0,
        group=_LOADER,
        jobs=_JOBS,
        effect="a file that claims a larger array is refused by its header",
        tests=("test_every_job_and_command_takes_the_limit_on_arrays",),
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
        tests=(
            "test_schedules_change_the_logged_learning_rate",
            "test_plateau_schedules_lower_the_logged_learning_rate",
        ),
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
        help="number of best checkpoints to keep; -1 keeps all, 0 none",
        ge=-1,
        group=_CHECKPOINT,
        jobs=_TRAIN,
        effect="so many of the best checkpoints remain",
        tests=("test_the_best_k_checkpoints_are_kept_and_the_last",),
    )
    checkpoint_monitor_metric: str = setting(
        "val_loss",
        help="metric that decides which checkpoint is best; without validation data it is the training loss",
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
        help="whether a lower or a higher value of this metric is better",
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
        tests=("test_early_stopping_stops", "test_patience_is_counted_in_epochs_when_validation_is_rare"),
    )
