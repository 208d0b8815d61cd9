"""Random numbers for operators: complex, of no symmetry, from one seed."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20)


@pytest.fixture
def complex_noise(generator):
    """Complex128 noise of a shape."""

    def noise(*shape):
        return torch.randn(*shape, dtype=torch.complex128, generator=generator)

    return noise


@pytest.fixture
def real_noise(generator):
    """Float64 values in [0, 1) of a shape."""

    def noise(*shape):
        return torch.rand(*shape, dtype=torch.float64, generator=generator)

    return noise
