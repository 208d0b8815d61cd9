"""How alike two probes are, and what one scan's physics shares with another's."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.models import ScanPhysics
from ptycho_torch.physics import calibrate


@pytest.fixture
def modes():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, 16, 16, dtype=torch.complex64, generator=generator)


@pytest.fixture
def physics(modes):
    return ScanPhysics(calibrate(modes, 1e4), torch.ones(16, 16))


def test_likeness_ignores_scale_phase_and_mixture_of_modes(physics, modes):
    mixture, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.complex64))
    mixed = torch.einsum("ab,bij->aij", mixture, modes)
    assert physics.overlap(7 * mixed) == pytest.approx(1, abs=1e-6)


def test_likeness_of_one_mode_is_the_correlation(modes):
    first, second = modes[:1], modes[1:2]
    alone = ScanPhysics(calibrate(first, 1e4), torch.ones(16, 16))
    expected = (first.conj() * second).sum().abs() / (first.norm() * second.norm())
    assert alone.overlap(second) == pytest.approx(float(expected), rel=1e-5)


def test_likeness_to_orthogonal_light_is_zero():
    left, right = (torch.zeros(1, 16, 16, dtype=torch.complex64) for _ in range(2))
    left[..., :8], right[..., 8:] = 1, 1
    assert ScanPhysics(calibrate(left, 1.0), torch.ones(16, 16)).overlap(right) == 0


def test_another_dose_changes_counts_and_nothing_else(physics, modes):
    other = physics.changed(dose=4.0)
    patches = torch.ones(2, 16, 16, dtype=torch.complex64)
    torch.testing.assert_close(other.predict_counts(patches), 4 * physics.predict_counts(patches))
    assert float(physics.mean_counts) == 1e4
    assert float(other.mean_counts) == 4e4


def test_pixels_can_only_be_taken_away(modes):
    first = torch.ones(16, 16, dtype=torch.bool)
    first[0, 0] = False
    second = torch.ones(16, 16, dtype=torch.bool)
    second[1, 1] = False
    physics = ScanPhysics(calibrate(modes, 1e4), torch.ones(16, 16), measured=first)
    changed = physics.changed(measured=second)
    assert int(changed.measured.sum()) == 254
    assert int(physics.measured.sum()) == 255


def test_a_probe_of_another_size_is_refused(physics):
    with pytest.raises(ShapeError, check=lambda error: error.name == "probe"):
        physics.overlap(torch.ones(1, 8, 8, dtype=torch.complex64))
