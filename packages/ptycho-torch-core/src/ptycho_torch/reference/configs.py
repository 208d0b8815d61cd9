"""Configuration classes of the reference. Constructing them reads no file and touches no device.

They hold what a caller states; :mod:`ptycho_torch.reference.translation` makes settings of it. They can be
pickled and changed, as callers expect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ptycho_torch.reference.keywords import keyword

__all__ = [
    "CONFIG_CLASSES",
    "DataConfig",
    "DatagenConfig",
    "InferenceConfig",
    "ModelConfig",
    "TrainingConfig",
]

_WHOLE_SCAN = "the whole scan is trained on and reconstructed"
_NEAREST = "groups are made of nearest neighbours"
_NORMALISED = "frames are normalised by one scale per scan, and the probe by its power"
_LAYERS = "the default network has no such layers"
_STAGES = "trainings have one stage"


@dataclass(kw_only=True)
class DataConfig:
    """Which frames are solved together."""

    N: int = keyword(128, "N", note="frames of another size are taken at their own size, and that is said")
    C: int = keyword(4, "gridsize", note="a square number: gridsize is its root")
    normalize: str = keyword("Batch", note=_NORMALISED)
    neighbor_function: str = keyword("Nearest", note=_NEAREST)
    scan_pattern: str = keyword("Isotropic", note=_NEAREST)
    probe_normalize: bool = keyword(True, note=_NORMALISED)
    x_bounds: tuple[float, float] = keyword((0.1, 0.9), note=_WHOLE_SCAN)
    y_bounds: tuple[float, float] = keyword((0.1, 0.9), note=_WHOLE_SCAN)
    min_neighbor_distance: float = keyword(0.0, note=_NEAREST)
    max_neighbor_distance: float = keyword(3.0, note=_NEAREST)
    K_quadrant: int = keyword(30, note=_NEAREST)
    n_subsample: int = keyword(7, note="every frame starts one group; more of them cost time")
    probe_scale: float = keyword(4.0, note="the probe is scaled to the measured counts")
    K: int = keyword(6, "neighbor_count", note="at least C")
    grid_size: tuple[int, int] = keyword((2, 2), "gridsize", note="must agree with C; C = 1 goes with any")
    probe_ramp_removal: bool = keyword(False, note="the probe is used as it is given")
    data_scaling: str = keyword("Parseval", note=_NORMALISED)
    phase_subtraction: bool = keyword(True, note="phases of patches are made to agree when they are stitched")


@dataclass(kw_only=True)
class ModelConfig:
    """What is learned, and towards which loss."""

    mode: str = keyword("Unsupervised", "model_type", note="'Unsupervised' or 'Supervised'")
    object_big: bool = keyword(True, "object_big")
    probe_big: bool = keyword(True, "probe_big")
    loss_function: str = keyword("Poisson", "torch_loss_mode", note="'Poisson' or 'MAE'")
    amp_activation: str = keyword("silu", "amp_activation")
    cbam_encoder: bool = keyword(True, note=_LAYERS)
    decoder_last_amp_channels: int | None = keyword(None, note="the number of channels is C")
    use_shared_decoder: bool = keyword(False, note=_LAYERS)
    intensity_scale_trainable: bool = keyword(False, "intensity_scale_trainable")
    intensity_scale: float = keyword(10000.0, note="the scale is measured on the frames")
    max_position_jitter: int = keyword(10, note="patches are placed at their positions")
    num_datasets: int = keyword(1, note="scans are counted in the data")
    C_model: int | None = keyword(None, note="the number of channels is C")
    C_forward: int | None = keyword(None, note="the number of channels is C")
    amp_loss: str | None = keyword(
        None,
        "realspace_weight",
        note="'Total_Variation', of the whole object; 'Mean_Deviation' has no effect",
    )
    phase_loss: str | None = keyword(None, "realspace_weight", note="as amp_loss; the larger weight counts")
    amp_loss_coeff: float = keyword(1.0, "realspace_weight", note="weight of amp_loss")
    phase_loss_coeff: float = keyword(1.0, "realspace_weight", note="weight of phase_loss")
    n_filters_scale: int = keyword(2, "n_filters_scale")
    probe_mask: Any = keyword(None, "probe_mask", note="None or False: no mask; True: the circular mask")
    eca_decoder: bool = keyword(False, note=_LAYERS)
    batch_norm: bool = keyword(False, note=_LAYERS)
    edge_pad: int = keyword(10, note=_LAYERS)
    decoder_last_c_outer_fraction: float = keyword(0.125, note=_LAYERS)
    cbam_bottleneck: bool = keyword(False, note=_LAYERS)
    cbam_decoder: bool = keyword(False, note=_LAYERS)
    spatial_decoder: bool = keyword(False, note=_LAYERS)
    decoder_spatial_kernel: int = keyword(7, note=_LAYERS)
    eca_encoder: bool = keyword(False, note=_LAYERS)
    offset: int = keyword(6, note="offsets come from the positions")
    probe_reference_coeff: float = keyword(0.0, note="the probe is not trained")
    amplitude_variance_loss: bool = keyword(False, note="a collapse to a flat object is noticed and said")
    amplitude_variance_coeff: float = keyword(0.01, note="a collapse to a flat object is noticed and said")


@dataclass(kw_only=True)
class TrainingConfig:
    """How long and where it is trained."""

    epochs: int = keyword(50, "nepochs")
    batch_size: int = keyword(16, "batch_size")
    learning_rate: float = keyword(1e-3, "learning_rate")
    n_devices: int = keyword(1, "devices")
    num_workers: int = keyword(
        4, note="frames are loaded by the process that trains: workers would import the calling program again"
    )
    accum_steps: int = keyword(1, "accum_steps")
    epochs_fine_tune: int = keyword(0, note=_STAGES)
    fine_tune_gamma: float = keyword(0.1, note=_STAGES)
    gradient_clip_val: float | None = keyword(None, "gradient_clip_val")
    nll: bool = keyword(True, note="loss_function decides")
    device: str = keyword("cuda", "accelerator", note="without a GPU the CPU computes, and that is said")
    strategy: str | None = keyword("ddp_spawn", "strategy", note="for several devices")
    framework: str = keyword("Lightning", note="there is one")
    orchestrator: str = keyword("Lightning", note="there is one")
    scheduler: str = keyword("Default", "scheduler", note="'Cosine' is WarmupCosine")
    warmup_epochs: int = keyword(0, "lr_warmup_epochs")
    min_lr_ratio: float = keyword(0.1, "lr_min_ratio")
    notes: str = keyword("", note="kept in the checkpoint")
    model_name: str = keyword("PtychoPINNv2", note="kept in the checkpoint")
    enable_staged_finetuning: bool = keyword(False, note=_STAGES)
    finetune_stage1_epochs: int = keyword(7, note=_STAGES)
    finetune_stage2_epochs: int = keyword(7, note=_STAGES)
    finetune_stage3_epochs: int = keyword(5, note=_STAGES)
    finetune_stage1_lr_decoder: float = keyword(0.1, note=_STAGES)
    finetune_stage2_lr_encoder_top: float = keyword(0.01, note=_STAGES)
    finetune_stage2_lr_decoder: float = keyword(0.05, note=_STAGES)
    finetune_stage2_lr_phase_head: float = keyword(0.1, note=_STAGES)
    finetune_stage3_lr_encoder_bottom: float = keyword(0.005, note=_STAGES)
    finetune_stage3_lr_encoder_top: float = keyword(0.01, note=_STAGES)
    finetune_stage3_lr_decoder: float = keyword(0.02, note=_STAGES)
    finetune_stage3_lr_phase_head: float = keyword(0.05, note=_STAGES)
    finetune_skip_stage3: bool = keyword(True, note=_STAGES)
    finetune_early_stop_patience: int = keyword(3, note=_STAGES)
    finetune_val_split: float = keyword(0.05, note=_STAGES)


@dataclass(kw_only=True)
class InferenceConfig:
    """How patches become an object."""

    batch_size: int = keyword(1000, "inference_batch_size", note="at most; memory bounds it")
    middle_trim: int = keyword(32, "middle_trim", note="at most the side of a frame")
    experiment_number: int = keyword(0, note="a scan to reconstruct comes by itself")
    patch_weighting: str = keyword("probe", "patch_weighting", note="'probe' or 'uniform'")
    pad_eval: bool = keyword(True, "pad_eval")
    window: int = keyword(20, note="the canvas holds every patch; its margin has little weight")


@dataclass(kw_only=True)
class DatagenConfig:
    """Nothing: this package simulates with `ptycho_torch.data.simulation`."""


CONFIG_CLASSES = (DataConfig, ModelConfig, TrainingConfig, InferenceConfig, DatagenConfig)
