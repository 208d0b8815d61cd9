"""Wrong input: one clear message, the right exit code, nothing written, nothing damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch_cli import inference, train

Edit = Callable[..., Path]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


BAD_ARRAYS = {
    "missing key": (lambda d: {"probeGuess": None}, ["probeGuess", "missing key"]),
    "missing positions": (lambda d: {"xcoords": None}, ["xcoords", "missing"]),
    "wrong shape": (lambda d: {"diff3d": d[:, :, :20]}, ["diff3d", "32 x 20 px", "square"]),
    "wrong length": (lambda d: {"xcoords": np.zeros(7)}, ["xcoords", "7"]),
    "negative": (lambda d: {"diff3d": d.astype(np.int32) - 5}, ["diff3d", "negative"]),
}


@pytest.mark.rule("RUN-005")
@pytest.mark.parametrize(("change", "words"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
@pytest.mark.parametrize("command", ["train", "infer"])
def test_bad_arrays(
    command: str,
    change: Callable[[np.ndarray], dict[str, np.ndarray | None]],
    words: list[str],
    edited_scan: Edit,
    diffraction: np.ndarray,
    model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = edited_scan(**change(diffraction))
    before = snapshot(tmp_path)
    output = ["--output-dir", str(tmp_path / "out"), "--accelerator", "cpu", "--quiet"]
    if command == "train":
        code = train.main(["--train-data-file", str(data), "--nepochs", "1", *output])
    else:
        code = inference.main(["--model-path", str(model_dir), "--test-data", str(data), *output])
    out, err = capsys.readouterr()
    assert code == 1
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith(f"ptycho-torch {command}: ")
    for word in words:
        assert word in err
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.fixture
def train_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs `train` and returns exit code and error text; nothing may be written."""

    def run(data: Path | str, *flags: str) -> tuple[int, str]:
        before = snapshot(tmp_path)
        output = ["--output-dir", str(tmp_path / "out"), "--accelerator", "cpu", "--quiet"]
        code = train.main(["--train-data-file", str(data), *output, *flags])
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert snapshot(tmp_path) == before
        assert not (tmp_path / "out").exists()
        return code, err

    return run


def test_truncated_scan(scan_file: Path, tmp_path: Path, train_on) -> None:
    cut = tmp_path / "cut.npz"
    content = scan_file.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    code, err = train_on(cut)
    assert code == 1
    assert "truncated zip archive" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"\x89HDF\r\n\x1a\n", "HDF5 file"), (b"GIF89a-and-more", "not a zip archive")],
)
def test_other_files(content: bytes, words: str, tmp_path: Path, train_on) -> None:
    file = tmp_path / "other.npz"
    file.write_bytes(content)
    code, err = train_on(file)
    assert code == 1
    assert words in err


def test_wrong_domain(scan_file: Path, train_on) -> None:
    code, err = train_on(scan_file, "--measurement-domain", "amplitude")
    assert code == 1
    assert "'amplitude'" in err
    assert "'counts'" in err


def test_a_domain_that_the_values_disprove(edited_scan: Edit, diffraction: np.ndarray, train_on) -> None:
    roots = edited_scan(diff3d=np.sqrt(diffraction.astype(np.float64)), _metadata=None)
    code, err = train_on(roots, "--measurement-domain", "counts")
    assert code == 1
    assert "they are amplitudes" in err


@pytest.mark.rule("RUN-005")
def test_contradictory_settings(scan_file: Path, train_on) -> None:
    code, err = train_on(
        scan_file, "--persistent-workers", "--nll-weight", "0", "--probe-mask-diameter", "99"
    )
    assert code == 2
    for word in ("persistent_workers", "nll_weight", "probe_mask_diameter"):
        assert word in err


@pytest.mark.rule("CLI-009")
def test_a_flag_and_an_assignment_that_differ(scan_file: Path, train_on) -> None:
    code, err = train_on(scan_file, "--nepochs", "3", "--set", "training.nepochs=4")
    assert code == 2
    assert "one value" in err


def test_a_flag_and_an_assignment_of_the_same_key_that_differ(scan_file: Path, train_on) -> None:
    code, err = train_on(scan_file, "--nepochs", "3", "--set", "nepochs=4")
    assert code == 2
    assert "nepochs = 3: expected one value, but --set states 4; keep one of them" in err


def test_a_frame_size_that_the_data_contradict(scan_file: Path, train_on) -> None:
    code, err = train_on(scan_file, "--N", "64")
    assert code == 2
    assert "N = 64" in err
    assert "probe in scan.npz" in err


def test_unknown_key_in_a_file(scan_file: Path, tmp_path: Path, train_on) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training:\n  nepoch: 3\n")
    code, err = train_on(scan_file, "--config", str(file))
    assert code == 2
    assert "did you mean 'nepochs'" in err


def test_settings_that_this_version_cannot_keep(scan_file: Path, train_on) -> None:
    settings = ("training.positions_provided=false", "model.probe_scale=2")
    code, err = train_on(scan_file, "--set", settings[0], "--set", settings[1])
    assert code == 2
    assert "never without scan positions" in err
    assert "calibrated from the data" in err


def test_missing_files(tmp_path: Path, train_on) -> None:
    code, err = train_on(tmp_path / "a.npz", "--test-data", str(tmp_path / "b.npz"))
    assert code == 2
    assert "a.npz" in err
    assert "b.npz" in err
    assert err.count("no such file") == 2


def test_a_missing_file_that_a_configuration_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("train_data_file: gone.npz\n")
    assert train.main(["--config", str(file), "--output-dir", str(tmp_path / "out")]) == 2
    assert "gone.npz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.rule("RUN-003")
@pytest.mark.parametrize("command", ["train", "infer"])
def test_the_output_folder_of_another_run(
    command: str,
    scan_file: Path,
    model_dir: Path,
    result_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = model_dir if command == "train" else result_dir
    before = snapshot(folder)
    if command == "train":
        argv = ["--train-data-file", str(scan_file), "--nepochs", "1"]
        code = train.main([*argv, "--output-dir", str(folder), "--quiet"])
    else:
        argv = ["--model-path", str(model_dir), "--test-data", str(scan_file)]
        code = inference.main([*argv, "--output-dir", str(folder), "--quiet"])
    assert code == 2
    err = capsys.readouterr().err
    assert "output_dir" in err
    assert "another run" in err
    assert snapshot(folder) == before


@pytest.mark.rule("RUN-004")
def test_a_failed_run_leaves_the_older_results(
    edited_scan: Edit, model_dir: Path, result_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(result_dir)
    argv = ["--model-path", str(model_dir), "--test-data", str(edited_scan(probeGuess=None))]
    argv += ["--output-dir", str(result_dir), "--overwrite", "--accelerator", "cpu", "--quiet"]
    assert inference.main(argv) == 1
    assert "probeGuess" in capsys.readouterr().err
    assert snapshot(result_dir) == before


def _empty(bundle: Path, _: bytes) -> None:
    bundle.unlink()


def _cut(bundle: Path, content: bytes) -> None:
    bundle.write_bytes(content[: len(content) // 2])


def _foreign(bundle: Path, _: bytes) -> None:
    np.savez(bundle.with_suffix(".npz"), a=np.zeros(3))
    bundle.with_suffix(".npz").rename(bundle)


@pytest.mark.parametrize(
    ("damage", "words"),
    [(_empty, "no wts.h5.zip"), (_cut, "zip archive"), (_foreign, "not a model bundle")],
)
def test_bad_bundles(
    damage: Callable[[Path, bytes], None],
    words: str,
    scan_file: Path,
    model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    content = (model_dir / "wts.h5.zip").read_bytes()
    (folder / "wts.h5.zip").write_bytes(content)
    damage(folder / "wts.h5.zip", content)
    output = tmp_path / "out"
    argv = ["--model-path", str(folder), "--test-data", str(scan_file), "--output-dir", str(output)]
    assert inference.main([*argv, "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert not output.exists()
