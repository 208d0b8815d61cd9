"""Frames whose beam lies beside the middle are refined as fast as others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.diagnosis.evidence import far_field
from ptycho_torch.refine import refine
from ptycho_torch.refine.held_out import judge
from ptycho_torch.refine.tilt import flat, tilt_of


def shifted(scan, by):
    return replace(scan, diffraction=np.roll(scan.diffraction, by, axis=(1, 2)), statistics=None)


@pytest.mark.parametrize("photons", [50, 1e4, 1e6])
@pytest.mark.parametrize("name", ["lines", "natural", "random_field"])
def test_only_a_beam_that_lies_beside_the_middle_tilts_the_start(name, photons):
    scan = simulate_scene(name, N=32, grid=(8, 8), step_px=5.0, photons=photons, seed=1)
    assert tilt_of(scan) == (0, 0)
    assert tilt_of(shifted(scan, (1, 0))) == (1, 0)
    assert tilt_of(shifted(scan, (3, -5))) == (3, -5)


def test_pixels_that_are_not_measured_do_not_matter():
    scan = shifted(simulate_scene("natural", N=32, grid=(8, 8), step_px=5.0, seed=1), (2, -1))
    bad = np.zeros((32, 32), dtype=bool)
    bad[:, 14:18] = bad[15:17] = True
    frames = np.where(bad, 0, scan.diffraction)
    assert tilt_of(replace(scan, diffraction=frames, bad_pixels=bad)) == (2, -1)


@pytest.mark.rule("REF-024")
def test_the_same_epochs_end_at_the_same_residual_and_the_result_is_not_doubted():
    # At whole pixels: between them, the interpolation of the object weakens a ramp.
    scan = simulate_scene("natural", N=32, grid=(10, 10), step_px=4.0, jitter_px=0.0, photons=1e5, seed=3)
    beside = shifted(scan, (-1, 3))
    one, other = (refine(some, epochs=20, tolerance=0) for some in (scan, beside))
    assert other.residuals == pytest.approx(one.residuals, rel=0.02)
    # The two objects differ by the ramp.
    found = other.object
    ramp = flat(found.object.shape, found.origin, (-1, 3), 32)
    lit = found.weight > 0.2 * found.weight.max()
    difference = (found.object * ramp.conj())[lit] - one.object.object[lit]
    assert np.linalg.norm(difference) < 0.05 * np.linalg.norm(one.object.object[lit])
    assert not judge(beside, found, beside.probe, config=RefineConfig()).is_bad


def test_an_object_that_is_given_is_left_as_it_is():
    scan = shifted(simulate_scene("lines", N=32, grid=(8, 8), step_px=4.0, seed=3), (2, 0))
    made = refine(scan, epochs=10, tolerance=0)
    again = refine(scan, made.object, epochs=1, tolerance=0)
    assert again.residuals[0] < 1.1 * made.residuals[-1]


@pytest.mark.rule("REF-024")
def test_where_the_light_of_the_probe_is_not_measured_nothing_is_tilted():
    # As where it fills the counters: the frames show the last of the scattered light alone.
    scan = simulate_scene("natural", N=32, grid=(6, 6), step_px=5.0, photons=1e7, seed=2)
    mean = scan.diffraction.mean(axis=0)
    bad = mean > 1e-5 * mean.max()
    assert far_field(scan.probe)[~bad].sum() < 1e-6 * far_field(scan.probe).sum()
    assert tilt_of(replace(scan, diffraction=np.where(bad, 0, scan.diffraction), bad_pixels=bad)) == (0, 0)
