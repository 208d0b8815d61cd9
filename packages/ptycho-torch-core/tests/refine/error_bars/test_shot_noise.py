"""What shot noise leaves in an object, as it is told beforehand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ptycho_torch.data.scan.contract import DomainDecision
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.data.summary import probe_diameter
from ptycho_torch.metrics import compare
from ptycho_torch.physics.placement_bilinear import BilinearRows
from ptycho_torch.physics.placement_moved_probe import MovedProbe
from ptycho_torch.refine import refine
from ptycho_torch.refine.error_bars import shot_noise
from ptycho_torch.refine.error_bars.shot_noise import relative_variance


def coverage(scan, result):
    found = result.object
    return compare(
        found.object, scan.object_truth, weight=found.weight, origin=found.origin, frc=False,
        truth_origin=scan.object_truth_origin, probe_diameter=probe_diameter(scan.probe),
        sigmas=result.error_bars.sigmas(),
    ).coverage["sigma"]  # fmt: skip


@pytest.mark.rule("REF-017")
@pytest.mark.parametrize("scene", ["lines", "natural"])
def test_it_tells_the_error(scan_of, scene):
    scan = scan_of(scene, photons=1e6)
    found = coverage(scan, refine(scan, epochs=60))
    assert 0.55 < found.within_one < 0.7
    assert found.rms_sigma == pytest.approx(found.rms_error, rel=0.1)


@pytest.mark.rule("REF-017")
@pytest.mark.parametrize(
    ("likelihood", "modes"), [("amplitude", (1.0,)), ("poisson", (0.8, 0.2)), ("amplitude", (0.8, 0.2))]
)
def test_it_comes_near_the_error_where_it_is_a_bound_only(scan_of, likelihood, modes):
    """The amplitude misfit does not reach the bound, and modes hide more of each other than their share."""
    scan = scan_of("lines", photons=1e6, modes=modes)
    found = coverage(scan, refine(scan, epochs=60, likelihood=likelihood))
    assert 0.7 < found.rms_error / found.rms_sigma < 1.5


@pytest.mark.rule("REF-017")
def test_it_falls_with_the_root_of_the_dose(scan_of):
    weak, strong = (refine(scan_of(photons=dose), epochs=2).error_bars.sigma for dose in (1e4, 1e6))
    lit = np.isfinite(strong)
    assert np.median(weak[lit] / strong[lit]) == pytest.approx(10, rel=0.02)


class Light:
    """Unknowns of which only the light matters."""

    def __init__(self, probe):
        self.probe = SimpleNamespace(value=probe)

    def light(self, where, frames):
        return where.light(self.probe.value)


def test_interpolation_raises_the_variance_as_much_as_the_inverse_says(rng, monkeypatch):
    """Against the diagonal of the inverse of the whole information matrix, in the middle of a flat beam."""
    size, n_frames, side = 12, 60, 26
    positions = torch.from_numpy(rng.uniform(size / 2, side - size / 2 - 1, (n_frames, 2)))
    where = BilinearRows(positions, size, (side, side), dtype=torch.float64)
    light = torch.ones(1, size, size, dtype=torch.complex128)
    basis = torch.eye(side**2, dtype=torch.complex128).reshape(-1, side, side)
    cuts = torch.stack([where.cut(pixel).real.reshape(-1) for pixel in basis])
    expected = torch.linalg.pinv(cuts @ cuts.T).diagonal().reshape(side, side)
    middle = np.s_[10:16, 10:16]
    # Here fields are known with their phases.
    monkeypatch.setattr(shot_noise, "_redundancy", torch.ones_like)
    variance = relative_variance(Light(light), where)
    np.testing.assert_allclose(variance[middle], expected[middle], rtol=0.1)
    summed = where.add(torch.ones(n_frames, size, size, dtype=torch.float64))
    assert float((variance * summed)[middle].mean()) > 2


@pytest.mark.parametrize("count", [4, 7])
def test_lost_phases_cost_as_much_as_random_halves_do(rng, count):
    """Against the inverse of a sum of projectors on random halves of a space."""
    size = 300
    total = np.zeros((size, size))
    for _ in range(count):
        half = np.linalg.qr(rng.normal(size=(size, size // 2)))[0]
        total += 2 * half @ half.T
    mean = np.trace(np.linalg.inv(total)) / size
    frames = torch.tensor([float(count)])
    assert float(shot_noise._redundancy(frames) / count) == pytest.approx(mean, rel=0.05)


@pytest.mark.parametrize("kind", [BilinearRows, MovedProbe])
def test_without_interpolation_the_light_alone_decides(kind):
    shift = 0.0 if kind is BilinearRows else 0.3
    positions = torch.tensor([[5.0, 5.0], [7.0, 6.0]], dtype=torch.float64) + shift
    where = kind(positions, 4, (16, 16), dtype=torch.float64)
    light = Light(torch.ones(1, 4, 4, dtype=torch.complex128))
    variance = relative_variance(light, where)
    lit = where.add(torch.ones(2, 4, 4, dtype=torch.float64))
    # Fewer than three frames: those that are there tell half of what they would with their phases.
    np.testing.assert_allclose(variance[lit > 0], 2 / lit[lit > 0], rtol=1e-12)
    assert bool(variance[lit == 0].isinf().all())


def test_a_mode_speaks_with_its_share_of_the_light():
    modes = torch.zeros(2, 4, 4, dtype=torch.complex128)
    modes[0, :2], modes[1, 2:] = 3.0, 1.0
    where = BilinearRows(torch.tensor([[5.0, 5.0]], dtype=torch.float64), 4, (16, 16), dtype=torch.float64)
    variance = relative_variance(Light(modes), where)
    strong, weak = variance[3, 3], variance[6, 3]
    assert float(strong) == pytest.approx(2 / (0.9 * 9))
    assert float(weak) == pytest.approx(2 / 0.1)


@pytest.mark.rule("REF-018")
def test_where_the_frames_say_nothing_is_flagged(scan_of):
    result = refine(scan_of(), epochs=2)
    light, bars = result.object.weight, result.error_bars
    limit = bars.null_share * np.median(light[light > 0])
    np.testing.assert_array_equal(bars.null_space, light <= limit)
    assert 0 < bars.null_space.mean() < 1
    assert np.isinf(bars.sigma[light == 0]).all()
    assert np.isfinite(bars.sigma[light > 0]).all()


@pytest.mark.rule("REF-017")
def test_amplitudes_of_unknown_dose_have_none(scan_of):
    domain = DomainDecision(domain="amplitude", stated=True, reason="a test", is_whole=False)
    assert refine(replace(scan_of(), domain=domain), epochs=1).error_bars is None


def test_nothing_else_changes_with_them(scan_of):
    bare, told = (refine(scan_of(), epochs=2, error_bars=kind) for kind in ("none", "shot"))
    assert bare.error_bars is None
    assert told.error_bars is not None
    np.testing.assert_array_equal(bare.object.object, told.object.object)


def test_a_summary_has_medians_over_what_was_seen():
    scan = simulate_scene("lines", N=32, grid=(4, 4), step_px=4.0, photons=1e5, seed=1)
    result = refine(scan, epochs=2)
    bars, image = result.error_bars, result.object.object
    told = bars.summary(image)
    seen = ~bars.null_space
    assert told["medians"]["sigma"]["object"] == pytest.approx(np.median(bars.sigma[seen]))
    assert told["null_space"]["n_pixels"] == np.count_nonzero(~seen)
    assert [name for name, _ in bars.lines(image)] == ["shot noise"]
