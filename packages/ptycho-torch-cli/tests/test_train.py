from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ptycho_torch_cli.train import main

FILES = {
    *("wts.h5.zip", "checkpoints", "logs", "resolved_config.json"),
    *("training.png", "patches.png", "report.html", "verdict.json", ".run-train.json"),
}


@pytest.mark.rule("RUN-001")
def test_a_run_leaves_its_files_and_says_where(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["--train_data_file", str(scan_file), "--output_dir", "run", "--max_epochs", "2"]
    assert main([*argv, "--accelerator", "cpu", "--n_images", "24"]) == 0
    out, err = capsys.readouterr()
    assert {path.name for path in Path("run").iterdir()} == FILES
    assert "bundle  run/wts.h5.zip" in out
    assert "best    val_loss" in out
    lines = [line for line in err.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert "GPU available" not in err
    assert "many workers" not in err
    record = json.loads(Path("run/resolved_config.json").read_text())
    assert record["command"][:2] == ["ptycho-torch", "train"]
    assert record["provenance"]["nepochs"]["layer"] == "cli"
    assert record["provenance"]["accelerator"]["layer"] == "cli"


@pytest.mark.rule("CLI-012", "CONFIG-LOGGER-001")
def test_quiet_without_logger(scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--train-data-file", str(scan_file), "--output-dir", str(tmp_path / "run"), "--nepochs", "1"]
    assert main([*argv, "--accelerator", "cpu", "--quiet", "--logger", "none"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "wts.h5.zip" in out
    assert not list((tmp_path / "run").rglob("metrics.csv"))


@pytest.mark.rule("CLI-003", "CLI-032")
def test_a_bar_on_a_terminal_stays_off_standard_output(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    argv = ["--train-data-file", str(scan_file), "--output-dir", str(tmp_path / "run"), "--nepochs", "1"]
    assert main([*argv, "--accelerator", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert "training: 100%" in err
    assert "batches/s" in err
    assert "epoch 1/1  train_loss" in err
    assert out.startswith("bundle")


@pytest.mark.rule("CLI-010")
def test_dry_run_prints_the_origin_of_everything_and_writes_nothing(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training: {nepochs: 20, batch_size: 4}\n")
    output = tmp_path / "run"
    argv = ["--train-data-file", str(scan_file), "--output-dir", str(output), "--config", str(file)]
    assert main([*argv, "--nepochs", "30", "--set", "execution.val_fraction=0.2", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "nepochs = 30  [cli]  over file=20  over default=50" in out
    assert "batch_size = 4  [file]" in out
    assert "val_fraction = 0.2  [cli]" in out
    assert "N = 32  [data: probe in scan.npz]" in out
    assert not output.exists()


@pytest.mark.rule("CLI-011")
def test_deprecated_flags_warn_and_work(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--train-data-file", str(scan_file), "--output-dir", str(tmp_path / "run"), "--dry-run"]
    with pytest.warns(DeprecationWarning, match="is deprecated") as caught:
        assert main([*argv, "--device", "cuda", "--accelerator", "cpu", "--disable_mlflow"]) == 0
    assert [str(item.message).split()[0] for item in caught] == ["--device", "--disable_mlflow"]
    out = capsys.readouterr().out
    assert "accelerator = cpu  [cli]" in out
    assert "logger_backend = None  [cli]" in out


def test_a_resolved_configuration_repeats_a_run(
    scan_file: Path, model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "again"
    argv = ["--config", str(model_dir / "resolved_config.json"), "--output-dir", str(output), "--dry-run"]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "nepochs = 1  [file]" in out
    assert f"train_data_file = {scan_file}  [file]" in out
    assert not output.exists()


def test_a_run_is_resumed_with_its_own_settings(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "run")
    argv = ["--train-data-file", str(scan_file), "--output-dir", output, "--accelerator", "cpu"]
    assert main([*argv, "--nepochs", "1", "--batch-size", "8", "--n-groups", "16"]) == 0
    assert main(["--resume", "--output-dir", output]) == 0
    assert "is complete after 1 epochs; raise nepochs to train on" in capsys.readouterr().err
    assert main(["--resume", "--output-dir", output, "--nepochs", "2"]) == 0
    out, err = capsys.readouterr()
    assert "epoch 2/2" in err
    assert "epoch 1/2" not in err
    assert "bundle" in out
    assert main(["--resume", "--output-dir", output, "--batch-size", "4"]) == 2
    assert "batch_size = 4: expected 8, as the run in" in capsys.readouterr().err


def test_resuming_what_is_not_there_or_to_be_replaced_is_wrong_usage(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--train-data-file", str(scan_file), "--output-dir", str(tmp_path / "run")]
    assert main([*argv, "--resume"]) == 2
    assert "expected the directory of a run" in capsys.readouterr().err
    assert main([*argv, "--resume", "--overwrite"]) == 2
    assert "keep one of them" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--disable-progress-bar", "--quiet"])
def test_a_bar_can_be_declined(
    flag: str, scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    argv = ["--train-data-file", str(scan_file), "--output-dir", str(tmp_path / "run"), "--nepochs", "1"]
    assert main([*argv, "--accelerator", "cpu", flag]) == 0
    err = capsys.readouterr().err
    assert "batches/s" not in err
    assert "Epoch 0" not in err


def test_several_scans_after_one_flag_or_after_several(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.npz"
    other.write_bytes(scan_file.read_bytes())
    ends = ["--output-dir", str(tmp_path / "run"), "--accelerator", "cpu", "--dry-run"]
    shown = []
    for flags in (
        ["--train-data-file", str(scan_file), str(other)],
        ["--train-data-file", str(scan_file), "--train_data_file", str(other)],
    ):
        assert main([*flags, *ends]) == 0
        shown.append(next(line for line in capsys.readouterr().out.splitlines() if "train_data_file" in line))
    assert shown[0] == shown[1]
    assert scan_file.name in shown[0]
    assert "other.npz" in shown[0]


def test_the_same_scan_twice_is_refused(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--train-data-file", str(scan_file), str(scan_file), "--output-dir", str(tmp_path / "run")]
    assert main(argv) == 2
    assert "is in the list twice" in capsys.readouterr().err


def test_each_missing_scan_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--train-data-file", str(tmp_path / "x.npz"), str(tmp_path / "y.npz")]
    assert main([*argv, "--output-dir", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert "x.npz" in err
    assert "y.npz" in err
