"""Names and defaults are a contract: a change here is a change for every user."""

from __future__ import annotations

import pytest

from ptycho_config import SECTIONS, field_specs
from ptycho_config.base import plain

MODEL = {
    "N": 64,
    "gridsize": 1,
    "n_filters_scale": 2,
    "model_type": "pinn",
    "architecture": "unrolled",
    "object_head": "amplitude_phase",
    "amp_activation": "sigmoid",
    "object_big": True,
    "probe_big": True,
    "probe_mask": False,
    "probe_mask_sigma": 1.0,
    "probe_mask_diameter": None,
    "pad_object": True,
    "probe_scale": 4.0,
    "gaussian_smoothing_sigma": 0.0,
}
TRAINING = {
    "train_data_file": None,
    "test_data_file": None,
    "batch_size": 16,
    "nepochs": 50,
    "mae_weight": 0.0,
    "nll_weight": 1.0,
    "realspace_mae_weight": 0.0,
    "realspace_weight": 0.0,
    "nphotons": 1e9,
    "measurement_domain": "auto",
    "n_groups": 512,
    "n_subsample": None,
    "subsample_seed": None,
    "neighbor_count": 4,
    "enable_oversampling": False,
    "neighbor_pool_size": None,
    "positions_provided": True,
    "probe_trainable": False,
    "probe_learning_rate": 1e-2,
    "intensity_scale_trainable": True,
    "output_dir": "training_outputs",
    "sequential_sampling": False,
    "backend": "pytorch",
    "seed": 0,
    "torch_loss_mode": "poisson",
    "optimizer": "adam",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "gradient_clip_algorithm": "norm",
    "lr_warmup_epochs": 0,
    "lr_min_ratio": 0.1,
    "plateau_factor": 0.5,
    "plateau_patience": 2,
    "plateau_min_lr": 1e-5,
    "plateau_threshold": 0.0,
}
INFERENCE = {
    "model_path": None,
    "test_data_file": None,
    "measurement_domain": "auto",
    "n_groups": None,
    "n_subsample": None,
    "subsample_seed": None,
    "neighbor_count": 4,
    "enable_oversampling": False,
    "neighbor_pool_size": None,
    "debug": False,
    "output_dir": "inference_outputs",
    "backend": "pytorch",
}
REFINE = {
    "refine_epochs": "auto",
    "refine_probe": False,
    "probe_modes": None,
    "refine_positions": False,
    "likelihood": "poisson",
    "sub_pixel": "object",
    "smoothness": 0.0,
    "refine_batch_size": None,
    "refine_tolerance": 1e-5,
    "refine_warm_up": None,
    "refine_seed": 0,
}
REFINE_DATA = {
    "scan_file": None,
    "start_file": None,
    "measurement_domain": "auto",
    "nphotons": 1e9,
    "output_dir": "refine_outputs",
}
EXECUTION = {
    "accelerator": "auto",
    "devices": "auto",
    "num_nodes": 1,
    "strategy": "auto",
    "deterministic": True,
    "precision": "32-true",
    "max_time": None,
    "gradient_clip_val": None,
    "accum_steps": 1,
    "compile": False,
    "num_workers": 0,
    "pin_memory": False,
    "persistent_workers": False,
    "prefetch_factor": None,
    "learning_rate": 1e-3,
    "scheduler": "Default",
    "enable_progress_bar": False,
    "enable_checkpointing": True,
    "checkpoint_save_top_k": 1,
    "checkpoint_monitor_metric": "val_loss",
    "checkpoint_mode": "min",
    "early_stop_patience": 100,
    "logger_backend": "csv",
    "recon_log_every_n_epochs": None,
    "recon_log_num_patches": 4,
    "recon_log_fixed_indices": None,
    "recon_log_stitch": False,
    "recon_log_max_stitch_samples": None,
    "inference_batch_size": None,
    "middle_trim": 0,
    "pad_eval": False,
    "physics_steps": None,
    "val_fraction": 0.05,
    "val_seed": 42,
    "check_val_every_n_epoch": 1,
}


@pytest.mark.rule("CFG-001")
def test_names_and_defaults() -> None:
    now = {
        section: {spec.name: plain(spec.default) for spec in field_specs(cls)}
        for section, cls in SECTIONS.items()
    }
    assert now == {
        "model": MODEL,
        "training": TRAINING,
        "inference": INFERENCE,
        "refine": REFINE,
        "refine_data": REFINE_DATA,
        "execution": EXECUTION,
    }
