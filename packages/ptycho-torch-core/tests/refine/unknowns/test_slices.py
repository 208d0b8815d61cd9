"""Slices of a thick object: found, told apart, and one where they are thin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import ConfigError
from ptycho_torch.data.scan.geometry import NEEDED_ENTRIES
from ptycho_torch.data.scan.slices import between_slices
from ptycho_torch.data.simulation.scenes import OBJECTS, defocused_probe, object_shape, raster_positions
from ptycho_torch.data.simulation.simulate import expected_intensity, simulate_scan, simulate_scene
from ptycho_torch.errors import DataError
from ptycho_torch.metrics import compare
from ptycho_torch.refine import forward_residual, refine
from ptycho_torch.refine.held_out import judge
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.likelihood import Misfit
from ptycho_torch.refine.settings import config_of, epochs_of
from ptycho_torch.refine.step import batch_gradient

OPTICS = {
    "photon_energy_eV": 9000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_height_m": 75e-6,
    "detector_pixel_width_m": 75e-6,
}
THICK = 6e-4
FAR_APART = 1.2e-3
THIN = 1e-9


def thick_scan(distance, photons=1e6):
    positions = raster_positions((6, 6), step_px=4.0, jitter_px=1.0, start_px=(17.0, 17.0), seed=3)
    every = np.stack(
        [
            OBJECTS[scene](object_shape(positions, 32), seed=seed)
            for seed, scene in enumerate(("lines", "random_field"))
        ]
    )
    probe = defocused_probe(32)
    scan = simulate_scan(
        every, probe, positions, photons=photons, seed=1, optics=OPTICS, slice_distance_m=distance
    )
    return scan, every


def scores(scan, image, truth, weight):
    return compare(
        image, truth.astype(np.complex64), weight=weight.weight, origin=weight.origin,
        truth_origin=scan.object_truth_origin, probe_diameter=scan.N / 2, frc=False,
    ).scores  # fmt: skip


@pytest.mark.rule("REF-041")
def test_slices_are_told_apart():
    scan, every = thick_scan(THICK)
    result = refine(scan, slices=2, slice_distance=THICK, epochs=30)
    for number in (0, 1):
        own, other = (
            scores(scan, result.slices[number], every[which], result.object).complex_nrmse
            for which in (number, 1 - number)
        )
        assert own < 0.5 * other
    one = refine(scan, epochs=10)
    assert result.residuals[-1] < 0.8 * one.residuals[-1]
    np.testing.assert_allclose(result.object.object, result.slices.prod(axis=0), rtol=1e-4, atol=1e-5)
    told = forward_residual(scan, result.object, result.probe, slices=result.slices, slice_distance_m=THICK)
    assert told == pytest.approx(result.residuals[-1], rel=0.05)
    assert forward_residual(scan, result.object, result.probe) > 1.2 * told
    assert result.error_bars is None
    assert "2" in result.said["slices"]
    config = config_of(None, {"slices": 2, "slice_distance": THICK})
    assert not judge(scan, result.object, result.probe, config=config).is_told


@pytest.mark.rule("REF-041", "PHY-045")
def test_thin_slices_are_one():
    scan, every = thick_scan(THIN)
    near = between_slices(OPTICS, 32, THIN)
    several = expected_intensity(every, scan.probe, scan.positions, between=near)
    one = expected_intensity(every[0], scan.probe, scan.positions)
    assert several.shape == one.shape
    # At whole pixels a product of patches is the patch of the product.
    places = np.rint(scan.positions)
    product = expected_intensity(every.prod(axis=0), scan.probe, places)
    several = expected_intensity(every, scan.probe, places, between=near)
    assert np.abs(several - product).max() < 1e-5 * product.max()
    whole = simulate_scan(every.prod(axis=0), scan.probe, places, photons=1e6, seed=1, optics=OPTICS)
    single = refine(whole, epochs=20)
    split = refine(whole, epochs=20, slices=2, slice_distance=THIN)
    errors = [
        scores(whole, found.object.object, whole.object_truth, found.object).complex_nrmse
        for found in (single, split)
    ]
    assert errors[1] < 1.1 * errors[0]
    assert scores(whole, split.object.object, single.object.object, split.object).complex_nrmse < 0.02


@pytest.mark.rule("REF-041")
def test_a_wrong_distance_comes_back():
    scan, _ = thick_scan(FAR_APART)
    how = {"slices": 2, "epochs": 60, "warm_up": 5, "refine_slice_distance": True}
    result = refine(scan, slice_distance=0.85 * FAR_APART, **how)
    assert result.n_epochs == 60
    # It comes out late: by now half of what was wrong is gone.
    assert result.slice_distance_m == pytest.approx(FAR_APART, rel=0.5 * 0.15)
    fitted = {"slices": 2, "slice_distance": 1e-4, "refine_slice_distance": True}
    assert epochs_of(config_of(None, fitted)) == 200


@pytest.mark.rule("REF-041")
def test_gradients_are_those_of_automatic_differentiation():
    scan, every = thick_scan(THICK)[0].take([0, 9, 30]), np.arange(3)
    how = {"likelihood": "amplitude", "refine_probe": True, "warm_up": 0, "slices": 3, "slice_distance": 2e-4}
    solver = Iteration(scan, None, config_of(None, how), device=torch.device("cpu"), dtype=torch.complex128)
    unknowns, where = solver.unknowns, solver._placement(every)
    (slices,) = unknowns.others
    for unknown in unknowns:
        unknown.begin(0)
    rng = torch.Generator().manual_seed(1)
    leaves = []
    for unknown in (unknowns.object, unknowns.probe, slices):
        noise = torch.randn(unknown.value.shape, dtype=torch.complex128, generator=rng)
        unknown.value = unknown.value * (1.1 + 0.1 * noise)
        leaves.append(unknown.value.clone().requires_grad_())
    batch_gradient(unknowns, every, where, solver.frames, solver.batching, Misfit())
    light = where.light(leaves[1])
    for one in leaves[2]:
        light = slices.between.to_detector(where.cut(one)[:, None] * light)
    field = torch.fft.fft2(where.cut(leaves[0])[:, None] * light, norm="ortho")
    (field.abs().squeeze(1) - solver.frames.seen(every)[0].sqrt()).square().sum().backward()
    for unknown, leaf in zip((unknowns.object, unknowns.probe, slices), leaves, strict=True):
        torch.testing.assert_close(unknown.gradient, leaf.grad / 2)


@pytest.mark.rule("REF-041")
@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ({"slices": 2}, "slice_distance"),
        ({"slice_distance": 1e-4}, "slice_distance"),
        ({"slices": 2, "slice_distance": 1e-4, "refine_positions": True}, "refine_positions"),
        ({"slices": 2, "slice_distance": 1e-4, "smoothness": 0.1}, "smoothness"),
        ({"refine_slice_distance": True}, "refine_slice_distance"),
    ],
)
def test_settings_that_several_slices_do_not_know_are_refused(stated, name):
    with pytest.raises(ConfigError) as caught:
        config_of(None, stated)
    assert [problem.field for problem in caught.value.problems] == [name]


@pytest.mark.rule("REF-041")
def test_scans_that_several_slices_do_not_know_are_refused():
    scan = simulate_scene("lines", N=16, grid=(6, 6), step_px=3.0, jitter_px=0.5, optics=OPTICS)
    both = {"slices": 2, "slice_distance": 1e-4, "epochs": 1}
    cone = {**OPTICS, "far_field": False, "focus_object_distance_m": -0.02}
    for metadata, stated, names in (
        ({}, both, NEEDED_ENTRIES),
        (OPTICS, {**both, "slice_distance": 0.5}, ("slice_distance",)),
        (cone, both, ("focus_object_distance_m",)),
    ):
        with pytest.raises(DataError) as caught:
            refine(replace(scan, metadata=metadata), **stated)
        assert caught.value.names == names
    for method in ("thinning", "jackknife"):
        with pytest.raises(ConfigError) as refused:
            refine(scan, **both, error_bars=method)
        assert [problem.field for problem in refused.value.problems] == ["error_bars"]


def test_a_scene_of_slices_is_told_of():
    size = {"N": 16, "grid": (2, 2), "step_px": 3.0, "jitter_px": 0.5, "optics": OPTICS}
    scan = simulate_scene("lines", slices=2, slice_distance_m=1e-4, **size)
    assert (scan.metadata["slices"], scan.metadata["slice_distance_m"]) == (2, 1e-4)
    assert scan.object_truth.ndim == 2
    for wrong in ({"slices": 2}, {"slice_distance_m": 1e-4}):
        with pytest.raises(ValueError, match="slices"):
            simulate_scene("lines", **wrong, **size)


@pytest.mark.rule("REF-022")
def test_slices_keep_the_trend_of_the_doses():
    """Light spreads on its way from one to the next, so that frames tell a ramp of the last one."""
    scan, _ = thick_scan(THICK)
    fading = np.linspace(1.5, 0.5, scan.n_frames)[:, None, None]
    scan = replace(scan, diffraction=np.rint(np.asarray(scan.diffraction) * fading).astype(np.float32))
    settings = {"slices": 2, "slice_distance": THICK, "refine_dose": True, "refine_probe": True}
    result = refine(scan, epochs=15, error_bars="none", **settings)
    assert result.others["dose"].std() > 0.1
    assert "left to" not in result.said["dose"]
