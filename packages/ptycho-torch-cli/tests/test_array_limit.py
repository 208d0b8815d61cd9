"""The limit on arrays that files claim: one setting for every job and command that reads a scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.config_factory.refinement import create_refinement_payload
from ptycho_torch.data import limits
from ptycho_torch.errors import DataError
from ptycho_torch.workflows import infer, refine_scan, train
from ptycho_torch_cli.__main__ import main

Words = Callable[[Path], list[str]]


@pytest.fixture(params=["train", "infer", "refine", "convert", "evaluate", "inspect"])
def words(request: pytest.FixtureRequest, scan_file: Path, model_dir: Path, result_dir: Path) -> Words:
    """A command that reads the scan, and writes below a folder."""
    scan, cpu = str(scan_file), ["--accelerator", "cpu", "--quiet"]

    def make(out: Path) -> list[str]:
        to = ["--output-dir", str(out)]
        return {
            "train": ["train", "--train-data-file", scan, "--nepochs", "1", "--n-groups", "8", *to, *cpu],
            "infer": ["infer", "--model-path", str(model_dir), "--test-data", scan, *to, *cpu],
            "refine": ["refine", "--data", scan, "--refine-epochs", "1", *to, *cpu],
            "convert": ["convert", scan, str(out) + ".npz"],
            "evaluate": ["evaluate", str(result_dir / "reconstruction.npz"), scan, *to],
            "inspect": ["inspect", scan],
        }[request.param]

    return make


@pytest.mark.rule("DATA-121")
def test_every_job_and_command_takes_the_limit_on_arrays(
    words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "_LARGEST_ARRAY_BYTES", 1000)
    assert main(words(tmp_path / "out")) == 1
    said = capsys.readouterr()
    assert "largest_array_gib" in said.out + said.err
    assert list(tmp_path.iterdir()) == []
    assert main([*words(tmp_path / "out"), "--largest-array-gib", "0.01"]) == 0


@pytest.mark.rule("DATA-121")
def test_programs_state_it_as_any_setting(
    scan_file: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_LARGEST_ARRAY_BYTES", 1000)
    stated = PyTorchExecutionConfig(accelerator="cpu", largest_array_gib=0.01)
    usual = PyTorchExecutionConfig(accelerator="cpu")
    few = {"nepochs": 1, "n_groups": 8}
    train(create_training_payload(scan_file, tmp_path / "train", few, stated))
    infer(create_inference_payload(model_dir, scan_file, tmp_path / "infer", {}, stated))
    refine_scan(create_refinement_payload(scan_file, tmp_path / "refine", {"refine_epochs": 1}, stated))
    for start in (
        lambda: train(create_training_payload(scan_file, tmp_path / "a", few, usual)),
        lambda: infer(create_inference_payload(model_dir, scan_file, tmp_path / "a", {}, usual)),
        lambda: refine_scan(create_refinement_payload(scan_file, tmp_path / "a", {}, usual)),
    ):
        with pytest.raises(DataError):
            start()
    assert not (tmp_path / "a").exists()
