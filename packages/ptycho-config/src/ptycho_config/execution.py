"""Where and how a run is executed. None of it is part of a model's identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ptycho_config.base import Config, config_class
from ptycho_config.fields import setting
from ptycho_config.validation import EXECUTION_RULES, Rule

__all__ = ["PyTorchExecutionConfig"]

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

    ``n_devices`` is taken as the older spelling of ``devices``, with a ``DeprecationWarning``. Words such
    as ``"auto"`` are stored as they are and get their meaning when the run starts; building this touches
    no device.

    Examples
    --------
    >>> PyTorchExecutionConfig(accelerator="cpu").devices
    'auto'
    """

    rules: ClassVar[tuple[Rule, ...]] = EXECUTION_RULES
    deprecated: ClassVar[Mapping[str, str]] = {"n_devices": "devices"}

    accelerator: str = setting(
        "auto",
        help="device type; auto takes CUDA, then MPS, then the CPU",
        choices=("auto", "cpu", "gpu", "cuda", "mps"),
        refused={"tpu": "TPUs are not supported, because the forward model needs complex FFTs; use auto"},
        group=_TRAINER,
    )
    devices: int | Literal["auto"] = setting("auto", help="how many devices", ge=1, group=_TRAINER)
    num_nodes: int = setting(1, help="how many machines", ge=1, group=_TRAINER)
    strategy: str = setting(
        "auto", help="how work is spread over devices, such as auto, ddp, ddp_spawn or fsdp", group=_TRAINER
    )
    deterministic: bool | Literal["warn"] = setting(
        True, help="repeat a run bit for bit; warn only reports operations that cannot", group=_TRAINER
    )
    precision: str = setting(
        "32-true",
        help="arithmetic of the network; the physics stays in 32 bits; 16-mixed needs a GPU",
        choices=("32-true", "16-mixed", "bf16-mixed"),
        group=_TRAINER,
    )
    max_time: str | None = setting(
        None, help="stop training after this time", unit="DD:HH:MM:SS", pattern=_MAX_TIME, group=_TRAINER
    )
    gradient_clip_val: float | None = setting(
        None,
        help="bound on the gradients, in the sense of gradient_clip_algorithm; none is off",
        gt=0,
        group=_TRAINER,
    )
    accum_steps: int = setting(
        1,
        help="batches whose gradients make one step",
        ge=1,
        cli=("--accumulate-grad-batches",),
        group=_TRAINER,
    )
    compile: bool = setting(
        False, help="compile the network before it is used; needs a compiler", group=_TRAINER
    )

    num_workers: int = setting(
        0, help="processes that load data; 0 loads in the main one", ge=0, group=_LOADER
    )
    pin_memory: bool = setting(
        False, help="load into page-locked memory, from where a GPU copies faster", group=_LOADER
    )
    persistent_workers: bool = setting(
        False, help="keep the loading processes between epochs; needs num_workers", group=_LOADER
    )
    prefetch_factor: int | None = setting(
        None, help="batches each loading process prepares ahead; needs num_workers", ge=1, group=_LOADER
    )

    learning_rate: float = setting(1e-3, help="learning rate of the network", gt=0, group=_OPTIM)
    scheduler: str = setting(
        "Default",
        help="how the learning rate changes; Default keeps it",
        choices=("Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine", "ReduceLROnPlateau"),
        group=_OPTIM,
    )

    enable_progress_bar: bool = setting(False, help="draw a progress bar", group=_LOG)
    enable_checkpointing: bool = setting(True, help="save checkpoints", group=_CHECKPOINT)
    checkpoint_save_top_k: int = setting(
        1, help="checkpoints to keep, the best ones; -1 keeps all, 0 none", ge=-1, group=_CHECKPOINT
    )
    checkpoint_monitor_metric: str = setting(
        "val_loss",
        help="what decides which checkpoint is best; without validation data, the training loss",
        cli=("--checkpoint-monitor",),
        group=_CHECKPOINT,
    )
    checkpoint_mode: str = setting(
        "min", help="whether less or more of it is better", choices=("min", "max"), group=_CHECKPOINT
    )
    early_stop_patience: int = setting(
        100, help="epochs without improvement before training stops", unit="epochs", ge=1, group=_CHECKPOINT
    )

    logger_backend: str | None = setting(
        "csv",
        help="where metrics are logged",
        choices=("csv", "tensorboard", "mlflow"),
        cli=("--logger",),
        group=_LOG,
    )
    recon_log_every_n_epochs: int | None = setting(
        None,
        help="log pictures of reconstructed validation patches this often; none is off",
        unit="epochs",
        ge=1,
        group=_LOG,
    )
    recon_log_num_patches: int = setting(4, help="patches to draw, spread evenly", ge=1, group=_LOG)
    recon_log_fixed_indices: tuple[int, ...] | None = setting(
        None, help="numbers of the patches to draw instead of those", ge=0, group=_LOG
    )
    recon_log_stitch: bool = setting(False, help="draw the stitched object too", group=_LOG)
    recon_log_max_stitch_samples: int | None = setting(
        None, help="patches to stitch for that, from the middle of the scan; none means all", ge=1, group=_LOG
    )

    inference_batch_size: int | None = setting(
        None,
        help="groups per prediction batch; none means as many as in training, and on a GPU enough to fill it",
        ge=1,
        group=_INFER,
    )
    middle_trim: int = setting(
        0,
        help="side of the middle of each patch that is stitched; 0 uses the whole patch",
        unit="px",
        ge=0,
        group=_INFER,
    )
    pad_eval: bool = setting(
        False,
        help="with middle_trim: extend the canvas so that no border patch is cut, and fill the margin",
        group=_INFER,
    )
    physics_steps: int | None = setting(
        None,
        help="classical steps that hold what the network drew against the frames; none means 4 for single "
        "frames and 32 for groups",
        ge=0,
        group=_INFER,
    )

    val_fraction: float = setting(
        0.05, help="part of the groups set aside when there is no test file", ge=0, lt=1, group=_VALID
    )
    val_seed: int = setting(42, help="seed of that choice", ge=0, group=_VALID)
    check_val_every_n_epoch: int = setting(1, help="validate this often", unit="epochs", ge=1, group=_VALID)
