"""`python -m ptycho_torch.train` and `.inference`, as scripts of PtychoPINN start them, are our commands."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene


def _run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["train", "inference"])
def test_the_program_is_the_command_with_its_exit_codes(name):
    wrong = _run(f"ptycho_torch.{name}", "--no-such-flag")
    assert wrong.returncode == 2
    assert "--no-such-flag" in wrong.stderr
    program = import_module(f"ptycho_torch_cli.{name}").build_parser().prog
    assert wrong.stderr.startswith(f"{program}: --no-such-flag")


def test_scripts_of_ptychopinn_train_and_reconstruct(tmp_path):
    scan, model, result = tmp_path / "scan.npz", tmp_path / "model", tmp_path / "result"
    save_scan(scan, simulate_scene("lines", N=32, grid=(4, 4), photons=1e5, seed=1))
    done = _run(
        *("ptycho_torch.train", "--train_data_file", scan, "--output_dir", model, "--n_images", 16),
        *("--max_epochs", 1, "--gridsize", 1, "--batch_size", 8, "--device", "cpu", "--disable_mlflow"),
    )
    assert done.returncode == 0, done.stderr
    done = _run(
        *("ptycho_torch.inference", "--model_path", model, "--test_data", scan, "--output_dir", result),
        *("--device", "cpu", "--quiet"),
    )
    assert done.returncode == 0, done.stderr
    assert (result / "reconstruction.npz").is_file()
