"""Positions, probe and optics that lie elsewhere in every job, in its record and in the bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.bundle import read_manifest
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.config_factory.refinement import create_refinement_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.errors import DataError
from ptycho_torch.workflows import infer, refine_scan, train

SMALL = {"nepochs": 1, "batch_size": 8, "n_filters_scale": 1}
PIXEL_M = 2.5e-8


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_scan):
    """The scan whole, and its frames, positions and probe in files of their own."""
    folder = tmp_path_factory.mktemp("parts")
    save_scan(folder / "whole.npz", tiny_scan)
    np.save(folder / "frames.npy", np.asarray(tiny_scan.diffraction))
    np.savetxt(folder / "places.csv", tiny_scan.positions[:, ::-1], delimiter=",", fmt="%.17g")
    np.save(folder / "more.npy", np.asarray(tiny_scan.diffraction))
    np.save(folder / "probe.npy", tiny_scan.probe)
    stated = {"positions": folder / "places.csv", "position_unit": "px", "pixel_size": PIXEL_M,
              "probe": folder / "probe.npy"}  # fmt: skip
    return folder, stated


@pytest.mark.rule("DATA-104")
def test_every_job_reads_the_parts_that_it_is_told_of(tmp_path, files, cpu):
    folder, stated = files
    frames, whole = folder / "frames.npy", folder / "whole.npz"
    train(create_training_payload(frames, tmp_path / "run", {**SMALL, **stated}, cpu()))
    train(create_training_payload(whole, tmp_path / "same", SMALL, cpu()))
    plain = {name: value if isinstance(value, str | float) else str(value) for name, value in stated.items()}
    kept = read_manifest(tmp_path / "run").configuration["parts"]
    assert {name: kept[name] for name in stated} == plain
    record = json.loads((tmp_path / "run" / "resolved_config.json").read_text())
    assert {name: record["values"]["parts"][name] for name in stated} == plain

    # Another scan has other positions: what the training was told is noted and not taken over.
    alone = create_inference_payload(tmp_path / "run", frames, tmp_path / "result", None, cpu())
    with pytest.raises(DataError, check=lambda error: error.source == frames and "parts" in error.names):
        infer(alone)
    payload = create_inference_payload(tmp_path / "run", whole, tmp_path / "result", None, cpu())
    assert any("places.csv" in note for note in payload.notes)
    payload = create_inference_payload(tmp_path / "run", frames, tmp_path / "result", stated, cpu())
    assert not any("places.csv" in note for note in payload.notes)
    ours = infer(payload).reconstruction.object
    theirs = infer(create_inference_payload(tmp_path / "same", whole, tmp_path / "other", None, cpu()))
    np.testing.assert_array_equal(ours, theirs.reconstruction.object)

    refined = [
        refine_scan(create_refinement_payload(path, tmp_path / name, {"refine_epochs": 1, **how}, cpu()))
        for path, name, how in ((frames, "a", stated), (whole, "b", {}))
    ]
    np.testing.assert_array_equal(*(outcome.result.object.object for outcome in refined))


def test_positions_in_a_file_of_their_own_belong_to_one_scan(files, tmp_path, cpu):
    folder, stated = files
    with pytest.raises(ConfigError) as caught:
        create_training_payload(
            [folder / "frames.npy", folder / "more.npy"], tmp_path / "run", {**SMALL, **stated}, cpu()
        )
    assert caught.value.problems[0].field == "positions"


def test_a_part_that_is_not_there_is_named(files, tmp_path, cpu):
    folder, stated = files
    for name in ("positions", "probe"):
        gone = {**stated, name: folder / "gone.npy"}
        for create, path in (
            (create_training_payload, "frames.npy"),
            (create_refinement_payload, "frames.npy"),
        ):
            with pytest.raises(FileNotFoundError, match=f"{name}: .*gone"):
                create(folder / path, tmp_path / "run", gone, cpu())
