"""`ptycho-torch train` as scripts call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ptycho_torch.bundle import read_manifest
from ptycho_torch_cli.__main__ import main
from ptycho_torch_cli.train import main as train_main

QUICK = ["--n-filters-scale", "1", "--batch-size", "8", "--accelerator", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def run(scan_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run started with the historical spellings."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    code = train_main([
        "--train_data_file", str(scan_file), "--output_dir", str(folder), "--max_epochs", "2",
        "--n_images", "20", "--gridsize", "1", "--batch_size", "8", "--torch-loss-mode", "poisson",
        "--n-filters-scale", "1", "--accelerator", "cpu", "--learning-rate", "2e-3",
        "--accumulate-grad-batches", "2", "--quiet",
    ])  # fmt: skip
    assert code == 0
    return folder


def _record(folder: Path) -> dict:
    return json.loads((folder / "resolved_config.json").read_text())


class TestRun:
    def test_files(self, run):
        assert {path.name for path in run.iterdir()} >= {
            "wts.h5.zip",
            "checkpoints",
            "logs",
            "resolved_config.json",
            "training.png",
        }

    def test_the_bundle_is_one_that_programs_can_load(self, run):
        assert read_manifest(run).configuration["training"]["nepochs"] == 2

    @pytest.mark.parametrize(
        ("section", "name", "value"),
        [
            ("training", "nepochs", 2),
            ("training", "n_groups", 20),
            ("training", "batch_size", 8),
            ("training", "torch_loss_mode", "poisson"),
            ("model", "gridsize", 1),
            ("model", "n_filters_scale", 1),
        ],
    )
    def test_what_was_typed_arrived_and_is_on_record_as_typed(self, run, section, name, value):
        record = _record(run)
        assert record["values"][section][name] == value
        assert record["provenance"][name]["layer"] == "cli"

    @pytest.mark.parametrize(
        ("name", "value"), [("learning_rate", 2e-3), ("accum_steps", 2), ("accelerator", "cpu")]
    )
    def test_execution_config_holds_what_was_typed(self, run, name, value):
        record = _record(run)
        assert record["values"]["execution"][name] == value
        assert record["provenance"][name]["layer"] == "cli"

    def test_execution_config_decides_how_it_is_trained(self, run):
        checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        # 20 groups less one for validation are 3 batches, 2 of which make a step: 2 steps in each epoch.
        assert checkpoint["global_step"] == 4
        assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 2e-3

    def test_what_was_not_typed_outranks_nothing(self, run):
        record = _record(run)
        assert record["provenance"]["optimizer"]["layer"] == "default"
        assert record["provenance"]["N"]["layer"] == "data"

    def test_the_command_is_on_record(self, run):
        assert _record(run)["command"][:2] == ["ptycho-torch", "train"]


class TestExitCodes:
    def test_help_and_version(self, capsys):
        assert main(["train", "--help"]) == 0
        assert "--train-data-file" in capsys.readouterr().out
        assert main(["--version"]) == 0

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            (["--nepoch", "3"], "--nepoch"),
            (["--batch-size", "0"], "--batch-size"),
            (["--backend", "tensorflow"], "backend"),
            (["--set", "training.nepoch=3"], "nepoch"),
            (["--config", "absent.yaml"], "absent.yaml"),
        ],
    )
    def test_wrong_usage_is_two_and_writes_nothing(self, scan_file, tmp_path, capsys, flags, words):
        folder = tmp_path / "run"
        arguments = ["--train-data-file", str(scan_file), "--output-dir", str(folder), *QUICK, *flags]
        assert main(["train", *arguments]) == 2
        assert words in capsys.readouterr().err
        assert not folder.exists()

    def test_no_data_is_two(self, tmp_path, capsys):
        assert main(["train", "--output-dir", str(tmp_path / "run"), *QUICK]) == 2
        assert "train_data_file" in capsys.readouterr().err

    def test_bad_data_are_one(self, tmp_path, capsys):
        (tmp_path / "scan.npz").write_bytes(b"PK no scan")
        arguments = ["--train-data-file", str(tmp_path / "scan.npz"), "--output-dir", str(tmp_path / "run")]
        assert main(["train", *arguments, *QUICK]) == 1
        assert capsys.readouterr().err.startswith("ptycho-torch train: ")
        assert not (tmp_path / "run").exists()

    def test_the_folder_of_another_run_is_two_and_kept(self, run, scan_file, capsys):
        before = (run / "wts.h5.zip").read_bytes()
        arguments = ["--train-data-file", str(scan_file), "--output-dir", str(run), *QUICK]
        assert main(["train", *arguments]) == 2
        assert "overwrite" in capsys.readouterr().err
        assert (run / "wts.h5.zip").read_bytes() == before


def test_dry_run_says_what_would_be_and_writes_nothing(scan_file, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["--train-data-file", str(scan_file), "--output-dir", str(folder), "--nepochs", "7"]
    assert main(["train", *arguments, *QUICK, "--dry-run"]) == 0
    assert "nepochs = 7  [cli]  over default=50" in capsys.readouterr().out
    assert not folder.exists()


def test_a_recorded_configuration_is_a_configuration_file(run, tmp_path, capsys):
    arguments = ["--config", str(run / "resolved_config.json"), "--output-dir", str(tmp_path / "again")]
    assert main(["train", *arguments, "--nepochs", "1", "--dry-run"]) == 0
    assert "nepochs = 1  [cli]  over file=2  over default=50" in capsys.readouterr().out
