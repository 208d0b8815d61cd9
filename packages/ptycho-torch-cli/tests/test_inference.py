from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch_cli.inference import main


def test_a_run_leaves_its_files_and_prints_the_scores(
    scan_file: Path, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result"
    argv = ["--model_path", str(model_dir), "--test_data", str(scan_file), "--output_dir", str(output)]
    assert main([*argv, "--accelerator", "cpu", "--inference-batch-size", "8"]) == 0
    out, err = capsys.readouterr()
    names = {path.name for path in output.iterdir()}
    assert {"reconstruction.npz", "amplitude.png", "phase.png", "metrics.json", "report.html"} <= names
    assert "reconstruction.npz" in out
    assert "complex normalised RMSE" in out
    assert "flat" in out
    assert "30/30 patterns" in err
    with np.load(output / "reconstruction.npz") as archive:
        assert archive["object"].dtype == np.complex64
    record = json.loads((output / "resolved_config.json").read_text())
    assert record["command"][:2] == ["ptycho-torch", "infer"]


def test_without_truth_there_is_no_table(
    edited_scan, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result"
    argv = ["--model-path", str(model_dir), "--test-data", str(edited_scan(objectGuess=None))]
    assert main([*argv, "--output-dir", str(output), "--accelerator", "cpu", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert "RMSE" not in out
    assert err == ""
    written = json.loads((output / "metrics.json").read_text())
    assert "scores" not in written
    assert not written["verdict"]["is_bad"]


def test_dry_run_takes_the_network_from_the_bundle(
    scan_file: Path, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--model-path", str(model_dir), "--test-data", str(scan_file), "--dry-run", "--middle-trim", "8"]
    assert main([*argv, "--output-dir", str(tmp_path / "result")]) == 0
    out = capsys.readouterr().out
    assert "N = 32  [data:" in out
    assert "middle_trim = 8  [cli]  over default=0" in out
    assert list(tmp_path.iterdir()) == []


def test_missing_settings_are_listed_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    err = capsys.readouterr().err
    assert "--model-path" in err
    assert "--test-data-file" in err


def test_missing_files_are_listed_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = str(tmp_path / "gone")
    assert main(["--model-path", gone, "--test-data", gone, "--config", gone]) == 2
    assert "3 problems" in capsys.readouterr().err
