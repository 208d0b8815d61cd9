"""Two solutions that share no photon: the noise between them, and what they agree on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.data.scan.contract import DomainDecision
from ptycho_torch.data.scan.lazy import FrameStack
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.metrics import compare
from ptycho_torch.refine import RefinementInterrupted, refine
from ptycho_torch.refine.error_bars.thinning import halves
from ptycho_torch.testing import tiny_scene


class Stack(FrameStack):
    """Frames of an array, as if they lay in a file."""

    def __init__(self, frames):
        super().__init__()
        self.frames, self.shape, self.dtype = frames, frames.shape, frames.dtype

    def __getitem__(self, index):
        return self.frames[index]

    def take(self, indices):
        return Stack(self.frames[np.asarray(indices)])

    def crop(self, N):
        return Stack(self.frames[:, :N, :N])


@pytest.fixture(scope="module")
def counts():
    return tiny_scene(grid=(3, 3), photons=2e4, noise=True)


@pytest.mark.rule("REF-019")
def test_the_halves_add_up_and_are_independent(counts):
    first, second = (half.diffraction for half in halves(counts, seed=1))
    np.testing.assert_array_equal(first + second, counts.diffraction)
    assert first.dtype == counts.diffraction.dtype
    # Of a binomial half the variance is a quarter of the count.
    whole = counts.diffraction.astype(float)
    departure = (first - whole / 2)[whole > 0] / np.sqrt(whole[whole > 0] / 4)
    assert departure.mean() == pytest.approx(0, abs=0.05)
    assert departure.std() == pytest.approx(1, abs=0.03)
    np.testing.assert_array_equal(halves(counts, seed=1)[0].diffraction, first)
    assert (halves(counts, seed=2)[0].diffraction != first).any()


@pytest.mark.rule("REF-019")
def test_frames_in_a_file_are_halved_when_they_are_read(counts):
    lazy = replace(counts, diffraction=Stack(counts.diffraction))
    for stack, array in zip(halves(lazy, seed=1), halves(counts, seed=1), strict=True):
        assert isinstance(stack.diffraction, FrameStack)
        np.testing.assert_array_equal(stack.diffraction[[4, 2]], array.diffraction[[4, 2]])
        np.testing.assert_array_equal(stack.take([5, 1]).diffraction[1:], array.diffraction[[1]])
        np.testing.assert_array_equal(stack.diffraction[3], array.diffraction[3])


def test_counts_at_the_ceiling_stay_unmeasured_in_both(counts):
    limit = np.quantile(counts.diffraction, 0.999)
    scan = replace(counts, ceiling=np.full((counts.N, counts.N), limit))
    for half in halves(scan, seed=1):
        np.testing.assert_array_equal(half.measured(half.diffraction), scan.measured(scan.diffraction))


@pytest.mark.rule("REF-019")
@pytest.mark.parametrize("likelihood", ["poisson", "amplitude"])
@pytest.mark.parametrize(("scene", "photons"), [("natural", 1e6), ("random_field", 1e5)])
def test_thinning_measures_the_error(scan_of, scene, photons, likelihood):
    """On the mean over scans: of one, the part of the error that no noise makes decides."""
    sigmas, errors, within = [], [], []
    for seed in (1, 2, 3):
        scan = scan_of(scene, photons=photons, seed=seed)
        result = refine(scan, epochs=60, error_bars="thinning", likelihood=likelihood)
        found, bars = result.object, result.error_bars
        told = compare(
            found.object, scan.object_truth, weight=found.weight, origin=found.origin, frc=False,
            truth_origin=scan.object_truth_origin, probe_diameter=probe_diameter(scan.probe),
            sigmas=bars.sigmas(),
        ).coverage["sigma_thinning"]  # fmt: skip
        sigmas.append(told.rms_sigma**2)
        errors.append(told.rms_error**2)
        within.append(told.within_one)
        assert bars.resolution.half_period_px("half_bit") <= bars.resolution.half_period_px("0.5")
        assert np.isinf(bars.measured[bars.null_space]).all()
        assert [name for name, _ in bars.lines(found.object)] == ["shot noise", "thinning", "resolution"]
    assert np.mean(sigmas) ** 0.5 == pytest.approx(np.mean(errors) ** 0.5, rel=0.25)
    assert 0.45 < np.mean(within) < 0.75


@pytest.mark.rule("REF-020")
def test_fewer_counts_resolve_less(scan_of):
    few, many = (
        refine(scan_of("random_field", photons=dose), epochs=30, error_bars="thinning").error_bars.resolution
        for dose in (1e4, 1e6)
    )
    assert few.half_period_px("half_bit") > 1.2 * many.half_period_px("half_bit")
    told = json.loads(json.dumps(replace(few, pixel_m=2e-9).to_dict()))["criteria"]
    assert list(told) == ["half_bit", "1_bit", "0.5"]
    for entry in told.values():
        assert entry["half_period_px"] == pytest.approx(0.5 / entry["crossing_cycles_per_px"])
        assert entry["half_period_m"] == pytest.approx(2e-9 * entry["half_period_px"])


def test_it_goes_with_a_probe_that_is_fitted(scan_of):
    scan = scan_of("natural", photons=1e6, modes=(0.8, 0.2))
    bars = refine(scan, epochs=30, error_bars="thinning", refine_probe=True, refine_positions=True).error_bars
    seen = ~bars.null_space
    assert np.isfinite(bars.measured[seen]).all()
    assert 0.5 < np.median(bars.measured[seen] / bars.sigma[seen]) < 10


@pytest.mark.rule("REF-019")
@pytest.mark.parametrize(
    "wrong",
    [
        {"domain": DomainDecision(domain="amplitude", stated=True, reason="", is_whole=False)},
        {"diffraction": "fractions"},
        {"diffraction": "multiples"},
    ],
)
def test_what_is_no_count_of_photons_is_refused(counts, wrong):
    values = {"fractions": counts.diffraction * np.float32(0.3), "multiples": counts.diffraction * 4}
    changed = {
        name: values.get(value, value) if isinstance(value, str) else value for name, value in wrong.items()
    }
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("error_bars",)):
        refine(replace(counts, **changed), epochs=1, error_bars="thinning")


def test_an_interruption_of_the_further_solutions_keeps_the_result(counts):
    class Listener:
        def __call__(self, done, total, measured=None):
            pass

        def stage(self, name, unit):
            def stop(done, total, measured=None):
                raise KeyboardInterrupt

            return stop

    whole = refine(counts, epochs=2)
    with pytest.raises(RefinementInterrupted) as stop:
        refine(counts, epochs=2, error_bars="thinning", progress=Listener())
    np.testing.assert_array_equal(stop.value.result.object.object, whole.object.object)
    assert stop.value.result.error_bars.method == "shot"


def test_too_small_an_object_has_no_resolution():
    scan = tiny_scene(grid=(2, 2), step_px=2.0, photons=1e5, noise=True)
    bars = refine(scan, epochs=2, error_bars="thinning").error_bars
    assert bars.resolution is None
    assert np.isfinite(bars.measured[~bars.null_space]).all()
