from __future__ import annotations

import inspect
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from ptycho_config import field_specs
from ptycho_torch_cli.simulate import Scene, main

GEOMETRY = ("photon_energy_eV", "detector_object_distance_m", "detector_pixel_m")
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
        (["--output", "scan.h5", "--metadata", "photon_energy_eV=-1"], "--metadata states what is missing"),
        (["--step", "inf"], "--step"),
        (["--jitter", "inf"], "--jitter"),
        (["--step", "1e300"], "GB of memory"),
        (["--N", "2000000"], "GB of memory"),
        (["--grid", "1000000,1000000"], "GB of memory"),
        (["--energy", "0"], "--energy"),
        (["--output", "scan.tiff"], "stands for no format"),
        (["--output", "nowhere/scan.npz"], "nowhere: no such directory"),
        (["--format", "npy"], "did you mean 'npz'?"),
        (["--metadata", "energy"], "KEY=VALUE"),
        (["--focus-distance", "0.1"], "add --propagation near"),
        (["--slices", "2"], "expected both or none"),
        (["--propagation", "near", "--focus-distance", "1e-5"], "at most the 64 px of a frame"),
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
    # Metadata alone, which core takes as they come.
    assert [told.pop(name) for name in GEOMETRY] == [9000.0, 2.0, 75e-6]
    assert (told.pop("propagation"), told.pop("focus_distance_m"), real.pop("optics")) == ("far", None, None)
    assert told.pop("modes") == 1
    for name, value in asdict(real.pop("faults")).items():
        assert told.pop(name) == value
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
    from ptycho_torch.data.recognition import recognised

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
        assert recognised(path)[1].format == kind
        found = open_scan(path)
        np.testing.assert_array_equal(found.diffraction[:], expected.diffraction)
        np.testing.assert_array_equal(found.positions, expected.positions)
        np.testing.assert_array_equal(found.object_truth, expected.object_truth)
        assert found.metadata == expected.metadata


@pytest.mark.parametrize("target", ["scan.cxi", "pair", "scan.h5"])
def test_a_simulated_scan_is_converted_without_saying_more(target: str, tmp_path: Path) -> None:
    from ptycho_torch.data import open_scan
    from ptycho_torch_cli import convert

    file = tmp_path / "scan.npz"
    assert main(["--output", str(file), *SMALL, "--energy", "12000", "--detector-pixel", "5e-5"]) == 0
    assert convert.main([str(file), str(tmp_path / target), "--quiet"]) == 0
    metadata = open_scan(tmp_path / target).metadata
    assert metadata["photon_energy_eV"] == 12000
    assert metadata["detector_object_distance_m"] == 2
    assert metadata["detector_pixel_width_m"] == metadata["detector_pixel_height_m"] == 5e-5
