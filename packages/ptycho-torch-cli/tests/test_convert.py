from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptycho_config import InferenceConfig, field_specs, spec_of
from ptycho_torch_cli import evaluate, inference, inspect, train
from ptycho_torch_cli.convert import Conversion, build_parser, main

OPTICS = [
    *("--metadata", "photon_energy_eV=9000", "--metadata", "detector_object_distance_m=2.0"),
    *("--metadata", "detector_pixel_width_m=75e-6", "--metadata", "detector_pixel_height_m=75e-6"),
]


@pytest.mark.rule("CLI-018")
def test_there_and_back(scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ptycho_torch.data import load_scan

    here = scan_file
    for name, kind in (
        ("pair", "ptychodus"),
        ("a.cxi", "cxi"),
        ("b.h5", "ptychodus-training"),
        ("c.npz", "npz"),
    ):
        flags = OPTICS if here == scan_file else []
        assert main([str(here), str(tmp_path / name), "--quiet", *flags]) == 0
        out, err = capsys.readouterr()
        assert out == f"{tmp_path / name}: 30 frames of 32 x 32 px as {kind}\n"
        assert err == ""
        here = tmp_path / name
    first, last = load_scan(scan_file), load_scan(here)
    np.testing.assert_array_equal(last.diffraction, first.diffraction)
    np.testing.assert_array_equal(last.positions, first.positions)
    np.testing.assert_array_equal(last.object_truth, first.object_truth)
    assert last.metadata["photon_energy_eV"] == 9000


def test_progress_counts_frames(scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(scan_file), str(tmp_path / "scan.h5"), *OPTICS]) == 0
    assert "30/30 frames" in capsys.readouterr().err


def test_the_format_can_be_stated(scan_file: Path, tmp_path: Path) -> None:
    from ptycho_torch.data.recognition import recognised

    target = tmp_path / "scan.data"
    assert main([str(scan_file), str(target), "--format", "cxi", "--quiet", *OPTICS]) == 0
    assert recognised(target)[1].format == "cxi"


def test_frames_can_be_cropped_and_the_domain_stated(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(UserWarning, match="were cropped to the central 16 x 16"):
        assert main([str(scan_file), str(tmp_path / "small.npz"), "--N", "16"]) == 0
    assert "frames of 16 x 16 px" in capsys.readouterr().out
    assert main([str(scan_file), str(tmp_path / "b.npz"), "--measurement-domain", "amplitude"]) == 1
    assert not (tmp_path / "b.npz").exists()


@pytest.mark.rule("CLI-018")
def test_an_existing_target_is_kept_unless_told_otherwise(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "scan.npz"
    target.write_bytes(b"precious")
    assert main([str(scan_file), str(target)]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"
    assert main([str(scan_file), str(target), "--overwrite", "--quiet"]) == 0
    assert target.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["SCAN", "scan.tiff"], 2, "the suffix '.tiff' stands for no format"),
        (["SCAN", "nowhere/scan.npz"], 2, "nowhere"),
        (["SCAN", "scan.npz", "--format", "hdf"], 2, "--format = 'hdf'"),
        (["SCAN", "scan.npz", "--metadata", "energy"], 2, "KEY=VALUE, such as photon_energy_eV=9000"),
        (["SCAN"], 2, "TARGET"),
        (["gone.npz", "scan.npz"], 2, "gone.npz"),
        (["SCAN", "pair"], 2, "photon_energy_eV is missing"),
        (["SCAN", "pair"], 2, "such as --metadata photon_energy_eV=9000"),
    ],
)
def test_wrong_wishes(
    argv: list[str],
    code: int,
    words: str,
    scan_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(scan_file) if word == "SCAN" else word for word in argv]) == code
    out, err = capsys.readouterr()
    assert words in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.rule("CLI-018")
def test_a_source_that_is_refused_writes_nothing(
    edited_scan: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = edited_scan(probeGuess=None)
    assert main([str(source), str(tmp_path / "out.npz")]) == 1
    assert "probeGuess" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["edited.npz"]


@pytest.mark.rule("CLI-019", "DATA-009")
def test_a_folder_with_a_pair_serves_every_command(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair, model, result = (str(tmp_path / name) for name in ("pair", "model", "result"))
    assert main([str(scan_file), pair, "--quiet", *OPTICS]) == 0
    assert inspect.main([pair]) == 0
    assert "no problems" in capsys.readouterr().out
    run = ["--accelerator", "cpu", "--quiet"]
    argv = ["--train-data-file", pair, "--test-data-file", pair, "--nepochs", "1", "--gridsize", "2"]
    assert train.main([*argv, "--output-dir", model, *run]) == 0
    argv = ["--model-path", model, "--test-data", pair, "--output-dir", result, "--accelerator", "cpu"]
    assert inference.main(argv) == 0
    assert "30/30 groups" in capsys.readouterr().err
    assert (tmp_path / "result" / "reconstruction.h5").is_file()


@pytest.mark.rule("CLI-019")
def test_what_is_told_is_what_core_takes() -> None:
    from ptycho_torch.data.format_registry import writable_formats

    [action] = [action for action in build_parser()._actions if "--format" in action.option_strings]
    assert action.help is not None
    assert all(format.name in action.help for format in writable_formats())
    told = {spec.name: spec for spec in field_specs(Conversion)}
    original = spec_of(InferenceConfig, "measurement_domain")
    assert told["measurement_domain"].choices == original.choices
    assert told["measurement_domain"].default == original.default


@pytest.mark.rule("CLI-018")
def test_what_is_missing_counts_as_usage_and_not_its_wording(
    scan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ptycho_torch.data.scan import geometry
    from ptycho_torch.errors import DataError, MissingMetadata

    def raising(error: Exception) -> Callable[..., object]:
        def refuse(*_: object) -> object:
            raise error

        return refuse

    for error, code in (
        (MissingMetadata("in other words", entries=("photon_energy_eV",)), 2),
        (DataError("metadata: photon_energy_eV is missing"), 1),
    ):
        monkeypatch.setattr(geometry.ScanGeometry, "from_entries", raising(error))
        assert main([str(scan_file), str(tmp_path / "pair"), "--quiet"]) == code
        assert ("--metadata states what is missing" in capsys.readouterr().err) == (code == 2)


@pytest.mark.rule("CLI-019")
def test_a_reader_of_ones_own_reads_and_writes(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = tmp_path / "mine.py"
    reader.write_text(
        textwrap.dedent(
            """
            from ptycho_torch.data.formats import npz
            from ptycho_torch.data.scan import Located

            NAME = "mine"
            HELP = "an archive under another name"
            SUFFIXES = TARGETS = (".mine",)

            def recognise(candidate):
                if candidate.path.suffix != ".mine":
                    return "another ending"
                return Located(NAME, (candidate.path,))

            header, read = npz.header, npz.read

            def write(path, scan, *, progress=None):
                npz.save_scan(path.with_suffix(".npz"), scan)
                path.with_suffix(".npz").rename(path)
            """
        )
    )
    target, flags = tmp_path / "scan.mine", ["--reader", str(reader)]
    assert main([str(scan_file), str(target), "--quiet", *flags]) == 0
    assert capsys.readouterr().out.endswith("as mine\n")
    assert inspect.main([str(target), *flags]) == 0
    assert evaluate.main([str(target), str(target), *flags]) == 0
    assert main([str(target), str(tmp_path / "back.npz"), "--quiet", *flags]) == 0
    assert main([str(scan_file), str(tmp_path / "x"), "--format", "mine"]) == 2
    assert main([str(scan_file), str(tmp_path / "x"), "--reader", "gone.py"]) == 2
