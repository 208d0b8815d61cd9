from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.testing import tiny_scene
from ptycho_torch_cli import inference
from ptycho_torch_cli.console import ProgressDisplay
from ptycho_torch_cli.refine import main


def test_a_run_leaves_its_files_and_prints_the_scores(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result"
    argv = ["--data", str(scan_file), "--output-dir", str(output), "--accelerator", "cpu"]
    assert main([*argv, "--refine-epochs", "5"]) == 0
    out, err = capsys.readouterr()
    names = {path.name for path in output.iterdir()}
    assert {"reconstruction.npz", "amplitude.png", "phase.png", "refinement.png", "metrics.json"} <= names
    assert "complex normalised RMSE" in out
    assert "epochs    5" in out
    assert "5/5 epochs" in err
    assert "residual 0." in err
    record = json.loads((output / "resolved_config.json").read_text())
    assert record["command"][:2] == ["ptycho-torch", "refine"]
    assert main(argv) == 2
    assert "it holds reconstruction.npz" in capsys.readouterr().err
    again = [
        "--start",
        str(output / "reconstruction.npz"),
        "--likelihood",
        "amplitude",
        "--sub-pixel",
        "probe",
    ]
    fits = ["--refine-probe", "--probe-modes", "2", "--refine-positions", "--refine-batch-size", "6"]
    argv = ["--data", str(scan_file), "--output-dir", str(tmp_path / "again"), "--accelerator", "cpu"]
    assert main([*argv, *again, *fits, "--epochs", "2", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    with np.load(tmp_path / "again" / "reconstruction.npz") as archive:
        assert archive["probe"].shape == (2, 32, 32)


def test_a_scan_in_tiles_says_how_many_and_how_they_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_scan(tmp_path / "wide.npz", tiny_scene(grid=(5, 12), step_px=5.0, photons=1e5, noise=True))
    argv = [
        "--data",
        str(tmp_path / "wide.npz"),
        "--output-dir",
        str(tmp_path / "tiled"),
        "--accelerator",
        "cpu",
    ]
    assert main([*argv, "--tile-px", "33", "--epochs", "6"]) == 0
    out, err = capsys.readouterr()
    assert "tiles     2, residuals from 0." in out
    assert "apart where they overlap" in out
    assert "12/12 epochs" in err
    argv[3] = str(tmp_path / "none")
    assert main([*argv, "--tile-px", "31"]) == 2
    assert "tile_px = 31: expected at least 32, the size of a frame" in capsys.readouterr().err
    assert main([*argv, "--tile-px", "33", "--refine-positions"]) == 2
    err = capsys.readouterr().err
    assert "refine_positions" in err
    assert "beside tiles" in err


def test_dry_run_prints_settings_and_writes_nothing(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result"
    assert main(["--data", str(scan_file), "--output-dir", str(output), "--refine-probe", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "refine_probe = True  [cli]  over default=False" in out
    assert not output.exists()


def test_wrong_usage_is_listed_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = str(tmp_path / "gone.npz")
    assert main(["--data", gone, "--start", gone]) == 2
    assert "2 problems" in capsys.readouterr().err
    assert main([]) == 2
    assert "--scan-file" in capsys.readouterr().err
    assert main(["--data", gone, "--epochs", "0", "--likelihood", "gauss"]) == 2
    err = capsys.readouterr().err
    assert "--epochs" in err
    assert "--likelihood" in err


@pytest.mark.rule("REF-007")
def test_ctrl_c_keeps_what_was_reached(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: ProgressDisplay, done: int, total: int, residual: float) -> None:
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressDisplay, "__call__", interrupted)
    output = tmp_path / "result"
    assert main(["--data", str(scan_file), "--output-dir", str(output), "--accelerator", "cpu"]) == 130
    assert f"what was reached is kept: {output / 'reconstruction.npz'}" in capsys.readouterr().err
    assert (output / "reconstruction.npz").exists()


def test_inference_refines_on_request(
    scan_file: Path, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result"
    argv = ["--model-path", str(model_dir), "--test-data", str(scan_file), "--output-dir", str(output)]
    assert inference.main([*argv, "--accelerator", "cpu", "--refine", "4", "--refine-probe"]) == 0
    out, err = capsys.readouterr()
    assert "before 4 epochs of refinement" in out
    assert "4/4 epochs" in err
    assert {"network.npz", "refinement.png"} <= {path.name for path in output.iterdir()}
    assert inference.main([*argv, "--overwrite", "--refine-probe"]) == 2
    assert "ask for it with --refine N" in capsys.readouterr().err
