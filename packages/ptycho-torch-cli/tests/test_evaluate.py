from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from ptycho_torch.errors import ResultWarning
from ptycho_torch_cli.convert import main as convert
from ptycho_torch_cli.evaluate import main


@pytest.mark.rule("CLI-003")
def test_the_table_goes_to_standard_output(
    result_dir: Path, scan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(result_dir / "reconstruction.npz"), str(scan_file)]) == 0
    out, err = capsys.readouterr()
    assert "phase correlation" in out
    assert "flat" in out
    assert err == ""


@pytest.mark.rule("RUN-001")
def test_json_and_files(
    result_dir: Path, scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(result_dir / "reconstruction.npz"), str(scan_file), "--output-dir", str(tmp_path / "e")]
    assert main([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    scores = json.loads(out)["scores"]
    written = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert written["scores"] == scores
    assert {path.name for path in (tmp_path / "e").glob("[!.]*")} == {
        "metrics.json",
        "comparison.png",
        "frc.png",
    }
    assert err.count("wrote ") == 3
    assert main(argv) == 2
    assert "overwrite" in capsys.readouterr().err
    assert main([*argv, "--overwrite"]) == 0


@pytest.mark.rule("MET-008")
def test_an_origin_that_is_far_off_is_said_and_can_be_searched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    image = np.exp(1j * ndimage.gaussian_filter(rng.standard_normal((120, 120)), 2.5) * 4)
    for name, origin in (("truth", 0.0), ("ours", 20.0)):
        np.savez(tmp_path / f"{name}.npz", object=image, origin=np.array([origin, origin]))
    files = [str(tmp_path / "ours.npz"), str(tmp_path / "truth.npz"), "--json"]
    with pytest.warns(ResultWarning):
        assert main(files) == 0
    out, _ = capsys.readouterr()
    assert json.loads(out)["alignment"]["farther_px"] == [-20, -20]
    assert main([*files, "--max-shift", "22"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["alignment"]["farther_px"] is None
    assert json.loads(out)["scores"]["complex_nrmse"] < 1e-6
    assert err == ""


def test_the_truth_may_be_a_scan_of_any_format(
    result_dir: Path, scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    optics = [
        "photon_energy_eV=9000", "detector_object_distance_m=2.0",
        "detector_pixel_width_m=75e-6", "detector_pixel_height_m=75e-6",
    ]  # fmt: skip
    flags = [word for entry in optics for word in ("--metadata", entry)]
    assert convert([str(scan_file), str(tmp_path / "pair"), *flags]) == 0
    ours = str(result_dir / "reconstruction.npz")
    tables = []
    for truth in (scan_file, tmp_path / "pair"):
        capsys.readouterr()
        assert main([ours, str(truth)]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]


def test_missing_files_are_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]) == 2
    err = capsys.readouterr().err
    assert "a.npz" in err
    assert "b.npz" in err


def test_a_file_without_an_object_fails(
    edited_scan, result_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = edited_scan(objectGuess=None)
    assert main([str(result_dir / "reconstruction.npz"), str(truth)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "objectGuess" in err


def test_two_files_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["only.npz"]) == 2
    assert "TRUTH" in capsys.readouterr().err
