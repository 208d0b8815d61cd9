"""Faults of a simulated scan are what was asked for, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_torch.data.simulation import Faults, simulate_scene


def scan_with(faults, **settings):
    return simulate_scene(N=16, grid=(5, 6), seed=3, noise=False, faults=faults, **settings)


def test_without_faults_nothing_changes():
    plain, told = (
        simulate_scene(N=16, grid=(5, 6), seed=3),
        simulate_scene(N=16, grid=(5, 6), seed=3, faults=Faults()),
    )
    np.testing.assert_array_equal(plain.diffraction, told.diffraction)
    assert plain.metadata == told.metadata


@pytest.mark.parametrize("faults", [Faults(dose_rms=0.2), Faults(dose_fading=0.5)])
def test_frames_are_multiplied_by_their_doses(faults):
    plain, scan = scan_with(Faults()), scan_with(faults)
    doses = faults.doses(30, 3)
    assert doses.mean() == pytest.approx(1)
    np.testing.assert_allclose(scan.diffraction, plain.diffraction * doses[:, None, None], rtol=1e-5)
    assert scan.metadata.items() >= faults.stated().items()


def test_a_background_is_added_to_every_frame():
    faults = Faults(background=2.0)
    plain, scan = scan_with(Faults()), scan_with(faults)
    dark = faults.dark_frame(16)
    assert dark.mean() == pytest.approx(2.0)
    assert dark[0, -1] == pytest.approx(3 * dark[0, 0])
    np.testing.assert_allclose(scan.diffraction, plain.diffraction + dark, rtol=1e-5, atol=1e-4)


def test_a_probe_drifts_through_the_one_that_is_told():
    scan = scan_with(Faults(probe_drift=0.3))
    probes = np.stack([probe[0] for probe in Faults(probe_drift=0.3).probes(scan.probe, 31)])
    np.testing.assert_allclose(probes[15], scan.probe[0], atol=1e-6)
    np.testing.assert_allclose(
        (np.abs(probes) ** 2).sum(axis=(1, 2)), (np.abs(scan.probe) ** 2).sum(), rtol=1e-5
    )
    pupil, last = np.fft.fft2(scan.probe[0]), np.fft.fft2(probes[-1])
    light, wavefront = np.abs(pupil) ** 2, np.angle(last / pupil)
    lit = light > 1e-6 * light.max()
    assert np.sqrt((light * wavefront**2)[lit].sum() / light[lit].sum()) == pytest.approx(0.3, rel=0.02)
    assert np.abs(scan.diffraction - scan_with(Faults()).diffraction).max() > 1
    first, alone = (next(Faults(probe_drift=0.3).probes(scan.probe, count)) for count in (31, 1))
    np.testing.assert_allclose(alone, scan.probe, atol=1e-6)
    assert np.abs(first - alone).max() > 0.1


def test_positions_are_stated_beside_the_true_ones():
    plain, scan = scan_with(Faults()), scan_with(Faults(position_error_px=3.0))
    np.testing.assert_array_equal(scan.diffraction, plain.diffraction)
    errors = scan.positions - plain.positions
    assert np.sqrt((errors**2).sum(axis=1).mean()) == pytest.approx(3.0, rel=0.3)


def test_a_scan_states_other_positions_than_its_frames_were_taken_at():
    faults = Faults(
        scan_stretch_y=0.05, scan_stretch_x=-0.02, scan_rotation_deg=3.0, scan_shear=0.01, drift_px=2.0
    )
    plain, scan = scan_with(Faults()), scan_with(faults)
    np.testing.assert_array_equal(scan.diffraction, plain.diffraction)
    middle = plain.positions.mean(axis=0)
    drift = faults.drift(30, 3)
    assert np.sqrt((drift**2).sum(axis=1).mean()) == pytest.approx(2.0)
    mapped = middle + (scan.positions - middle) @ faults.affine.matrix.T + drift
    np.testing.assert_allclose(mapped, plain.positions)
    assert scan.metadata.items() >= faults.stated().items()


def test_doses_spread_and_fade_as_told():
    assert np.log(Faults(dose_rms=0.2).doses(4000, 1)).std() == pytest.approx(0.2, rel=0.05)
    fading = Faults(dose_fading=0.5).doses(40, 1)
    assert fading[-1] == pytest.approx(fading[0] / 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"dose_rms": -0.1},
        {"dose_fading": 1.0},
        {"background": -1.0},
        {"probe_drift": -1.0},
        {"dose_rms": float("nan")},
        {"drift_px": -1.0},
        {"scan_shear": -0.6},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Faults(**wrong)
