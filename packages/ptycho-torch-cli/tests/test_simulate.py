from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

from ptycho_config import field_specs
from ptycho_torch_cli.simulate import Scene, main

SMALL = ["--N", "32", "--grid", "3,4", "--photons", "1e4"]


def test_a_simulated_scan_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ptycho_torch.data import load_scan

    file = tmp_path / "scan.npz"
    assert main(["--output", str(file), *SMALL, "--seed", "4", "--modes", "2", "--scene", "natural"]) == 0
    scan = load_scan(file)
    assert (scan.n_frames, scan.N, scan.n_modes) == (12, 32, 2)
    powers = (abs(scan.probe) ** 2).sum(axis=(1, 2))
    assert powers[0] / powers[1] == pytest.approx(2.0, rel=1e-4)
    assert scan.metadata["seed"] == 4
    assert scan.metadata["scene"] == "natural"
    out = capsys.readouterr().out
    assert "12 frames of 32 x 32 px" in out
    assert "scan.npz" in out


def test_an_existing_file_is_kept_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scan.npz"
    file.write_bytes(b"precious")
    assert main(["--output", str(file), *SMALL]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert file.read_bytes() == b"precious"
    assert main(["--output", str(file), *SMALL, "--overwrite"]) == 0
    assert file.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--N", "2"], "--N = '2'"),
        (["--grid", "3"], "rows and columns, such as 20,20"),
        (["--scene", "line"], "did you mean 'lines'?"),
        (["--photons", "nan"], "--photons"),
        (["--output", "scan.h5"], "--metadata states what is missing"),
        (["--output", "scan.tiff"], "stands for no format"),
        (["--output", "nowhere/scan.npz"], "nowhere: no such directory"),
        (["--format", "npy"], "did you mean 'npz'?"),
        (["--metadata", "energy"], "KEY=VALUE"),
    ],
)
def test_wrong_wishes(
    argv: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--output", "scan.npz", *argv]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "--output" in capsys.readouterr().err


def test_help_tells_the_defaults_of_core() -> None:
    from ptycho_torch.data.simulation.scenes import OBJECTS
    from ptycho_torch.data.simulation.simulate import simulate_scene

    real = {name: item.default for name, item in inspect.signature(simulate_scene).parameters.items()}
    assert real.pop("mode_powers") == (1.0,)
    told = {spec.name: spec.default for spec in field_specs(Scene)}
    assert told.pop("modes") == 1
    assert told == real
    assert field_specs(Scene)[0].choices == tuple(OBJECTS)


@pytest.mark.rule("CLI-019")
@pytest.mark.parametrize(
    ("name", "kind"), [("scan.cxi", "cxi"), ("pair", "ptychodus"), ("scan.h5", "ptychodus-training")]
)
def test_a_scan_is_simulated_in_any_format(
    name: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ptycho_torch.data import load_scan, open_scan
    from ptycho_torch.data.opening import locate_scan

    optics = {
        "photon_energy_eV": 9000.0, "detector_object_distance_m": 2.0,
        "detector_pixel_width_m": 75e-6, "detector_pixel_height_m": 75e-6,
    }  # fmt: skip
    stated = [word for key, value in optics.items() for word in ("--metadata", f"{key}={value}")]
    assert main(["--output", str(tmp_path / "scan.npz"), *SMALL, *stated]) == 0
    assert main(["--output", str(tmp_path / name), *SMALL, *stated]) == 0
    assert main(["--output", str(tmp_path / f"other-{name}"), "--format", kind, *SMALL, *stated]) == 0
    assert capsys.readouterr().err == ""
    expected = load_scan(tmp_path / "scan.npz")
    for path in (tmp_path / name, tmp_path / f"other-{name}"):
        assert locate_scan(path).format == kind
        found = open_scan(path)
        np.testing.assert_array_equal(found.diffraction[:], expected.diffraction)
        np.testing.assert_array_equal(found.positions, expected.positions)
        np.testing.assert_array_equal(found.object_truth, expected.object_truth)
        assert found.metadata == expected.metadata
