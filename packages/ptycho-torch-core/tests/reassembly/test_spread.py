"""How far the patches that meet at a pixel are from each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptycho_torch.reassembly import canvas_for, stitch

SIZE, NOISE = 16, 0.05
AXIS = np.arange(8.0, 48, 4)
POSITIONS = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 2)


def stitched(patches, positions=POSITIONS, weight=None):
    geometry = canvas_for(positions, SIZE)
    weight = torch.ones(SIZE, SIZE) if weight is None else weight
    return stitch(lambda skip: [(patches, torch.from_numpy(positions))][skip:], geometry, weight)


def noisy(generator, noise, count):
    parts = torch.randn(count, SIZE, SIZE, dtype=torch.complex64, generator=generator)
    turns = torch.polar(torch.ones(count), torch.rand(count, generator=generator) * 6)
    return (1 + noise * parts) * turns[:, None, None]


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(1)


@pytest.mark.rule("STI-016")
@pytest.mark.parametrize("uniform", [True, False])
def test_it_is_that_of_independent_patches_whatever_their_phases(generator, uniform):
    """Also where patches count differently."""
    window = torch.hann_window(SIZE + 2, periodic=False)[1:-1]
    weight = None if uniform else window[:, None] * window
    spread = stitched(noisy(generator, NOISE, len(POSITIONS)), weight=weight).spread
    inside = spread[12:-12, 12:-12]
    assert np.sqrt(np.mean(inside**2)) == pytest.approx(NOISE, rel=0.06)


@pytest.mark.rule("STI-016")
def test_patches_that_agree_have_none(generator):
    spread = stitched(noisy(generator, 0.0, len(POSITIONS))).spread
    # Phases are turned until they change by less than 0.01 rad.
    assert np.nanmax(spread) < 0.01


@pytest.mark.rule("STI-016")
def test_a_single_patch_cannot_disagree(generator):
    alone = stitched(noisy(generator, NOISE, 1), POSITIONS[:1]).spread
    assert np.isnan(alone).all()
    pair = stitched(noisy(generator, NOISE, 2), np.array([[8.0, 8.0], [8.0, 16.0]])).spread
    assert np.isfinite(pair[:, 8:16]).all()
    assert np.isnan(pair[:, :8]).all()
    assert np.isnan(pair[:, 16:]).all()
