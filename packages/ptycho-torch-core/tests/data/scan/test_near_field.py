"""The near field of a scan: what metadata say of it, and who refuses it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import PartsConfig
from ptycho_torch.data.convert import write_scan
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.reading import read_scan
from ptycho_torch.data.scan.geometry import ScanGeometry
from ptycho_torch.data.scan.near_field import near_field_of
from ptycho_torch.data.simulation.simulate import expected_intensity, simulate_scene
from ptycho_torch.errors import DataError

FAR = {
    "photon_energy_eV": 9000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_height_m": 75e-6,
    "detector_pixel_width_m": 75e-6,
}
NEAR = {**FAR, "far_field": False, "focus_object_distance_m": -0.02}
SMALL = {"N": 32, "grid": (5, 5), "step_px": 4.0, "photons": 1e5, "seed": 1}


@pytest.fixture(scope="module")
def scan():
    return simulate_scene("random_field", **SMALL, optics=NEAR)


def width_after(width_m, radius_m, distance_m, length_m):
    """Width of a gaussian beam some way on, by its complex parameter (Kogelnik and Li 1966)."""
    inverse = (0 if math.isinf(radius_m) else 1 / radius_m) + 1j * length_m / (math.pi * width_m**2)
    q = 1 / inverse + distance_m
    return math.sqrt(length_m / (math.pi * (1 / q).imag))


@pytest.mark.rule("DATA-117")
def test_a_cone_beam_is_a_parallel_one_on_smaller_pixels():
    optics = near_field_of(NEAR, 64)
    geometry = ScanGeometry.from_entries(NEAR, 64)
    assert optics.pixel_m == geometry.object_pixel_m == pytest.approx((75e-6 / 101,) * 2)
    assert optics.distance_m == pytest.approx(0.02 * 2.0 / 2.02)
    # A beam that diverges from the focus and one that does not, seen on either detector.
    waist, length = 3e-6, optics.wavelength_m
    cone, parallel = (
        -width_after(waist, radius, -distance, length)
        if distance < 0
        else width_after(waist, radius, distance, length)
        for radius, distance in ((0.02, 2.0), (math.inf, optics.distance_m))
    )
    assert cone / 75e-6 == pytest.approx(parallel / optics.pixel_m[0], rel=1e-9)
    flat = near_field_of({**NEAR, "focus_object_distance_m": 0.0, "detector_object_distance_m": 0.01}, 64)
    assert (flat.pixel_m, flat.distance_m) == ((75e-6, 75e-6), 0.01)
    assert near_field_of(FAR, 64) is None
    assert near_field_of({**NEAR, "far_field": True}, 64) is None


@pytest.mark.rule("DATA-117")
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"photon_energy_eV": None}, ("photon_energy_eV",)),
        ({"focus_object_distance_m": 0.5}, ("focus_object_distance_m",)),
        ({"focus_object_distance_m": "near"}, ("focus_object_distance_m",)),
        # Half a millimetre: detail spreads over more than the frame.
        ({"focus_object_distance_m": -5e-4}, ("far_field",)),
        # Light with a wavelength of a millimetre on pixels of less than a micrometre.
        ({"photon_energy_eV": 1.2e-3}, ("far_field",)),
    ],
)
def test_a_near_field_that_cannot_be_is_refused(changes, names):
    with pytest.raises(DataError) as caught:
        near_field_of({**NEAR, **changes}, 64)
    assert caught.value.names == names


@pytest.mark.rule("DATA-117")
@pytest.mark.parametrize("target", ["scan.npz", "folder"])
def test_a_near_field_comes_back_from_its_files(target, scan, tmp_path):
    write_scan(tmp_path / target, scan)
    found = open_scan(tmp_path / target)
    assert found.metadata.items() >= NEAR.items()
    np.testing.assert_allclose(found.positions, scan.positions, atol=1e-9)
    assert not [finding.name for finding in found.findings if finding.found]


@pytest.mark.rule("DATA-117")
def test_a_product_alone_tells_of_the_near_field(scan, tmp_path):
    h5py = pytest.importorskip("h5py")
    write_scan(tmp_path / "folder", scan)
    with h5py.File(tmp_path / "folder/product.h5", "a") as file:
        # As ptychodus writes it, without what this program keeps beside it and without the object pixel.
        del file["ptycho_torch"], file["object"].attrs["pixel_height_m"]
    found = open_scan(tmp_path / "folder")
    assert found.metadata["far_field"] is False
    assert ScanGeometry.from_entries(found.metadata, 32).object_pixel_m == pytest.approx((75e-6 / 101,) * 2)
    np.testing.assert_allclose(found.positions - found.positions[0], scan.positions - scan.positions[0])


@pytest.mark.rule("DATA-117")
def test_the_near_field_may_be_stated(scan, tmp_path):
    bare = replace(scan, metadata={"photon_energy_eV": 9000.0})
    write_scan(tmp_path / "bare.npz", bare)
    parts = PartsConfig(propagation="near", focus_distance=0.02, distance=2.0, detector_pixel=75e-6)
    found = open_scan(tmp_path / "bare.npz", parts=parts)
    assert near_field_of(found.metadata, 32) == near_field_of(scan.metadata, 32)
    write_scan(tmp_path / "near.npz", scan)
    assert (
        near_field_of(open_scan(tmp_path / "near.npz", parts=PartsConfig(propagation="far")).metadata, 32)
        is None
    )


@pytest.mark.rule("DATA-118")
def test_who_knows_the_far_field_only_refuses(scan, tmp_path):
    write_scan(tmp_path / "near.npz", scan)
    how = {"measurement_domain": "auto", "nphotons": 1e6}
    for target in ("scan.cxi", "scan.h5", "scan.nxs"):
        with pytest.raises(DataError) as caught:
            write_scan(tmp_path / target, scan)
        assert caught.value.names == ("far_field",)
        assert not (tmp_path / target).exists()
    for n_pixels in (32, 16):
        with pytest.raises(DataError) as caught:
            read_scan(tmp_path / "near.npz", n_pixels=n_pixels, **how)
        assert caught.value.names == ("far_field",)
    assert read_scan(tmp_path / "near.npz", n_pixels=None, **how).N == 32


def test_the_simulator_shows_a_shadow_at_once_and_fringes_further_on(scan):
    # Right behind the sample the light of every pixel is that of probe times object.
    close = near_field_of({**NEAR, "detector_object_distance_m": 1e-12}, 32)
    places = np.array([[20.0, 24.0]])
    shadow = expected_intensity(scan.object_truth, scan.probe, places, near_field=close)[0]
    exit_wave = scan.probe[0] * scan.object_truth[4:36, 8:40]
    np.testing.assert_allclose(shadow, np.abs(exit_wave) ** 2, atol=1e-6 * shadow.max())
    further = near_field_of(NEAR, 32)
    fringes = expected_intensity(scan.object_truth, scan.probe, places, near_field=further)[0]
    assert np.abs(fringes - shadow).max() > 0.1 * shadow.max()
    assert fringes.sum() == pytest.approx(shadow.sum())
