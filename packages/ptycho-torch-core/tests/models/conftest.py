"""Models of a tiny scan."""

from __future__ import annotations

import functools

import pytest
import torch

from ptycho_config import ModelConfig
from ptycho_torch.data.simulation.scenes import defocused_probe
from ptycho_torch.models import build_patch_model
from ptycho_torch.physics import calibrate
from ptycho_torch.testing import tiny_scene

MEAN_COUNTS = 1e5


@functools.cache
def _frames(n_pixels, n_frames, modes):
    scan = tiny_scene(
        "random_field", N=n_pixels, grid=(1, n_frames), photons=MEAN_COUNTS, mode_powers=(1.0,) * modes
    )
    return torch.from_numpy(scan.diffraction)[:, None]


@pytest.fixture
def frames():
    """Noiseless counts ``(n_frames, 1, N, N)`` of a smooth random object."""

    def make(n_pixels=32, n_frames=3, *, modes=1):
        return _frames(n_pixels, n_frames, modes).clone()

    return make


@pytest.fixture
def model_of():
    """Model with fresh weights: any `ModelConfig` field, and what `build_patch_model` takes."""

    def make(architecture="unrolled", N=32, *, modes=1, seed=0, measured=None, **settings):
        beside = {
            k: settings.pop(k) for k in ("trainable_probe", "trainable_scale", "ceiling") if k in settings
        }
        config = ModelConfig(N=N, architecture=architecture, **{"n_filters_scale": 1, **settings})
        probe = torch.from_numpy(defocused_probe(N, mode_powers=(1.0,) * modes))
        calibration = calibrate(probe, MEAN_COUNTS)
        return build_patch_model(config, calibration, measured=measured, seed=seed, **beside)

    return make


@pytest.fixture
def shaken():
    """Give every weight a random push, so that no layer is zero any more."""

    def shake(model, size=0.05, seed=1):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.generator.parameters():
                parameter += size * torch.randn(parameter.shape, generator=generator)
        return model

    return shake
