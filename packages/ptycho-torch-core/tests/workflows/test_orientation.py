"""The orientation of a scan in every job, in its record and in the bundle."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ptycho_config import OrientationConfig
from ptycho_torch.bundle import read_manifest
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.config_factory.refinement import create_refinement_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.scan.orientation import oriented
from ptycho_torch.workflows import infer, refine_scan, train

TURN = {"transpose_frames": True, "flip_frames": "rows", "swap_axes": True, "flip_x": True, "flip_y": True,
        "position_scale": 1.25}  # fmt: skip
SMALL = {"nepochs": 1, "batch_size": 8, "n_filters_scale": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_scan):
    """The scan as it is, and turned before it was written."""
    folder = tmp_path_factory.mktemp("turned")
    save_scan(folder / "plain.npz", tiny_scan)
    save_scan(folder / "turned.npz", oriented(tiny_scan, OrientationConfig(**TURN)))
    return folder / "plain.npz", folder / "turned.npz"


@pytest.mark.rule("DATA-101")
def test_every_job_turns_what_it_reads(tmp_path, files, cpu):
    plain, turned = files
    train(create_training_payload(plain, tmp_path / "run", {**SMALL, **TURN}, cpu()))
    train(create_training_payload(turned, tmp_path / "same", SMALL, cpu()))
    assert read_manifest(tmp_path / "run").configuration["orientation"] == TURN
    record = json.loads((tmp_path / "run" / "resolved_config.json").read_text())
    assert record["values"]["orientation"] == TURN

    # The bundle says how the scans of its training were turned; nobody has to say it again.
    payload = create_inference_payload(tmp_path / "run", plain, tmp_path / "result", None, cpu())
    assert payload.orientation_config == OrientationConfig(**TURN)
    assert sum(any(note.startswith(f"{name}: ") for name in TURN) for note in payload.notes) == len(TURN)
    ours = infer(payload).reconstruction.object
    theirs = infer(create_inference_payload(tmp_path / "same", turned, tmp_path / "other", None, cpu()))
    np.testing.assert_array_equal(ours, theirs.reconstruction.object)

    refined = [
        refine_scan(create_refinement_payload(path, tmp_path / name, {"refine_epochs": 1, **how}, cpu()))
        for path, name, how in ((plain, "a", TURN), (turned, "b", {}))
    ]
    np.testing.assert_array_equal(*(outcome.result.object.object for outcome in refined))


@pytest.mark.rule("DATA-101")
def test_what_is_stated_outranks_the_orientation_of_the_bundle(tmp_path, files, cpu):
    plain, _ = files
    train(create_training_payload(plain, tmp_path / "run", {**SMALL, "flip_x": True}, cpu()))
    stated = {"flip_x": False, "flip_frames": "rows"}
    payload = create_inference_payload(tmp_path / "run", plain, tmp_path / "result", stated, cpu())
    assert payload.orientation_config == OrientationConfig(flip_frames="rows")
    assert [note.partition(":")[0] for note in payload.notes] == ["flip_frames", "flip_x"]
