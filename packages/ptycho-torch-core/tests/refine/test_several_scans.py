"""Several scans of one object: each with its own probe, dose and offset, one object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.data.scan.lazy import ConvertedFrames, FrameStack
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.errors import DataError
from ptycho_torch.metrics import compare
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import RefinementInterrupted, refine
from ptycho_torch.refine.several.concatenated import concatenated, require_joinable
from ptycho_torch.refine.several.joining import joined
from ptycho_torch.refine.several.register import register

OFFSET = np.array([7.3, -4.6])
ENOUGH = {"epochs": 30, "error_bars": "none"}
OPTICS = {
    "photon_energy_eV": 9000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_height_m": 75e-6,
    "detector_pixel_width_m": 75e-6,
}


def scene(seed=3, grid=(8, 8), optics=None):
    scan = simulate_scene("lines", N=32, grid=grid, step_px=4.0, jitter_px=1.0, photons=1e5, seed=seed)
    return scan if optics is None else replace(scan, metadata={**scan.metadata, **optics})


def defocused(probe):
    square = np.add.outer(np.fft.fftfreq(32) ** 2, np.fft.fftfreq(32) ** 2)
    return np.fft.ifft2(np.fft.fft2(probe) * np.exp(60j * square)).astype(np.complex64)


def again(first, *, probe=None, photons=3e5, rows=None, seed=9, offset=OFFSET):
    """Another scan of the object of ``first``, whose positions do not say the offset."""
    rows = np.arange(first.n_frames) if rows is None else rows
    places = first.positions[rows] + np.random.default_rng(seed).uniform(-1, 1, (len(rows), 2))
    places = places.clip(first.positions.min(axis=0), first.positions.max(axis=0))
    made = simulate_scan(
        first.object_truth, first.probe if probe is None else probe, places, photons=photons, seed=seed,
        object_origin=first.object_truth_origin.tolist(),
    )  # fmt: skip
    origin = first.object_truth_origin + offset
    return replace(made, positions=places - offset, object_truth_origin=origin, metadata=dict(first.metadata))


def error_of(scan, result):
    found = result.object
    return compare(
        found.object, scan.object_truth, weight=found.weight, origin=found.origin,
        truth_origin=scan.object_truth_origin, probe_diameter=16, frc=False,
    ).scores.complex_nrmse  # fmt: skip


@pytest.mark.rule("REF-050")
@pytest.mark.parametrize("other", [True, False], ids=["other probe and dose", "same"])
def test_together_they_are_as_good_as_the_better_one_alone(other):
    first = scene()
    second = again(first, probe=defocused(first.probe)) if other else again(first, photons=1e5)
    result = refine([first, second], **ENOUGH)
    alone = [error_of(scan, refine(scan, **ENOUGH)) for scan in (first, second)]
    assert error_of(first, result) <= min(alone)
    offsets = [part.offset_px for part in result.scans]
    np.testing.assert_array_equal(offsets[0], 0)
    np.testing.assert_allclose(offsets[1], OFFSET, atol=0.1)
    doses = np.array([part.dose for part in result.scans])
    np.testing.assert_allclose(doses, [0.5, 1.5] if other else [1, 1], rtol=0.03)
    np.testing.assert_array_equal(result.others["scan_index"], np.repeat([0, 1], 64))
    np.testing.assert_allclose(result.others["dose"], doses[result.others["scan_index"]])
    np.testing.assert_array_equal(result.probe, result.scans[0].probe)
    for scan, part, probe in zip((first, second), result.scans, result.others["probes"], strict=True):
        np.testing.assert_array_equal(part.probe, probe)
        overlap = abs(np.vdot(probe, scan.probe)) / np.linalg.norm(probe) / np.linalg.norm(scan.probe)
        assert overlap > 0.999


@pytest.mark.rule("REF-050")
def test_a_probe_that_is_fitted_is_that_of_its_scan():
    first = scene()
    second = again(first, probe=defocused(first.probe))
    blurred = replace(second, probe=first.probe)
    result = refine([first, blurred], refine_probe=True, epochs=60, error_bars="none")

    def likeness(one, other):
        return abs(np.vdot(one, other)) / np.linalg.norm(one) / np.linalg.norm(other)

    assert likeness(first.probe, second.probe) < 0.9
    assert likeness(result.scans[0].probe, first.probe) > 0.99
    assert likeness(result.scans[1].probe, second.probe) > 0.98


@pytest.mark.rule("REF-050")
def test_everything_else_is_fitted_with_them():
    first = scene(optics=OPTICS)
    second = replace(again(first), probe=np.concatenate([first.probe, np.zeros_like(first.probe)]))
    result = refine(
        [first, second], epochs=12, refine_probe=True, probe_variation=1, refine_dose=True, refine_drift=True,
        refine_background="smooth", refine_positions=True,
    )  # fmt: skip
    others = result.others
    assert others["probes"].shape == (2, 2, 32, 32)
    assert others["probe_variations"].shape == (2, 1, 32, 32)
    assert others["probe_variation_weights"].shape == (128, 1)
    index = others["scan_index"]
    # Doses of frames hold those of the scans, and drifts have no part of the offsets.
    np.testing.assert_allclose(others["dose"].mean(), 1)
    np.testing.assert_allclose([others["dose"][index == k].mean() for k in (0, 1)], [0.5, 1.5], rtol=0.05)
    np.testing.assert_allclose([others["drift"][index == k].mean(axis=0) for k in (0, 1)], 0, atol=1e-9)
    part = result.scans[1]
    np.testing.assert_allclose(part.offset_px, OFFSET, atol=0.2)
    np.testing.assert_allclose(
        part.offset_m, part.offset_px * 12398.4198e-10 / 9000 * 2.0 / (32 * 75e-6), rtol=1e-4
    )
    assert part.variation.weights.shape == (64, 1)
    assert result.error_bars is not None


@pytest.mark.rule("REF-050")
def test_a_third_scan_may_meet_the_second_alone():
    whole = scene(grid=(14, 5))
    place = np.arange(70).reshape(14, 5)
    rows = (slice(0, 5), slice(9, 14), slice(3, 11))
    parts = [
        again(whole, rows=place[some].ravel(), seed=seed, photons=1e6, offset=offset)
        for seed, (some, offset) in enumerate(zip(rows, (0, OFFSET, -OFFSET), strict=True))
    ]
    result = refine(parts, **ENOUGH)
    offsets = np.array([part.offset_px for part in result.scans])
    np.testing.assert_allclose(offsets, [[0, 0], OFFSET, -OFFSET], atol=0.2)


@pytest.mark.rule("REF-051")
def test_parts_without_overlap_are_refused():
    whole = scene(grid=(14, 5))
    place = np.arange(70).reshape(14, 5)
    parts = [
        again(whole, rows=place[rows].ravel(), seed=1, photons=1e6) for rows in (slice(0, 5), slice(9, 14))
    ]
    with pytest.raises(DataError) as caught:
        refine(parts, **ENOUGH)
    assert caught.value.names == ("scans",)


@pytest.mark.rule("REF-051")
def test_another_object_is_refused():
    with pytest.raises(DataError) as caught:
        refine([scene(), scene(seed=4)], **ENOUGH)
    assert caught.value.names == ("scans",)


@pytest.mark.rule("REF-051")
@pytest.mark.parametrize(
    ("optics", "wrong"),
    [({"photon_energy_eV": 9100.0}, 3), ({"detector_object_distance_m": 2.1}, 2), ({"far_field": False}, 1)],
)
def test_another_grid_is_refused_before_any_work(optics, wrong):
    first = scene(optics=OPTICS)
    with pytest.raises(DataError) as caught:
        require_joinable([first, scene(optics={**OPTICS, **optics})])
    assert caught.value.names == ("scans",) * wrong
    require_joinable([first, scene(), scene(optics={**OPTICS, "photon_energy_eV": 9000.9})])


@pytest.mark.rule("REF-051")
def test_frames_of_another_size_are_refused():
    larger = simulate_scene("lines", N=48, grid=(3, 3), step_px=4.0, photons=1e5, seed=3)
    with pytest.raises(DataError) as caught:
        refine([scene(), larger], epochs=1)
    assert caught.value.names == ("scans",)


@pytest.mark.rule("REF-051")
def test_no_scan_and_thick_objects_are_refused():
    with pytest.raises(ConfigError):
        refine([])
    with pytest.raises(ConfigError) as caught:
        refine([scene(optics=OPTICS)] * 2, slices=2, slice_distance=1e-4)
    assert caught.value.fields == ("slices",)


def test_one_scan_in_a_list_is_that_scan():
    scan = scene()
    one, other = refine([scan], epochs=2), refine(scan, epochs=2)
    np.testing.assert_array_equal(one.object.object, other.object.object)
    assert one.scans == ()


@pytest.mark.rule("REF-050")
def test_an_interruption_keeps_what_belongs_to_each_scan():
    def progress(done, total, residual):
        if done == 3:
            raise KeyboardInterrupt

    first = scene()
    with pytest.raises(RefinementInterrupted) as caught:
        refine([first, again(first)], progress=progress, **ENOUGH)
    np.testing.assert_allclose(caught.value.result.scans[1].offset_px, OFFSET, atol=0.5)


class Kept(FrameStack):
    """Frames that are read when they are indexed."""

    def __init__(self, values):
        super().__init__()
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __getitem__(self, index):
        return self.values[index]

    def take(self, indices):
        return Kept(self.values[indices])

    def crop(self, N):
        raise TypeError


@pytest.mark.parametrize("lazy", [False, True])
def test_a_pixel_that_one_lacks_is_missing_in_all(lazy):
    first = scene()
    bad = np.zeros((32, 32), dtype=bool)
    bad[3, 4] = True
    second = replace(first, bad_pixels=bad, ceiling=np.full((32, 32), 99.0))
    if lazy:
        first = replace(first, diffraction=Kept(first.diffraction))
    whole = concatenated([first, second])
    assert isinstance(whole.diffraction, ConvertedFrames) == lazy
    np.testing.assert_array_equal(whole.bad_pixels, bad)
    assert whole.ceiling.max() == 99
    frames = np.asarray(whole.diffraction[[5, 70]])
    expected = np.stack([first.diffraction[5], second.diffraction[6]])
    np.testing.assert_array_equal(frames, np.where(bad, 0, expected))
    np.testing.assert_array_equal(whole.take([70]).diffraction[0], frames[1])
    assert whole.n_left_out == 0


@pytest.mark.rule("REF-050")
def test_an_offset_is_found_whatever_the_phase_ramp(rng):
    image = np.exp(1j * np.cumsum(rng.standard_normal((90, 80)), axis=0) * 0.3)
    y, x = np.mgrid[:90, :80]
    turned = 2j * image * np.exp(1j * (0.2 * y - 0.1 * x))

    def part(values, top, left):
        piece = values[top : top + 50, left : left + 50]
        return StitchedObject(object=piece, weight=np.ones(piece.shape), origin=np.array([10.0, 10.0]))

    found = register(part(image, 20, 20), part(turned, 5, 26), 500)
    np.testing.assert_allclose(found.offset_px, [-15, 6], atol=1e-3)
    np.testing.assert_allclose(found.ramp_rad_per_px, [0.2, -0.1], atol=1e-3)
    assert found.agreement > 0.999
    assert register(part(image, 20, 20), part(turned, 5, 26), 3000) is None


def test_a_beam_that_fell_elsewhere_on_the_detector_is_in_the_probe():
    first = scene()
    second = again(first)
    tilted = replace(second, diffraction=np.roll(second.diffraction, 2, axis=1))
    result = refine([first, tilted], **ENOUGH)
    assert (
        result.scans[1].forward_residual < 1.1 * refine([first, second], **ENOUGH).scans[1].forward_residual
    )
    problem = joined([first, tilted], [refine(scan, **ENOUGH).object for scan in (first, tilted)])
    ramp = problem.probes[1, 0] * first.probe[0].conj()
    assert np.angle((ramp[1:] * ramp[:-1].conj()).sum()) == pytest.approx(2 * np.pi * 2 / 32, rel=0.02)
