"""Tiny scenes are small, seeded and hold their truth."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

import ptycho_torch.testing.scenes as module
from ptycho_torch.data.simulation.scenes import OBJECTS
from ptycho_torch.testing import random_probe, tiny_scene


@pytest.mark.parametrize("scene", sorted(OBJECTS))
def test_scene_is_complete(scene):
    scan = tiny_scene(scene, N=32, grid=(2, 3), mode_powers=(3, 1))
    assert (scan.n_frames, scan.N, scan.n_modes) == (6, 32, 2)
    assert scan.counts_per_frame().mean() == pytest.approx(1e6, rel=1e-6)
    assert np.std(np.abs(scan.object_truth)) > 0.01


def test_seed_decides_everything():
    first, again, other = tiny_scene(seed=3, noise=True), tiny_scene(seed=3, noise=True), tiny_scene(seed=4)
    np.testing.assert_array_equal(first.diffraction, again.diffraction)
    assert not np.array_equal(first.object_truth, other.object_truth)


def test_positions_can_stay_on_whole_pixels():
    positions = tiny_scene(jitter_px=0).positions
    np.testing.assert_array_equal(positions, np.round(positions))


def test_random_probe_is_complex_and_seeded():
    first = random_probe(2, 8, torch.Generator().manual_seed(1))
    assert first.shape == (2, 8, 8)
    assert first.dtype == torch.complex128
    assert first.imag.std() > 0.3
    assert torch.equal(first, random_probe(2, 8, torch.Generator().manual_seed(1)))


def test_examples_run():
    assert doctest.testmod(module).failed == 0
