"""The unrolled generator: what it takes and refuses."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.models.registry import GeneratorSpec
from ptycho_torch.models.unrolled import UnrolledGenerator


def test_probe_of_wrong_rank_is_refused():
    generator = UnrolledGenerator(GeneratorSpec(n_pixels=32, width=1))
    with pytest.raises(ShapeError, match=r"probe: expected \(modes, N, N\), got \(32, 32\)"):
        generator(torch.ones(2, 1, 32, 32), torch.ones(32, 32, dtype=torch.complex64))
    with pytest.raises(ShapeError, match="amplitude"):
        generator(torch.ones(2, 32, 32), torch.ones(1, 32, 32, dtype=torch.complex64))


def test_patches_of_a_group_keep_their_channel():
    generator = UnrolledGenerator(GeneratorSpec(n_pixels=32, width=1, n_channels=4))
    patches = generator(torch.ones(2, 4, 32, 32), torch.ones(1, 32, 32, dtype=torch.complex64))
    assert patches.shape == (2, 4, 32, 32)
