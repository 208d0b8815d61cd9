"""What moves all frames together: found, taken out, said in words, and nothing where nothing is wrong."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.refine import forward_residual, refine
from ptycho_torch.refine.iteration import Iteration

STRETCHED = Faults(scan_stretch_y=0.03, scan_stretch_x=-0.02, scan_rotation_deg=1.0, scan_shear=0.01)
DRIFTED = Faults(drift_px=2.0)


@functools.cache
def scan_with(faults, scene="lines", side=8):
    return simulate_scene(
        scene, N=32, grid=(side, side), step_px=5.0, jitter_px=1.0, photons=1e6, seed=11, faults=faults
    )


def off_px(positions, faults):
    """How far positions are from the true ones (rms), beside a common shift."""
    off = positions - scan_with(Faults()).positions
    return np.sqrt(((off - off.mean(axis=0)) ** 2).sum(axis=1).mean())


@pytest.mark.rule("REF-025")
@pytest.mark.parametrize("likelihood", ["poisson", "amplitude"])
def test_a_stretched_and_turned_scan_comes_back(error_of, likelihood):
    scan, how = scan_with(STRETCHED), {"epochs": 40, "likelihood": likelihood, "error_bars": "none"}
    clean = error_of(scan, refine(scan_with(Faults()), **how))
    faulty = error_of(scan, refine(scan, **how))
    result = refine(scan, refine_geometry=True, **how)
    assert faulty > 2 * clean
    assert faulty - error_of(scan, result) > 0.8 * (faulty - clean)
    assert off_px(result.positions, STRETCHED) < 0.1 * off_px(scan.positions, STRETCHED)
    found = result.geometry
    assert found is not None
    assert found.scale_y == pytest.approx(1.03, abs=2e-3)
    assert found.scale_x == pytest.approx(0.98, abs=2e-3)
    assert found.rotation_deg == pytest.approx(1.0, abs=0.1)
    assert found.shear == pytest.approx(0.01, abs=2e-3)
    assert result.said["geometry"].startswith("steps longer by +")


@pytest.mark.rule("REF-026")
def test_a_drift_comes_back(error_of):
    scan, how = scan_with(DRIFTED), {"epochs": 40, "error_bars": "none"}
    clean, faulty = (error_of(scan, refine(one, **how)) for one in (scan_with(Faults()), scan))
    lit = replace(scan, metadata={**scan.metadata, **METRES})
    result = refine(lit, refine_drift=True, **how)
    assert faulty - error_of(scan, result) > 0.8 * (faulty - clean)
    assert off_px(result.positions, DRIFTED) < 0.1
    assert np.abs(result.drift - DRIFTED.drift(scan.n_frames, 11)).max() < 0.3
    assert result.said["drift"].endswith(" nm")
    assert result.geometry is None


METRES = {
    "photon_energy_eV": 9000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_height_m": 75e-6,
    "detector_pixel_width_m": 75e-6,
}


@pytest.mark.rule("REF-025", "REF-026")
def test_a_scan_as_stated_stays(error_of):
    scan, how = scan_with(Faults()), {"epochs": 30, "error_bars": "none"}
    result = refine(scan, refine_geometry=True, refine_drift=True, **how)
    assert off_px(result.positions, Faults()) < 0.05
    assert error_of(scan, result) < 1.1 * error_of(scan, refine(scan, **how))


@pytest.mark.rule("REF-025")
def test_where_every_frame_moves_the_map_is_what_they_have_in_common():
    result = refine(scan_with(STRETCHED), epochs=30, refine_geometry=True, refine_positions=True)
    assert off_px(result.positions, STRETCHED) < 0.1
    assert result.geometry.scale_y == pytest.approx(1.03, abs=3e-3)
    assert result.geometry.rotation_deg == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    "others",
    [
        {"sub_pixel": "probe"},
        {"refine_probe": True, "probe_modes": 2},
        {"refine_dose": True, "refine_background": "smooth"},
    ],
)
def test_it_is_found_beside_the_other_unknowns(others):
    result = refine(
        scan_with(STRETCHED), epochs=24, refine_geometry=True, refine_drift=True, error_bars="none", **others
    )
    assert off_px(result.positions, STRETCHED) < 0.5 * off_px(scan_with(STRETCHED).positions, STRETCHED)


def test_a_few_wrong_frames_do_not_decide():
    scan = scan_with(STRETCHED)
    positions = scan.positions.copy()
    positions[::9] += np.random.default_rng(1).normal(0, 3, positions[::9].shape)
    found = refine(replace(scan, positions=positions), epochs=24, refine_geometry=True).geometry
    assert found.scale_y == pytest.approx(1.03, abs=0.012)
    assert found.scale_x == pytest.approx(0.98, abs=0.012)


def test_the_object_is_shown_where_its_frames_are():
    scan = scan_with(Faults(scan_stretch_y=0.08, scan_stretch_x=0.08))
    result = refine(scan, epochs=40, refine_geometry=True)
    height, _ = result.object.object.shape
    assert height > refine(scan, epochs=1).object.object.shape[0]
    told = forward_residual(replace(scan, positions=result.positions), result.object, result.probe)
    assert told == pytest.approx(result.residuals[-1], rel=0.05)
    assert result.error_bars.sigma.shape == result.object.object.shape


def test_a_scan_that_is_off_by_more_than_allowed_says_so():
    result = refine(
        scan_with(Faults(scan_stretch_y=0.3, scan_stretch_x=0.3)), epochs=25, refine_geometry=True
    )
    assert result.said["moved"].startswith("as far as allowed")


def test_the_less_it_moves_the_fewer_epochs_look_at_it():
    scan = scan_with(Faults())
    config = RefineConfig(refine_geometry=True, refine_warm_up=0)
    iteration = Iteration(scan, None, config, device=torch.device("cpu"), dtype=torch.complex64)
    (unknown,) = iteration.unknowns.others
    assert not iteration.unknowns.beside_places
    begun = []
    for epoch in range(12):
        unknown.begin(epoch)
        begun.append(unknown.moving)
        if unknown.moving:
            # Nobody said anything: it does not move.
            unknown.settle()
    assert begun == [epoch % 5 == 0 for epoch in range(12)]
