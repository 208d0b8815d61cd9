"""The commands themselves, killed while they put results in place, and followed by others in one folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ptycho_torch_cli.__main__ import main


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    """The folder of a training, with its records."""
    shutil.copytree(model_dir, tmp_path / "run")
    return tmp_path / "run"


def _kill(path: Path, count: int, words: list[str]) -> None:
    worker = Path(__file__).with_name("killed_command.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    run = subprocess.run(
        [sys.executable, str(worker), str(path), str(count), *words],
        capture_output=True, text=True, env=environment, timeout=200, check=False,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL, run.stderr


def _infer(folder: Path, scan: Path, *more: str) -> list[str]:
    words = ["infer", "--model-path", str(folder), "--test-data", str(scan), "--output-dir", str(folder)]
    return [*words, "--accelerator", "cpu", "--quiet", *more]


@pytest.mark.rule("RUN-047", "RUN-057")
def test_a_reconstruction_killed_while_it_replaces_one_survives_a_training(
    folder: Path, scan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_infer(folder, scan_file)) == 0
    trained = (folder / "wts.h5.zip").read_bytes()
    before = (folder / "reconstruction.npz").read_bytes()
    # The first of the names is replaced, the second is not.
    words = _infer(folder, scan_file, "--overwrite", "--middle-trim", "8")
    _kill(folder / "amplitude.png", 1, words)
    new = (folder / "reconstruction.npz").read_bytes()
    assert new != before
    assert (folder / "incomplete-infer" / "amplitude.png").is_file()
    argv = ["train", "--train-data-file", str(scan_file), "--output-dir", str(folder), "--quiet"]
    assert main([*argv, "--accelerator", "cpu"]) == 2
    assert "wts.h5.zip" in capsys.readouterr().err
    assert (folder / "reconstruction.npz").read_bytes() == new
    assert (folder / "wts.h5.zip").read_bytes() == trained
    assert not (folder / "incomplete-infer").exists()
    settings = json.loads((folder / "resolved_config-infer.json").read_text())
    assert "8" in settings["command"]
    assert json.loads((folder / "resolved_config.json").read_text())["command"][1] == "train"


@pytest.mark.rule("RUN-047", "RUN-057")
def test_a_training_killed_while_it_replaces_one_survives_an_evaluation(
    folder: Path, scan_file: Path, tmp_path: Path
) -> None:
    assert main([*_infer(folder, scan_file), "--output-dir", str(tmp_path / "result")]) == 0
    argv = ["train", "--train-data-file", str(scan_file), "--output-dir", str(folder), "--quiet"]
    argv += ["--accelerator", "cpu", "--nepochs", "1", "--n-groups", "16", "--overwrite"]
    before = (folder / "wts.h5.zip").read_bytes()
    _kill(folder / "resolved_config.json", 1, argv)
    new = (folder / "wts.h5.zip").read_bytes()
    assert new != before
    result = str(tmp_path / "result" / "reconstruction.npz")
    assert main(["evaluate", result, str(scan_file), "--output-dir", str(folder)]) == 0
    assert (folder / "wts.h5.zip").read_bytes() == new
    record = json.loads((folder / "resolved_config.json").read_text())
    assert "--overwrite" in record["command"]
    assert {"metrics.json", "frc.png", "checkpoints", "logs"} <= {path.name for path in folder.iterdir()}
    assert not (folder / "incomplete-train").exists()
