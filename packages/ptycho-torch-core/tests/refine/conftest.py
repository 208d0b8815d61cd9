"""Small scenes whose truth is known."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.metrics import compare


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def _scan(scene, modes, photons, noise, seed=11):
    return simulate_scene(
        scene, N=32, grid=(12, 12), step_px=4.0, jitter_px=1.0, photons=photons, seed=seed,
        mode_powers=modes, noise=noise,
    )  # fmt: skip


@pytest.fixture
def scan_of():
    """Scan of 144 frames of 32 x 32 with steps of 4 px."""

    def make(scene="lines", *, modes=(1.0,), photons=1e5, noise=True, seed=11):
        return _scan(scene, modes, photons, noise, seed)

    return make


@pytest.fixture
def error_of():
    """Complex normalised RMSE of a result against the truth of its scan."""

    def error(scan, result):
        found = result.object
        report = compare(
            found.object, scan.object_truth, weight=found.weight, origin=found.origin,
            truth_origin=scan.object_truth_origin, probe_diameter=scan.N / 2, frc=False,
        )  # fmt: skip
        return report.scores.complex_nrmse

    return error


@pytest.fixture
def rng():
    return np.random.default_rng(5)
