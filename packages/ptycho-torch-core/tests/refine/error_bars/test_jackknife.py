"""Solutions without a part of the frames each, and how far they are from each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.data.scan.contract import DomainDecision
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.metrics import compare
from ptycho_torch.refine import refine
from ptycho_torch.refine.error_bars.jackknife import N_GROUPS, groups


@pytest.fixture(scope="module")
def clean():
    return simulate_scene("natural", N=32, grid=(9, 9), step_px=5.0, jitter_px=1.0, photons=1e6, seed=3)


def looks(scan, result):
    found = result.object
    return compare(
        found.object, scan.object_truth, weight=found.weight, origin=found.origin, frc=False,
        truth_origin=scan.object_truth_origin, probe_diameter=probe_diameter(scan.probe),
        sigmas=result.error_bars.sigmas(),
    ).coverage  # fmt: skip


@pytest.mark.rule("REF-021")
def test_groups_hold_every_frame_once_and_are_spread(clean):
    parts = groups(clean)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(clean.n_frames))
    assert len(parts) == N_GROUPS
    spread = clean.positions.std(axis=0)
    for part in parts:
        assert (clean.positions[part].std(axis=0) > 0.7 * spread).all()


@pytest.mark.rule("REF-021")
@pytest.mark.parametrize("likelihood", ["poisson", "amplitude"])
def test_the_jackknife_sees_what_shot_noise_does_not(clean, likelihood):
    """On a right model both tell the error; with wrong positions shot noise knows nothing of it."""
    shaken = clean.positions + np.random.default_rng(0).normal(0, 0.15, clean.positions.shape)
    wrong = replace(clean, positions=shaken)
    for scan, is_right in ((clean, True), (wrong, False)):
        result = refine(scan, epochs=60, error_bars="jackknife", likelihood=likelihood)
        told = looks(scan, result)
        assert told["sigma_jackknife"].rms_sigma == pytest.approx(told["sigma_jackknife"].rms_error, rel=0.45)
        assert (told["sigma"].within_one > 0.4) is is_right
        assert told["sigma_jackknife"].within_one > 0.55
        times = result.error_bars.summary(result.object.object)["times_shot_noise"]
        assert (times > 2) is not is_right


def test_it_goes_with_probe_modes_and_positions_that_are_fitted(clean):
    bars = refine(
        clean, epochs=20, error_bars="jackknife", refine_probe=True, probe_modes=2, refine_positions=True
    ).error_bars
    seen = ~bars.null_space
    assert np.isfinite(bars.measured[seen]).all()
    assert np.isinf(bars.measured[~seen]).all()
    assert bars.resolution is None
    assert bars.method == "jackknife"


@pytest.mark.rule("REF-021")
def test_few_frames_and_an_unknown_dose_are_refused(clean):
    domain = DomainDecision(domain="amplitude", stated=True, reason="", is_whole=False)
    for scan in (clean.take(np.arange(20)), replace(clean, domain=domain)):
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("error_bars",)):
            refine(scan, epochs=1, error_bars="jackknife")
