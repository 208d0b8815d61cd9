"""`ptycho-torch infer` as scripts call it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from ptycho_torch_cli.__main__ import main
from ptycho_torch_cli.inference import main as inference_main

QUICK = ["--accelerator", "cpu", "--quiet"]


class TestRun:
    def test_files_and_what_is_in_them(self, bundle_dir, scan_file, scan, trained, tmp_path):
        folder = tmp_path / "out"
        arguments = [
            "--model_path",
            str(bundle_dir),
            "--test_data",
            str(scan_file),
            "--output_dir",
            str(folder),
        ]
        assert inference_main([*arguments, *QUICK]) == 0
        names = {"reconstruction.npz", "amplitude.png", "phase.png", "metrics.json", "resolved_config.json"}
        assert names <= {path.name for path in folder.iterdir()}
        with np.load(folder / "reconstruction.npz") as saved:
            assert {"object", "weight", "origin", "positions", "probe", "configuration"} <= set(saved.files)
            assert saved["object"].dtype == np.complex64
            # The command adds nothing to what the call gives and takes nothing away.
            expected = trained[2]["reconstruction"]
            np.testing.assert_allclose(saved["object"], expected.object, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(saved["positions"], scan.positions)
        assert "complex_nrmse" in json.loads((folder / "metrics.json").read_text())["scores"]

    @pytest.mark.rule("BUN-011")
    @pytest.mark.parametrize("form", ["directory", "file", "extracted"])
    def test_every_form_of_a_model_path(self, bundle_dir, scan_file, tmp_path, form):
        if form == "extracted":
            shutil.unpack_archive(bundle_dir / "wts.h5.zip", tmp_path / "extracted")
        place = {
            "directory": bundle_dir,
            "file": bundle_dir / "wts.h5.zip",
            "extracted": tmp_path / "extracted",
        }[form]
        arguments = ["--model-path", str(place), "--test-data", str(scan_file)]
        assert main(["infer", *arguments, "--output-dir", str(tmp_path / "out"), *QUICK]) == 0
        assert (tmp_path / "out" / "reconstruction.npz").is_file()

    def test_execution_flags_arrive(self, bundle_dir, scan_file, tmp_path):
        arguments = ["--model-path", str(bundle_dir), "--test-data", str(scan_file)]
        flags = ["--inference-batch-size", "9", "--middle-trim", "16", "--n_images", "12"]
        assert main(["inference", *arguments, "--output-dir", str(tmp_path / "out"), *QUICK, *flags]) == 0
        values = json.loads((tmp_path / "out" / "resolved_config.json").read_text())["values"]
        assert values["execution"]["inference_batch_size"] == 9
        assert values["execution"]["middle_trim"] == 16
        with np.load(tmp_path / "out" / "reconstruction.npz") as saved:
            assert len(saved["positions"]) == 12

    def test_the_network_comes_from_the_bundle(self, bundle_dir, scan_file, tmp_path, capsys):
        arguments = ["--model-path", str(bundle_dir), "--test-data", str(scan_file)]
        assert main(["infer", *arguments, "--output-dir", str(tmp_path / "out"), "--dry-run", *QUICK]) == 0
        assert "n_filters_scale = 1  [data" in capsys.readouterr().out
        assert not (tmp_path / "out").exists()


class TestExitCodes:
    def test_a_model_that_is_not_there_is_two(self, scan_file, tmp_path, capsys):
        arguments = ["--model-path", str(tmp_path / "absent"), "--test-data", str(scan_file)]
        assert main(["infer", *arguments, "--output-dir", str(tmp_path / "out"), *QUICK]) == 2
        assert "absent" in capsys.readouterr().err

    @pytest.mark.parametrize("damage", ["truncated", "foreign", "empty folder"])
    def test_a_model_that_cannot_be_used_is_one_line_and_writes_nothing(
        self, bundle_dir, scan_file, tmp_path, capsys, damage
    ):
        place = tmp_path / "model"
        place.mkdir()
        content = (bundle_dir / "wts.h5.zip").read_bytes()
        if damage != "empty folder":
            (place / "wts.h5.zip").write_bytes(content[:-500] if damage == "truncated" else b"holiday")
        arguments = ["--model-path", str(place), "--test-data", str(scan_file)]
        assert main(["infer", *arguments, "--output-dir", str(tmp_path / "out"), *QUICK]) == 1
        error = capsys.readouterr().err
        assert error.startswith("ptycho-torch infer: ")
        assert "Traceback" not in error
        assert not (tmp_path / "out").exists()

    def test_another_backend_is_two(self, bundle_dir, scan_file, tmp_path, capsys):
        arguments = [
            "--model-path",
            str(bundle_dir),
            "--test-data",
            str(scan_file),
            "--backend",
            "tensorflow",
        ]
        assert main(["infer", *arguments, "--output-dir", str(tmp_path / "out"), *QUICK]) == 2
        assert "backend" in capsys.readouterr().err
