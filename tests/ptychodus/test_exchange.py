"""Files that go from one program to the other predict the same frames in both, to the half pixel."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from driving import environment, reconstructed, trained
from ptychodus.api.diffraction import (
    DiffractionDatasetLayoutNode,
    DiffractionMetadata,
    SimpleDiffractionArray,
    SimpleDiffractionDataset,
)
from ptychodus.api.geometry import ImageExtent, PixelGeometry
from ptychodus.api.interpolate import BarycentricArrayInterpolator
from ptychodus.api.io import (
    load_diffraction_data,
    load_product,
    save_diffraction_data,
    save_product,
    save_ptychopinn_training_data,
    save_training_data,
)
from ptychodus.api.reconstruct import prepare_reconstruct_input
from ptychodus.plugins.cxi_file import CXIDiffractionFileWriter, CXIProductFileIO

from ptycho_torch.data.convert import write_scan
from ptycho_torch.data.hdf5.product import save_product as save_our_product
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.physics.residual import residual_of_pairs
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.residual import forward_residual

NOISE = 1.05
"""Residual beyond that of the truth that rounding may make; half a pixel makes it several times as large."""


def _as_dataset(prepared, world):
    """The frames as the writer of ptychodus for CXI takes them."""
    with h5py.File(world / "diffraction.h5") as file:
        pixels = file["patterns"].attrs
        pixel = PixelGeometry(pixels["detector_pixel_width_m"], pixels["detector_pixel_height_m"])
    patterns, known = prepared.diffraction_patterns, prepared.product.metadata
    metadata = DiffractionMetadata(
        (len(patterns),), patterns.dtype, ImageExtent(*reversed(patterns.shape[1:])),
        detector_distance_m=known.detector_distance_m, detector_pixel_geometry=pixel,
        photon_energy_eV=known.photon_energy_eV,
    )  # fmt: skip
    array = SimpleDiffractionArray("frames", np.arange(len(patterns)), patterns)
    return SimpleDiffractionDataset(metadata, DiffractionDatasetLayoutNode.create_root(), [array])


def _written(layout, folder, world, prepared):
    """What ptychodus writes in one of its layouts; the path that a user gives here."""
    if layout == "pair":
        save_diffraction_data(folder / "diffraction.h5", load_diffraction_data(world / "diffraction.h5"))
        save_product(folder / "product.h5", prepared.product)
        return folder
    if layout == "CXI":
        CXIDiffractionFileWriter().write(folder / "diffraction.cxi", _as_dataset(prepared, world))
        CXIProductFileIO().write(folder / "product.cxi", prepared.product)
        return folder / "diffraction.cxi"
    path = folder / ("exported.npz" if layout == "NPZ" else "exported.h5")
    (save_ptychopinn_training_data if layout == "NPZ" else save_training_data)(path, prepared)
    return path


def _prepared(folder):
    data = load_diffraction_data(folder / "diffraction.h5")
    return prepare_reconstruct_input(data, load_product(folder / "product.h5"))


@pytest.mark.parametrize("layout", ["pair", "training HDF5", "NPZ", "CXI"])
def test_the_object_of_its_files_explains_the_frames_here(layout, world, tmp_path):
    made, folder = world(known=True, photons=1e7).folder, tmp_path / "files"
    folder.mkdir()
    prepared = _prepared(made)
    scan = open_scan(_written(layout, folder, made, prepared))
    image = prepared.product.object_.get_layer(0)
    # Coordinates of such a scan are indices into the object of its file.
    known = StitchedObject(object=image, weight=np.ones(image.shape), origin=np.zeros(2))
    found, half, other = (
        forward_residual(replace(scan, positions=scan.positions + shift), known) for shift in (0.0, -0.5, 0.5)
    )
    assert found < 0.5 * min(half, other)


def _residual_there(product, frames):
    """What the patch code of ptychodus predicts for frames (n, N, N), compared with them."""
    layer = product.object_.get_layer(0).astype(np.complex128)
    probe = product.probes.get_probe_no_opr().get_array()
    geometry = product.object_.get_geometry()
    where = product.probe_positions
    xs = geometry.map_probe_positions_to_object_x_px(where)
    ys = geometry.map_probe_positions_to_object_y_px(where)
    cut = BarycentricArrayInterpolator(layer)
    size = frames.shape[-1]
    patches = np.stack([cut.get_patch(x, y, size, size) for x, y in zip(xs, ys, strict=True)])
    waves = np.fft.fft2(np.fft.ifftshift(patches[:, None] * probe, axes=(-2, -1)), norm="ortho")
    light = np.fft.fftshift((np.abs(waves) ** 2).sum(axis=1), axes=(-2, -1))
    pair = (torch.from_numpy(light), torch.from_numpy(frames.astype(np.float64)))
    return residual_of_pairs(lambda: iter([pair]))


@pytest.fixture
def ours():
    """A scan of ours with its truth, and the residual that the truth leaves."""
    scan = simulate_scene("lines", N=32, grid=(6, 6), step_px=4.0, jitter_px=1.0, photons=1e6, seed=3)
    scan = replace(
        scan,
        metadata=scan.metadata
        | {"photon_energy_eV": 1e4, "detector_object_distance_m": 1.0}
        | dict.fromkeys(("detector_pixel_height_m", "detector_pixel_width_m"), 75e-6),
    )
    truth = StitchedObject(
        object=scan.object_truth, weight=np.ones(scan.object_truth.shape), origin=scan.object_truth_origin
    )
    return scan, truth, forward_residual(scan, truth)


def test_our_reconstruction_predicts_the_frames_there(ours, tmp_path):
    scan, truth, least = ours
    path = tmp_path / "reconstruction.h5"
    save_our_product(
        path, truth, probe=scan.probe, positions=scan.positions, metadata=scan.metadata, losses=(3.0, 2.0)
    )
    product = load_product(path)
    assert _residual_there(product, np.asarray(scan.diffraction)) < NOISE * least
    assert [entry.value for entry in product.losses] == [3.0, 2.0]


def test_our_pair_is_the_same_scan_there(ours, tmp_path):
    scan, truth, least = ours
    write_scan(tmp_path / "pair", scan, format="ptychodus")
    prepared = _prepared(tmp_path / "pair")
    np.testing.assert_array_equal(prepared.diffraction_patterns, scan.diffraction)
    # The pair carries no object; with the truth beside them, its positions fit the frames.
    path = tmp_path / "truth.h5"
    save_our_product(path, truth, probe=scan.probe, positions=scan.positions, metadata=scan.metadata)
    with_truth = load_product(path)
    for name in ("x_m", "y_m"):
        here, there = (
            np.array([getattr(point, name) for point in product.probe_positions])
            for product in (prepared.product, with_truth)
        )
        # Both name the middle of the same patches; where zero lies is free.
        np.testing.assert_allclose(here - here[0], there - there[0], rtol=0, atol=1e-13)
    here = replace(with_truth, probe_positions=prepared.product.probe_positions)
    assert _residual_there(here, prepared.diffraction_patterns) < NOISE * least


def _by_our_command_line(source: Path, folder: Path, run: Path) -> Path:
    """Train and reconstruct with the settings of a run of ptychodus; the product."""
    program, settings = Path(sys.executable).with_name("ptycho-torch"), run / "resolved_config.json"
    model, result = folder / "model", folder / "result"
    for line in (
        ("train", "--train-data-file", source, "--output-dir", model, "--config", settings),
        ("infer", "--model-path", model, "--test-data", source, "--output-dir", result),
    ):
        done = subprocess.run(
            [str(part) for part in (program, *line, "--accelerator", "cpu", "--quiet")],
            capture_output=True, text=True, env=environment(folder.parent),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return result / "reconstruction.h5"


@pytest.mark.long
def test_our_own_command_line_gives_the_same(world, ptychodus, compared, tmp_path):
    made = world()
    run, _ = trained(ptychodus, made, tmp_path / "out", epochs=1)
    moved, error, flat = reconstructed(ptychodus, compared, made, tmp_path / "rec", run)
    own_moved, own_error, own_flat = compared(made, _by_our_command_line(made.folder, tmp_path / "own", run))
    assert np.abs(own_moved - moved).max() <= 0.05
    assert own_error / own_flat == pytest.approx(error / flat, rel=0.1)
