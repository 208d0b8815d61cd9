"""Every command that makes an object says what it is worth, and fails when that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch_cli import inference, refine, train

COMMANDS = {
    "train": (train.main, ["--train-data-file", "SCAN", "--nepochs", "1", "--n-filters-scale", "1"]),
    "infer": (inference.main, ["--model-path", "MODEL", "--test-data", "SCAN"]),
    "refine": (refine.main, ["--data", "SCAN", "--epochs", "5"]),
}


@pytest.fixture
def shuffled(scan_file: Path, tmp_path: Path) -> Path:
    """Frames and positions that do not belong together."""
    with np.load(scan_file) as archive:
        arrays = dict(archive)
    order = np.random.default_rng(0).permutation(len(arrays["xcoords"]))
    arrays |= {name: arrays[name][order] for name in ("xcoords", "ycoords")}
    np.savez(tmp_path / "wrong.npz", **arrays)
    return tmp_path / "wrong.npz"


@pytest.mark.drawn
@pytest.mark.rule("RUN-090")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_result_that_explains_nothing_is_said_and_fails_when_strict(
    command: str, shuffled: Path, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main, words = COMMANDS[command]
    names = {"SCAN": str(shuffled), "MODEL": str(model_dir)}
    argv = [*(names.get(word, word) for word in words), "--accelerator", "cpu", "--quiet"]
    assert main([*argv, "--output-dir", str(tmp_path / "a")]) == 0
    assert main([*argv, "--output-dir", str(tmp_path / "b"), "--strict"]) == 1
    out = capsys.readouterr().out
    for folder in ("a", "b"):
        left = tmp_path / folder / ("verdict.json" if command == "train" else "metrics.json")
        written = json.loads(left.read_text())
        written = written if command == "train" else written["verdict"]
        assert written["is_bad"]
        assert written["sentence"] in out
