"""Scans that are turned or scaled on purpose: the right flags are named, with their margin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import OrientationConfig
from ptycho_torch.data.scan.orientation import (
    ORIENTATIONS,
    orientation_config,
    oriented,
)
from ptycho_torch.data.simulation.scenes import OBJECTS, object_shape, raster_positions
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.refine import forward_residual, refine
from ptycho_torch.trials import choose_neighbours, try_orientations, try_scales
from ptycho_torch.trials.fit import SHORT, empty_fit, fit, is_worse

N = 32


def _comatic_probe():
    """A probe that no turn leaves as it is."""
    frequencies = np.fft.fftfreq(N)
    ky, kx = np.meshgrid(frequencies, frequencies, indexing="ij")
    phase = 40 * (1.3 * kx**2 + 0.8 * ky**2) + 900 * (kx**3 + 0.5 * ky * kx**2)
    pupil = (np.hypot(ky, kx) < 0.2) * np.exp(1j * np.pi * phase)
    return np.fft.fftshift(np.fft.ifft2(pupil))[None]


def _scan(scene="lines", photons=1e5):
    positions = raster_positions((6, 6), step_px=3.0, jitter_px=1.0, start_px=(17.0, 17.0), seed=2)
    obj = OBJECTS[scene](object_shape(positions, N), seed=5)
    return simulate_scan(obj, _comatic_probe(), positions, photons=photons, seed=7)


@pytest.fixture(scope="module")
def scan():
    return _scan()


@pytest.mark.parametrize("what", ["frames", "positions"])
@pytest.mark.parametrize("orientation", ORIENTATIONS[1:])
def test_every_orientation_is_told_from_its_correction(scan, what, orientation):
    """All eight made wrong on purpose: what undoes it fits, and nothing does not."""
    none = ORIENTATIONS[0]
    back = tuple(map(tuple, np.array(orientation).T.tolist()))
    pair, undo = (
        ((orientation, none), (back, none)) if what == "frames" else ((none, orientation), (none, back))
    )
    neighbours = choose_neighbours(oriented(scan, orientation_config(*pair)))
    right = fit(neighbours, orientation_config(*undo), 2 * SHORT)
    assert is_worse(fit(neighbours, OrientationConfig(), 2 * SHORT), right, empty_fit(neighbours))


@pytest.mark.rule("DATA-102")
@pytest.mark.parametrize(
    ("scene", "wrong", "applied", "flags"),
    [
        (
            "lines",
            {"transpose_frames": True, "flip_frames": "rows"},
            {},
            "--transpose-frames --flip-frames columns",
        ),
        (
            "random_field",
            {"flip_frames": "both", "flip_x": True},
            {"swap_axes": True},
            "--flip-frames both --flip-x",
        ),
    ],
)
def test_the_flags_that_right_a_scan_are_named(scene, wrong, applied, flags):
    right, applied = _scan(scene), OrientationConfig(**applied)
    turned = oriented(right, OrientationConfig(**wrong))
    trial = try_orientations(oriented(turned, applied), applied=applied)
    assert trial.found is not None
    assert (trial.found.flags, trial.is_as_opened) == (flags, False)
    assert flags in trial.verdict
    assert trial.misfit < 0.1
    # The margin: the next one explains clearly less, by more than chance.
    others = [way for way in trial.ways if not way.fits]
    assert max(way.share for way in others) < 0.98
    assert min(way.sureness for way in others) > 3
    again = oriented(turned, trial.found.settings)
    np.testing.assert_allclose(again.positions, right.positions)
    ours, theirs = (refine(one, epochs=5) for one in (again, right))
    expected = forward_residual(right, theirs.object)
    assert forward_residual(again, ours.object) == pytest.approx(expected, rel=0.02)


@pytest.mark.rule("DATA-103")
@pytest.mark.parametrize("wrong", [2.0, 1.1])
def test_the_scale_of_the_positions_is_found(scan, wrong):
    trial = try_scales(oriented(scan, OrientationConfig(position_scale=wrong)))
    assert trial.factor == pytest.approx(1 / wrong, rel=0.015)
    assert not trial.is_as_opened
    assert trial.misfit > 1.03
    assert trial.sureness > 3
    if wrong == 2.0:
        assert trial.factor == 0.5


@pytest.mark.rule("DATA-103")
def test_the_factor_is_that_of_the_file(scan):
    applied = OrientationConfig(position_scale=0.5)
    trial = try_scales(oriented(scan, applied), applied=applied)
    assert trial.factor == 1.0
    assert not trial.is_as_opened


def test_frames_may_lie_further_apart_than_memory(scan):
    near, far = (
        empty_fit(choose_neighbours(oriented(scan, OrientationConfig(position_scale=scale)), spread=False))
        for scale in (1.0, 1e6)
    )
    assert far.deviance == pytest.approx(near.deviance)


@pytest.mark.rule("DATA-102")
def test_a_round_probe_leaves_turns_of_the_whole_open():
    round_one = simulate_scene("random_field", N=N, grid=(6, 6), step_px=4.0, jitter_px=1.0, seed=1)
    trial = try_orientations(round_one)
    assert trial.is_as_opened
    assert trial.found is not None
    assert trial.found.flags == ""
    # All turns of the whole fit, and the list ends with the last of them.
    assert [way.fits for way in trial.ways] == [True] * 8
    assert "7 more fit as well" in trial.verdict


@pytest.mark.rule("DATA-102")
def test_a_conjugated_probe_is_told_of(scan):
    trial = try_orientations(replace(scan, probe=np.conj(scan.probe)))
    assert trial.found is not None
    assert trial.fits_conjugate
    assert trial.to_dict()["fits_conjugate"]
    assert not try_orientations(scan).fits_conjugate
    assert not try_orientations(oriented(scan, OrientationConfig(flip_x=True))).fits_conjugate


def test_where_nothing_can_tell_it_says_so(scan):
    few = scan.take(np.arange(8))
    for trial in (try_orientations(few), try_scales(few)):
        assert "too few" in trial.verdict
        assert not trial.is_as_opened
    assert try_orientations(few).found is None
    assert try_scales(few).factor is None
    empty = simulate_scan(
        np.ones((60, 60), dtype=np.complex64), _comatic_probe(), scan.positions, photons=1e4, seed=3
    )
    trial = try_orientations(empty)
    assert trial.found is None
    assert "no better" in trial.verdict or "better than an empty object" in trial.verdict


def test_neighbours_lie_where_frames_differ_and_keep_apart():
    positions = raster_positions((12, 12), step_px=3.0, jitter_px=0.5, start_px=(17.0, 17.0), seed=2)
    shape = object_shape(positions, N)
    obj = np.ones(shape, dtype=np.complex64)
    obj[:, : shape[1] // 2] = OBJECTS["lines"]((shape[0], shape[1] // 2), seed=5)
    half = simulate_scan(obj, _comatic_probe(), positions, photons=1e4, seed=7)
    chosen = choose_neighbours(half)
    assert chosen.n_frames == 36
    assert half.positions[chosen.indices[0], 1] < shape[1] / 2
    # A repeated position tells nothing new.
    twice = replace(half.take(np.repeat(np.arange(144), 2)), frame_index=None)
    assert len(np.unique(choose_neighbours(twice).scan.positions, axis=0)) == 36
    np.testing.assert_array_equal(chosen.scan.diffraction, half.diffraction[chosen.indices])


def test_large_frames_are_cropped_to_their_light():
    large = simulate_scene("lines", N=128, grid=(5, 5), step_px=8.0, seed=1)
    chosen = choose_neighbours(large)
    assert chosen.scan.N == 64
    np.testing.assert_allclose(chosen.scan.positions, large.positions[chosen.indices] / 2)
    assert chosen.diameter == pytest.approx(choose_neighbours(large).diameter)
