"""One scan in every format: trained on and reconstructed alike, and written as a product."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.config_factory.refinement import create_refinement_payload
from ptycho_torch.data.convert import convert
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.scan.geometry import ScanGeometry
from ptycho_torch.errors import DataError
from ptycho_torch.workflows import evaluate, infer, refine_scan, train
from ptycho_torch.workflows.jobs.preparation import prepare_training

OPTICS = {
    "photon_energy_eV": 9000.0,
    "detector_object_distance_m": 2.0,
    "detector_pixel_width_m": 75e-6,
    "detector_pixel_height_m": 75e-6,
}
NAMES = {"npz": "scan.npz", "cxi": "scan.cxi", "ptychodus-training": "training.h5", "ptychodus": "pair"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory, tiny_scan):
    """The tiny scan with its geometry, in every format."""
    folder = tmp_path_factory.mktemp("formats")
    path = folder / NAMES["npz"]
    save_scan(path, replace(tiny_scan, metadata={**tiny_scan.metadata, **OPTICS}))
    made = {"npz": path}
    for format in ("cxi", "ptychodus-training", "ptychodus"):
        made[format] = convert(path, folder / NAMES[format], format)
    return made


def _train_and_infer(source, folder, **overrides):
    cpu = PyTorchExecutionConfig(accelerator="cpu")
    settings = {"nepochs": 2, "batch_size": 8, "n_filters_scale": 1, **overrides}
    train(create_training_payload(source, folder / "run", settings, cpu))
    return infer(create_inference_payload(folder / "run", source, folder / "result", None, cpu))


@pytest.fixture(scope="module")
def from_npz(tmp_path_factory, sources):
    return _train_and_infer(sources["npz"], tmp_path_factory.mktemp("npz"))


@pytest.mark.rule("DATA-009")
@pytest.mark.parametrize("format", ["cxi", "ptychodus-training", "ptychodus"])
def test_every_format_gives_the_object_of_the_npz_file(tmp_path, sources, from_npz, format):
    outcome = _train_and_infer(sources[format], tmp_path)
    ours, theirs = outcome.reconstruction, from_npz.reconstruction
    np.testing.assert_array_equal(ours.origin, theirs.origin)
    np.testing.assert_array_equal(ours.object, theirs.object)
    np.testing.assert_array_equal(ours.weight, theirs.weight)


def test_groups_of_a_file_that_is_read_lazily(tmp_path, sources):
    lazy = _train_and_infer(sources["ptychodus"], tmp_path / "lazy", gridsize=2)
    loaded = _train_and_infer(sources["npz"], tmp_path / "loaded", gridsize=2)
    np.testing.assert_array_equal(lazy.reconstruction.object, loaded.reconstruction.object)


@pytest.mark.parametrize("format", ["ptychodus", "cxi", "ptychodus-training"])
def test_sizes_come_from_the_headers(tmp_path, sources, format):
    made = create_training_payload(sources[format], tmp_path / "run")
    assert made.training_config.model.N == 32
    assert made.training_config.n_groups == 30
    assert made.provenance["N"].layer == "data"


@pytest.mark.rule("DATA-015")
def test_frames_without_a_position_are_not_counted(tmp_path, sources):
    shutil.copytree(sources["ptychodus"], tmp_path / "pair")
    with h5py.File(tmp_path / "pair" / "product.h5", "a") as file:
        for name in ("probe_position_indexes", "probe_position_x_m", "probe_position_y_m"):
            kept = file[name][3:]
            del file[name]
            file[name] = kept
        # Written by ourselves, it holds the exact pixels too, which belong to all frames.
        if "ptycho_torch" in file:
            del file["ptycho_torch"]
    assert read_scan_header(tmp_path / "pair").n_frames == 27
    made = create_training_payload(tmp_path / "pair", tmp_path / "run")
    assert made.training_config.n_groups == open_scan(tmp_path / "pair").n_frames == 27


def _numbered(path, group, numbers, *, places):
    """Leave the first positions only, and number them; what was stored exactly belongs to all of them."""
    with h5py.File(path, "a") as file:
        for name in places:
            kept = file[name][: len(numbers)]
            del file[name]
            file[name] = kept
        del file[f"{group}probe_position_indexes"]
        file[f"{group}probe_position_indexes"] = numbers
        for own in ("ptycho_torch", "entry_1/ptycho_torch"):
            if own in file:
                del file[own]


def _pair_with_empty_slots(sources, folder):
    shutil.copytree(sources["ptychodus"], folder)
    numbers = np.arange(30)
    numbers[::10] = -1
    with h5py.File(folder / "diffraction.h5", "a") as file:
        file["indexes"][...] = numbers
    _numbered(folder / "product.h5", "", numbers, places=("probe_position_x_m", "probe_position_y_m"))
    return folder


def _cxi_without_some_positions(sources, folder):
    folder.mkdir()
    path = folder / "scan.cxi"
    shutil.copy(sources["cxi"], path)
    places = ("entry_1/sample_1/geometry_1/translation",)
    _numbered(path, "entry_1/ptychodus/", np.arange(27), places=places)
    return path


@pytest.mark.rule("DATA-018")
@pytest.mark.parametrize("make", [_pair_with_empty_slots, _cxi_without_some_positions])
def test_header_and_reader_count_the_same_frames(tmp_path, sources, make, cpu):
    path = make(sources, tmp_path / "scan")
    header, scan = read_scan_header(path), open_scan(path)
    assert header.n_frames == scan.n_frames == 27
    made = create_training_payload(path, tmp_path / "run", {"nepochs": 1, "n_filters_scale": 1}, cpu())
    assert made.training_config.n_groups == 27
    assert len(prepare_training(made.task).train) + len(prepare_training(made.task).validation) == 27


@pytest.mark.rule("DATA-018")
@pytest.mark.parametrize("format", ["npz", "cxi", "ptychodus-training", "ptychodus"])
def test_photons_are_a_fact_whatever_the_format(tmp_path, sources, format):
    path = convert(sources["npz"], tmp_path / NAMES[format], format, metadata={"nphotons": 4321.0})
    made = create_training_payload(path, tmp_path / "run")
    assert made.training_config.nphotons == 4321.0
    assert made.provenance["nphotons"].layer == "data"


def test_photons_of_a_foreign_product_are_a_fact(tmp_path, sources):
    shutil.copytree(sources["ptychodus"], tmp_path / "pair")
    with h5py.File(tmp_path / "pair" / "product.h5", "a") as file:
        del file["ptycho_torch"]
        file.attrs["probe_photon_count"] = 777.0
    assert create_training_payload(tmp_path / "pair", tmp_path / "run").training_config.nphotons == 777.0


@pytest.mark.parametrize("format", ["cxi", "ptychodus-training", "ptychodus"])
def test_an_object_in_a_scan_of_any_format_is_evaluated_with_its_probe(sources, format, tiny_scan):
    ours, theirs = (evaluate(sources[name], sources["npz"]).report for name in (format, "npz"))
    assert ours.scores == theirs.scores
    assert ours.to_dict() == theirs.to_dict()


READER = Path(__file__).parents[1] / "data" / "toy_format.py"


@pytest.mark.rule("DATA-019")
def test_a_reader_file_serves_every_job(tmp_path, sources, from_npz, cpu):
    scan = convert(sources["npz"], tmp_path / "scan.toy", reader=READER)
    with pytest.raises(DataError):
        create_training_payload(scan, tmp_path / "run")
    settings = {"nepochs": 2, "batch_size": 8, "n_filters_scale": 1, "reader": READER}
    train(create_training_payload(scan, tmp_path / "run", settings, cpu()))
    payload = create_inference_payload(tmp_path / "run", scan, tmp_path / "result", {"reader": READER}, cpu())
    outcome = infer(payload)
    np.testing.assert_array_equal(outcome.reconstruction.object, from_npz.reconstruction.object)
    refined = create_refinement_payload(
        scan, tmp_path / "refined", {"refine_epochs": 1, "reader": READER}, cpu(), start_file=scan
    )
    assert refine_scan(refined).result.n_epochs == 1
    report = evaluate(outcome.output_dir / "reconstruction.npz", scan, reader=READER).report
    assert report.scores == evaluate(outcome.output_dir / "reconstruction.npz", sources["npz"]).report.scores
    # The record of a run names the reader, so that it can be repeated.
    again = create_training_payload(
        None, tmp_path / "again", None, cpu(), config_file=tmp_path / "run" / "resolved_config.json"
    )
    assert again.training_config.reader == READER


def test_a_reader_that_is_not_there_is_missed_at_once(tmp_path, sources, trained, cpu):
    stated = {"reader": tmp_path / "gone.py"}
    for make in (
        lambda: create_training_payload(sources["npz"], tmp_path / "run", stated, cpu()),
        lambda: create_inference_payload(trained.output_dir, sources["npz"], tmp_path / "r", stated, cpu()),
        lambda: create_refinement_payload(sources["npz"], tmp_path / "r", stated, cpu()),
    ):
        with pytest.raises(FileNotFoundError, match="reader"):
            make()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_a_scan_is_refused_in_words(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(DataError, check=lambda error: error.names[0] == "" and error.source == tmp_path):
        create_training_payload(tmp_path, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="no such file or directory"):
        create_training_payload(tmp_path / "absent", tmp_path / "run")


@pytest.mark.rule("RUN-007")
def test_the_product_holds_the_reconstruction_in_metres(from_npz, sources, tiny_scan):
    path = from_npz.output_dir / "reconstruction.h5"
    assert path in from_npz.files
    geometry = ScanGeometry.from_entries(OPTICS, 32)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["object"][0], from_npz.reconstruction.object)
        np.testing.assert_array_equal(file["ptycho_torch/weight"][()], from_npz.reconstruction.weight)
        metres = np.stack([file["probe_position_y_m"][()], file["probe_position_x_m"][()]], axis=1)
        np.testing.assert_allclose(metres, geometry.middles_m(tiny_scan.positions, tiny_scan.N), rtol=1e-12)
        assert file.attrs["photon_energy_eV"] == 9000.0
        assert file["probe"].shape == (1, 1, 32, 32)


def test_the_product_of_a_refinement_holds_its_losses(tmp_path, sources, cpu):
    made = create_refinement_payload(
        sources["npz"], tmp_path / "refined", {"refine_epochs": 3, "refine_tolerance": 0.0}, cpu()
    )
    outcome = refine_scan(made)
    with h5py.File(tmp_path / "refined" / "reconstruction.h5") as file:
        np.testing.assert_allclose(file["loss_values"][()], outcome.result.residuals)
        assert file["loss_epochs"][()].tolist() == [0, 1, 2]


def test_the_product_opens_beside_the_frames(tmp_path, from_npz, sources, tiny_scan):
    shutil.copy(sources["ptychodus"] / "diffraction.h5", tmp_path / "diffraction.h5")
    shutil.copy(from_npz.output_dir / "reconstruction.h5", tmp_path / "product.h5")
    scan = open_scan(tmp_path)
    np.testing.assert_array_equal(scan.object_truth, from_npz.reconstruction.object)
    # Index into the object is what counts: the same patch lies under the same frame.
    ours = scan.positions + scan.object_truth_origin
    np.testing.assert_allclose(ours, tiny_scan.positions + from_npz.reconstruction.origin, atol=1e-6)


@pytest.mark.rule("RUN-007")
def test_without_geometry_one_line_says_why_there_is_no_product(inference, caplog):
    caplog.set_level("INFO", logger="ptycho_torch")
    outcome = infer(inference())
    lines = [text for text in caplog.messages if "reconstruction.h5" in text]
    assert len(lines) == 1
    assert "photon_energy_eV, detector_object_distance_m, detector_pixel_height_m" in lines[0]
    assert not (outcome.output_dir / "reconstruction.h5").exists()


def test_an_older_product_does_not_outlive_its_reconstruction(tmp_path, sources, trained, tiny_scan_file):
    cpu = PyTorchExecutionConfig(accelerator="cpu")
    place = tmp_path / "result"
    infer(create_inference_payload(trained.output_dir, sources["npz"], place, None, cpu))
    assert (place / "reconstruction.h5").exists()
    infer(create_inference_payload(trained.output_dir, tiny_scan_file, place, None, cpu), overwrite=True)
    assert not (place / "reconstruction.h5").exists()
