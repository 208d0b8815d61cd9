from __future__ import annotations

from pathlib import Path

import pytest

from ptycho_config import load_config
from ptycho_torch_cli.config import main


@pytest.mark.rule("CLI-016")
def test_show_prints_a_configuration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training:\n  nepochs: 20\n  batch_size: 8\n")
    assert main(["show", str(file), "--set", "nepochs=30", "--profile", "full"]) == 0
    shown = tmp_path / "shown.yaml"
    shown.write_text(capsys.readouterr().out)
    values = load_config(shown)
    assert list(values) == ["model", "training", "orientation", "parts", "execution"]
    assert values["training"]["nepochs"] == 30
    assert values["training"]["batch_size"] == 8
    assert values["training"]["n_groups"] is None
    assert main(["validate", "--config", str(shown)]) == 0


def test_show_for_inference(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--for", "infer", "--set", "middle_trim=4"]) == 0
    out = capsys.readouterr().out
    assert "inference:" in out
    assert "training:" not in out
    assert "middle_trim: 4" in out


@pytest.mark.rule("CLI-016")
def test_validate_lists_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training:\n  nepochs: 0\n  batch_size: many\nexecution:\n  persistent_workers: true\n")
    assert main(["validate", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "3 problems" in err
    for word in ("nepochs", "batch_size", "persistent_workers"):
        assert word in err


def test_validate_suggests_for_unknown_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[training]\nnepoch = 3\n")
    assert main(["validate", str(file)]) == 2
    assert "did you mean 'nepochs'" in capsys.readouterr().err


def test_validate_says_that_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("max_epochs: 3\n")
    assert main(["validate", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("valid: 1 settings stated")
    assert "max_epochs is an older spelling" in err


@pytest.mark.parametrize("argv", [["show", "gone.yaml"], ["validate", "--config", "gone.yaml"]])
def test_a_missing_file_is_wrong_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert "gone.yaml" in capsys.readouterr().err


def test_two_files_are_one_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "a.yaml", "--config", "b.yaml"]) == 2
    assert "a.yaml and b.yaml" in capsys.readouterr().err


@pytest.mark.rule("CLI-016")
@pytest.mark.parametrize("key", ["max_time", "execution.max_time", "max-time"])
def test_explain(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("max_time: '00:01:00:00'\n")
    assert main(["explain", key, "--config", str(file)]) == 0
    out = capsys.readouterr().out
    for words in (
        "execution.max_time",
        "stop training after this time",
        "DD:HH:MM:SS",
        "default    None",
        "--max-time",
        "[file]  over default=None",
    ):
        assert words in out


def test_explain_reads_older_spellings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "max_epochs"]) == 0
    assert "training.nepochs" in capsys.readouterr().out


def test_explain_keeps_quiet_about_flags_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "probe_scale"]) == 0
    assert "--probe-scale" not in capsys.readouterr().out


def test_explain_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "batchsize"]) == 2
    assert "did you mean 'batch_size'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("job", "sections"),
    [
        ("train", ["model", "training", "orientation", "parts", "execution"]),
        ("infer", ["model", "inference", "orientation", "parts", "refine", "execution"]),
        ("refine", ["orientation", "parts", "refine_data", "refine", "execution"]),
    ],
)
def test_settings_shown_for_a_command_are_those_that_it_takes(
    job: str, sections: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--for", job]) == 0
    shown = tmp_path / "shown.yaml"
    shown.write_text(capsys.readouterr().out)
    assert list(load_config(shown)) == sections
    assert main(["validate", "--for", job, str(shown)]) == 0
    assert "note:" not in capsys.readouterr().err


def test_explain_says_for_which_command_a_setting_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "refine_epochs"]) == 2
    assert "add --for infer" in capsys.readouterr().err
    assert main(["explain", "refine_epochs", "--for", "infer"]) == 0
    assert "--refine" in capsys.readouterr().out
