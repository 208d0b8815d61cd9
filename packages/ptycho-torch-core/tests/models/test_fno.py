"""The spectral layer against what the convolution theorem says, and the network around it."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.models.fno import FNOGenerator, SpectralConv


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return SpectralConv(3, 4)


@pytest.fixture
def maps():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def _identity(layer):
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[..., 0] = torch.eye(3)
    return layer


def test_unit_matrices_are_a_low_pass(layer, maps):
    once = _identity(layer)(maps)
    spectrum = torch.fft.fft2(once)
    row, column = torch.meshgrid(torch.fft.fftfreq(16) * 16, torch.fft.fftfreq(16) * 16, indexing="ij")
    outside = (row.abs() > 4) | (column.abs() > 3)
    assert spectrum[..., outside].abs().max() < 1e-4
    inside = (row.abs() < 4) & (column.abs() < 4)
    torch.testing.assert_close(spectrum[..., inside], torch.fft.fft2(maps)[..., inside], rtol=1e-4, atol=1e-4)


@pytest.mark.rule("PHY-034")
def test_a_frequency_is_mixed_by_its_own_matrix(layer):
    # A wave of 2 periods along y and 3 along x, in the second map alone.
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    phase = 2 * torch.pi * (2 * y + 3 * x) / 16
    wave = torch.zeros(1, 3, 16, 16)
    wave[0, 1] = torch.cos(phase)
    matrix = torch.view_as_complex(layer.weight.detach())[2, 3]
    expected = (matrix[1, :, None, None] * torch.exp(1j * phase)).real
    torch.testing.assert_close(layer(wave)[0].detach(), expected, rtol=1e-4, atol=1e-5)


def test_a_moved_map_gives_a_moved_map(layer, maps):
    moved = layer(maps.roll((3, 5), dims=(-2, -1)))
    torch.testing.assert_close(moved, layer(maps).roll((3, 5), dims=(-2, -1)), rtol=1e-4, atol=1e-5)


def test_power_of_the_kept_frequencies_is_kept_at_the_start():
    torch.manual_seed(0)
    layer, maps = SpectralConv(32, 8), torch.randn(4, 32, 16, 16)
    low = SpectralConv(32, 8)
    with torch.no_grad():
        low.weight.zero_()
        low.weight[..., 0] = torch.eye(32)
        assert float(layer(maps).std() / low(maps).std()) == pytest.approx(1, abs=0.1)


def test_half_precision_does_not_reach_the_transform(layer, maps):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = layer(maps)
    torch.testing.assert_close(mixed, layer(maps))
    assert layer(maps.bfloat16()).dtype == torch.bfloat16


def test_a_pixel_reaches_the_whole_patch(model_of, frames, shaken):
    # One layer is enough for what would take a convolution of 3 px many: its local path is cut here.
    model = shaken(model_of("fno"))
    assert isinstance(model.generator, FNOGenerator)
    first = model.generator.layers[0]
    torch.nn.init.zeros_(first.local.weight)
    maps = torch.zeros(1, first.local.in_channels, 16, 16)
    with torch.no_grad():
        before = first(maps)
        maps[..., 8, 8] = 1
        changed = (first(maps) - before).abs().amax(dim=1)[0]
    assert (changed > 1e-4).float().mean() > 0.95
