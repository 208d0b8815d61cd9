"""The unrolled generator: what it takes and refuses."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.models.registry import GeneratorSpec
from ptycho_torch.models.unrolled import UnrolledGenerator
from ptycho_torch.physics.optics import Optics
from ptycho_torch.testing import tiny_scene


def test_probe_of_wrong_rank_is_refused():
    generator = UnrolledGenerator(GeneratorSpec(n_pixels=32, width=1))
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        generator(torch.ones(2, 1, 32, 32), Optics(torch.ones(32, 32, dtype=torch.complex64)))
    with pytest.raises(ShapeError, check=lambda error: error.name == "amplitude"):
        generator(torch.ones(2, 32, 32), Optics(torch.ones(1, 32, 32, dtype=torch.complex64)))


def test_patches_of_a_group_keep_their_channel():
    generator = UnrolledGenerator(GeneratorSpec(n_pixels=32, width=1, n_channels=4))
    patches = generator(torch.ones(2, 4, 32, 32), Optics(torch.ones(1, 32, 32, dtype=torch.complex64)))
    assert patches.shape == (2, 4, 32, 32)


def test_frames_of_a_group_are_drawn_as_one_object():
    """Where two frames see the same, they are given the same, whatever each of them measured."""
    probe = torch.from_numpy(tiny_scene("lines").probe)
    random = torch.Generator().manual_seed(1)
    amplitude = 2 * torch.rand(2, 2, 32, 32, generator=random)
    offsets = torch.tensor([[[0.0, -3.0], [0.0, 3.0]]]).expand(2, -1, -1)
    generator = UnrolledGenerator(GeneratorSpec(n_pixels=32, width=1, n_channels=2))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=random)
        together = generator(amplitude, Optics(probe), offsets)
        apart = generator(amplitude, Optics(probe))
    torch.testing.assert_close(together[:, 0, :, 6:], together[:, 1, :, :-6])
    assert (apart[:, 0, :, 6:] - apart[:, 1, :, :-6]).abs().max() > 0.1
