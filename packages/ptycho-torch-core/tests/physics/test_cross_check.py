"""The forward model against a simulation written another way, and against the project's simulator."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch

from ptycho_torch.data.simulation.simulate import simulate_scan
from ptycho_torch.physics import Bilinear, predicted_counts
from ptycho_torch.testing import relative_error, tiny_scene


def _interpolated(obj, y, x):
    """Object at a real coordinate, from the four pixels around it."""
    top, left = math.floor(y), math.floor(x)
    value = 0j
    for row in (top, top + 1):
        for column in (left, left + 1):
            weight = (1 - abs(y - row)) * (1 - abs(x - column))
            if weight > 0:
                value += weight * complex(obj[row, column])
    return value


def _counts_by_hand(obj, probe, position, scale):
    """One frame in float64 from loops and an explicit DFT matrix, frequencies counted from -N/2."""
    n = probe.shape[-1]
    patch = np.array(
        [
            [_interpolated(obj, position[0] - n // 2 + r, position[1] - n // 2 + c) for c in range(n)]
            for r in range(n)
        ]
    )
    dft = np.array([[cmath.exp(-2j * cmath.pi * (k - n // 2) * r / n) for r in range(n)] for k in range(n)])
    frame = np.zeros((n, n))
    for mode in probe:
        field = np.einsum("kr,rc,lc->kl", dft, mode * patch, dft) / n
        frame += scale * (field.real**2 + field.imag**2)
    return frame


@pytest.mark.rule("PHY-001", "PHY-005")
@pytest.mark.parametrize("n", [12, 9])
@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.complex64, 1e-5), (torch.complex128, 1e-12)])
def test_agrees_with_loops_and_explicit_sums(n, modes, dtype, allowed):
    rng = np.random.default_rng(n + modes)
    obj = rng.normal(size=(30, 34)) + 1j * rng.normal(size=(30, 34))
    probe = rng.normal(size=(modes, n, n)) + 1j * rng.normal(size=(modes, n, n))
    positions = np.array([[8.0, 9.0], [10.25, 20.0], [12.0, 11.875], [15.3, 18.6]])
    patches = Bilinear(torch.from_numpy(positions), n, obj.shape).cut(torch.from_numpy(obj).to(dtype))
    counts = predicted_counts(patches, torch.from_numpy(probe).to(dtype), 7.5)
    for frame, position in zip(counts, positions, strict=True):
        assert relative_error(frame, _counts_by_hand(obj, probe, position, 7.5)) < allowed


@pytest.mark.rule("DATA-013", "PHY-005")
@pytest.mark.parametrize("jitter_px", [0.0, 1.0], ids=["whole pixels", "sub-pixel"])
@pytest.mark.parametrize("mode_powers", [(1.0,), (4.0, 1.0)])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.complex64, 1e-5), (torch.complex128, 1e-6)])
def test_truth_reproduces_the_counts_of_the_simulator(jitter_px, mode_powers, dtype, allowed):
    # Without noise the simulator stores float32, which bounds the agreement in double precision.
    scan = tiny_scene(photons=1e9, jitter_px=jitter_px, mode_powers=mode_powers)
    truth, probe = torch.from_numpy(scan.object_truth).to(dtype), torch.from_numpy(scan.probe).to(dtype)
    patches = Bilinear(torch.from_numpy(scan.positions), scan.N, truth.shape).cut(truth)
    counts = predicted_counts(patches, probe, scan.metadata["intensity_scale"])
    assert relative_error(counts, scan.diffraction) < allowed


def test_truth_explains_noisy_counts_as_well_as_noise_allows():
    scan = tiny_scene(photons=1e9, noise=True, grid=(3, 3))
    truth = torch.from_numpy(scan.object_truth).to(torch.complex128)
    patches = Bilinear(torch.from_numpy(scan.positions), scan.N, truth.shape).cut(truth)
    probe = torch.from_numpy(scan.probe).to(torch.complex128)
    expected = predicted_counts(patches, probe, scan.metadata["intensity_scale"]).numpy()
    bright = expected > 20
    chi_squared = ((scan.diffraction - expected) ** 2 / expected)[bright].mean()
    # Nine frames of about a thousand pixels: the mean of chi squared scatters by two per cent.
    assert chi_squared == pytest.approx(1.0, abs=0.1)


@pytest.mark.rule("DATA-012")
def test_positions_of_wrong_sign_or_order_do_not_reproduce_the_counts():
    scan = tiny_scene(grid=(3, 5), jitter_px=0.7)
    truth, probe = torch.from_numpy(scan.object_truth), torch.from_numpy(scan.probe)
    middle = scan.positions.mean(axis=0)
    margin = 40
    roomy = torch.nn.functional.pad(torch.view_as_real(truth).movedim(-1, 0), [margin] * 4, value=1.0)
    roomy = torch.complex(roomy[0], roomy[1])
    for wrong in (2 * middle - scan.positions, scan.positions[:, ::-1].copy()):
        origin = torch.tensor([margin] * 2)
        patches = Bilinear(torch.from_numpy(wrong), scan.N, roomy.shape, origin=origin).cut(roomy)
        counts = predicted_counts(patches, probe, scan.metadata["intensity_scale"])
        assert relative_error(counts, scan.diffraction) > 0.02


@pytest.mark.rule("DATA-011")
def test_origin_of_the_object_is_the_same_for_simulator_and_operator():
    scan = tiny_scene(grid=(2, 2))
    moved = simulate_scan(
        scan.object_truth,
        scan.probe,
        scan.positions - np.array([50.0, 7.0]),
        photons=1e6,
        seed=0,
        noise=False,
        object_origin=(50.0, 7.0),
    )
    np.testing.assert_allclose(moved.diffraction, scan.diffraction, rtol=1e-5)
    truth = torch.from_numpy(moved.object_truth).to(torch.complex128)
    origin = torch.from_numpy(moved.object_truth_origin)
    patches = Bilinear(torch.from_numpy(moved.positions), moved.N, truth.shape, origin=origin).cut(truth)
    probe = torch.from_numpy(moved.probe).to(torch.complex128)
    counts = predicted_counts(patches, probe, moved.metadata["intensity_scale"])
    assert relative_error(counts, moved.diffraction) < 1e-6
