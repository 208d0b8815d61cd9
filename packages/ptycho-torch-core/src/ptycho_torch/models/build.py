"""A model from its configuration."""

from __future__ import annotations

import torch
from torch import Tensor

from ptycho_config import ModelConfig
from ptycho_torch.models.patch_model import PatchModel
from ptycho_torch.models.registry import GeneratorSpec
from ptycho_torch.physics.scaling import Calibration

__all__ = ["build_patch_model"]


def build_patch_model(
    config: ModelConfig,
    calibration: Calibration,
    *,
    measured: Tensor | None = None,
    ceiling: Tensor | None = None,
    trainable_probe: bool = False,
    trainable_scale: bool = True,
    seed: int = 0,
) -> PatchModel:
    """Build a model with fresh weights.

    Parameters
    ----------
    config
        Architecture and physics.
    calibration
        Gauge of the scan.
    measured
        Bool, ``(N, N)``, False where the detector did not measure.
    ceiling
        Real, ``(N, N)``, counts from which on a value was not measured.
    trainable_probe, trainable_scale
        What is trained beside the network.
    seed
        Seed of the weights. The global random state is left as it was.

    Raises
    ------
    ConfigError
        If the architecture is unknown.
    """
    spec = GeneratorSpec(
        n_pixels=config.N,
        n_channels=config.gridsize**2,
        width=config.n_filters_scale,
        object_head=config.object_head,
        amp_activation=config.amp_activation,
        decode_border=config.probe_big or not config.pad_object,
        split_border=config.pad_object,
    )
    support = None
    if config.probe_mask:
        support = (config.probe_mask_diameter or config.N / 2, config.probe_mask_sigma)
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed accelerators, whose state is not put back here.
        torch.default_generator.manual_seed(seed)
        return PatchModel(
            config.architecture,
            spec,
            calibration,
            measured=measured,
            ceiling=ceiling,
            probe_support=support,
            smoothing_sigma=config.gaussian_smoothing_sigma,
            trainable_probe=trainable_probe,
            trainable_scale=trainable_scale,
            merge_groups=config.object_big,
        )
