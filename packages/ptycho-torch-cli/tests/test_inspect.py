from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ptycho_config import OrientationConfig
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.orientation import oriented
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.trials import try_unknowns
from ptycho_torch_cli.inspect import main


def test_a_sound_file(scan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(scan_file)]) == 0
    out = capsys.readouterr().out
    for words in (
        "diff3d",
        "30 x 32 x 32",
        "complex64",
        "counts (stated): stated by the file",
        "30 of 32 x 32 px",
        "1 mode(s)",
        "in the file",
        "probe diameter",
        "per frame",
        "no problems",
    ):
        assert words in out


def test_json(scan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(scan_file), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["is_sound"] is True
    assert data["n_frames"] == 30
    assert data["headers"]["diff3d"]["shape"] == [30, 32, 32]
    assert data["domain"]["domain"] == "counts"


@pytest.mark.rule("CLI-002")
def test_problems_are_the_result_and_the_exit_code(
    edited_scan: Callable[..., Path], diffraction: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = diffraction.astype(np.float32)
    frames[3, 4, 5] = np.nan
    file = edited_scan(diff3d=frames, ycoords=None)
    assert main([str(file)]) == 1
    out = capsys.readouterr().out
    assert "problems" in out
    assert "ycoords" in out
    assert "no problems" not in out


def test_problems_in_json(edited_scan: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(edited_scan(probeGuess=None)), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["is_sound"] is False
    assert "probeGuess" in " ".join(data["problems"])


def test_a_stated_domain_is_passed_on(scan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(scan_file), "--measurement-domain", "amplitude"]) == 1
    assert "amplitude" in capsys.readouterr().out


def test_a_missing_file_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "gone.npz")]) == 2
    assert "gone.npz" in capsys.readouterr().err


@pytest.mark.drawn
def test_a_picture_of_the_scan(scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from matplotlib.image import imread

    target = tmp_path / "scan.png"
    assert main([str(scan_file), "--plot", str(target)]) == 0
    out, err = capsys.readouterr()
    assert f"wrote {target}" in err
    assert "wrote" not in out
    picture = imread(target)
    assert picture.shape[:2] == (1376, 2080)
    assert picture[..., :3].std() > 0.1


@pytest.mark.rule("CLI-030")
def test_a_picture_is_kept_unless_told_otherwise(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "scan.png"
    target.write_bytes(b"precious")
    assert main([str(scan_file), "--plot", str(target)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--overwrite replaces it" in err
    assert target.read_bytes() == b"precious"
    assert main([str(scan_file), "--plot", str(target), "--overwrite", "--quiet"]) == 0
    assert target.read_bytes() != b"precious"


def test_a_picture_needs_a_name_that_fits(scan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(scan_file), "--plot", "nowhere/scan.jpg"]) == 2
    err = capsys.readouterr().err
    assert "a name ending in .png" in err
    assert "create it first" in err


@pytest.mark.rule("CLI-030")
def test_a_refused_scan_has_no_picture(
    edited_scan: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "scan.png"
    assert main([str(edited_scan(probeGuess=None)), "--plot", str(target)]) == 1
    assert "was not drawn: a scan with problems has nothing to show" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.rule("DATA-102")
def test_trials_are_told_beside_the_report(
    tmp_path: Path, scan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = open_scan(scan_file)
    path = tmp_path / "turned.npz"
    save_scan(path, oriented(scan, OrientationConfig(flip_x=True)))
    assert main([str(path), "--orientation", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "no problems" in out
    assert "fits with --flip-x" in out
    few = tmp_path / "few.npz"
    save_scan(few, scan.take(np.arange(8)))
    assert main([str(few), "--orientation", "--scale", "--json", "--quiet", "--swap-axes"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["n_frames"] == told["orientation"]["n_frames"] == told["scale"]["n_frames"] == 8
    assert told["orientation"]["flags"] is None
    assert told["scale"]["factor"] is None
    assert told["metadata"]["orientation"] == [{"swap_axes": True}]


@pytest.mark.rule("REF-060")
def test_what_pays_is_told_with_the_flags_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Other unknowns are tried by the tests of the trial itself.
    few = partial(try_unknowns, only=("dose", "probe"))
    monkeypatch.setattr("ptycho_torch.trials.try_unknowns", few)
    path = tmp_path / "dose.npz"
    faults = Faults(dose_rms=0.3)
    save_scan(path, simulate_scene("random_field", N=32, grid=(6, 6), step_px=4.0, seed=1, faults=faults))
    assert main([str(path), "--deep", "--quiet"]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("  --refine-dose")]
    assert len(lines) == 1
    assert lines[0].endswith("advised")
    assert "--refine-dose takes away" in out
    assert main([str(path), "--deep", "--json", "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)["deep"]
    assert told["flags"] == "--refine-dose"
    assert 0.5 < told["gain"] < 1
    assert {one["name"] for one in told["unknowns"]} == {"dose", "probe"}


def test_a_scan_too_short_to_tell_is_said(scan_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(scan_file), "--deep", "--quiet"]) == 0
    assert "30 frames are too few to tell" in capsys.readouterr().out
