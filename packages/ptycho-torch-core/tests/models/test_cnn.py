"""The layout of the reference architecture."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ptycho_torch.errors import ShapeError
from ptycho_torch.models.cnn import CNNGenerator
from ptycho_torch.models.registry import GeneratorSpec
from ptycho_torch.physics.optics import Optics

OPTICS = Optics(torch.ones(1, 64, 64, dtype=torch.complex64))


@pytest.fixture
def amplitude():
    return torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("n", "depth"), [(32, 3), (48, 3), (64, 3), (96, 4), (128, 4), (256, 5)])
def test_depth_grows_with_the_frame_and_divides_it(n, depth):
    generator = CNNGenerator(GeneratorSpec(n_pixels=n, width=1))
    assert len(generator.encoder) == depth
    assert n % 2**depth == 0


def test_border_branch_writes_the_border_and_only_that(amplitude):
    generator = CNNGenerator(GeneratorSpec(n_pixels=64, width=1))
    with torch.no_grad():
        before = generator(amplitude, OPTICS)
        for decoder in (generator.amplitude, generator.phase):
            decoder.border[-1].bias += 0.5
        after = generator(amplitude, OPTICS)
    changed = (after - before).abs() > 1e-3
    inner = torch.zeros(64, 64, dtype=torch.bool)
    inner[16:48, 16:48] = True
    assert changed[..., ~inner].all()
    assert not changed[..., inner].any()


def test_border_branch_gets_a_gradient(amplitude):
    generator = CNNGenerator(GeneratorSpec(n_pixels=64, width=1))
    generator(amplitude, OPTICS)[..., :8, :].imag.sum().backward()
    assert generator.phase.border[-1].weight.grad.abs().max() > 0
    assert generator.phase.centre.weight.grad.abs().max() == 0


def test_without_border_nothing_decodes_it():
    generator = CNNGenerator(GeneratorSpec(n_pixels=64, width=1, decode_border=False))
    assert generator.amplitude.border is None
    assert generator.phase.border is None


def test_undivided_patch_is_decoded_by_one_more_stage(amplitude):
    divided, whole = (
        CNNGenerator(GeneratorSpec(n_pixels=64, width=1, split_border=s)) for s in (True, False)
    )
    assert len(whole.amplitude.stages) == len(divided.amplitude.stages) + 1
    assert whole.amplitude.border is None
    assert whole(amplitude, OPTICS).shape == (2, 1, 64, 64)


@pytest.mark.rule("PHY-034")
def test_amplitude_and_phase_have_decoders_of_their_own():
    generator = CNNGenerator(GeneratorSpec(n_pixels=64, width=1))
    shared = set(map(id, generator.amplitude.parameters())) & set(map(id, generator.phase.parameters()))
    assert not shared


@torch.no_grad()
def test_feature_maps_keep_their_size_from_layer_to_layer(model_of):
    generator = model_of("cnn", 128).generator
    x = torch.rand(4, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    for stage in generator.encoder:
        y = stage(x)
        # Neither dying out nor growing with depth, or the network settles on a flat image.
        assert 0.2 < float(y.square().mean().sqrt() / x.square().mean().sqrt()) < 5
        assert float((y.amax(dim=(0, 2, 3)) == 0).float().mean()) < 0.3
        x = nn.functional.max_pool2d(y, 2)


def test_group_of_patches_has_one_channel_each():
    generator = CNNGenerator(GeneratorSpec(n_pixels=64, width=1, n_channels=4))
    assert generator(torch.ones(2, 4, 64, 64), OPTICS).shape == (2, 4, 64, 64)
    with pytest.raises(ShapeError, check=lambda error: error.name == "amplitude"):
        generator(torch.ones(2, 4, 64, 32), OPTICS)
