from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from ptycho_config import SECTIONS, field_specs, schema_of_job
from ptycho_torch_cli import evaluate, inference, refine, simulate, train
from ptycho_torch_cli.layers import typed_settings

TRAIN = schema_of_job("train")
FIXED = sorted({s.name for cls in SECTIONS.values() for s in field_specs(cls) if s.only_default})


def parsed(*argv: str) -> dict[str, object]:
    return typed_settings(train.build_parser().parse_args(argv), TRAIN)


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as stop:
        train.build_parser().parse_args(argv)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.rule("CLI-006")
def test_what_was_not_typed_is_absent() -> None:
    assert parsed() == {}
    assert parsed("--nepochs", "3", "--max-time", "none") == {"nepochs": 3, "max_time": None}


@pytest.mark.rule("CLI-007")
@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--train_data_file", "a.npz"), {"train_data_file": Path("a.npz")}),
        (("--test_data_file", "b.npz"), {"test_data_file": Path("b.npz")}),
        (("--output_dir", "o"), {"output_dir": Path("o")}),
        (("--n_images", "7"), {"n_groups": 7}),
        (("--gridsize", "2", "--neighbor-count", "6"), {"gridsize": 2, "neighbor_count": 6}),
        (("--batch_size", "4"), {"batch_size": 4}),
        (("--max_epochs", "2"), {"nepochs": 2}),
        (("--torch-loss-mode", "mae"), {"torch_loss_mode": "mae"}),
        (("--accumulate-grad-batches=2",), {"accum_steps": 2}),
        (("--checkpoint-monitor", "train_loss"), {"checkpoint_monitor_metric": "train_loss"}),
        (("--logger", "none"), {"logger_backend": None}),
        (("--deterministic",), {"deterministic": True}),
        (("--deterministic", "warn"), {"deterministic": "warn"}),
        (("--no-deterministic",), {"deterministic": False}),
        (("--disable-checkpointing",), {"enable_checkpointing": False}),
        (("--pin-memory",), {"pin_memory": True}),
        (("--devices", "auto", "--strategy", "auto"), {"devices": "auto", "strategy": "auto"}),
        (("--set", "training.nepochs=4", "--set", "N=64"), {"training.nepochs": 4, "N": 64}),
    ],
)
def test_spellings(argv: tuple[str, ...], expected: dict[str, object]) -> None:
    assert parsed(*argv) == expected


def test_inference_takes_its_historical_spellings() -> None:
    args = inference.build_parser().parse_args(
        ["--model_path", "m", "--test_data", "t.npz", "--n_images", "3"]
    )
    typed = typed_settings(args, schema_of_job("infer"))
    assert typed == {"model_path": Path("m"), "test_data_file": Path("t.npz"), "n_groups": 3}


@pytest.mark.rule("CLI-005")
def test_everything_wrong_is_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    err = refusal(
        capsys,
        *("--nepoch", "3", "--batch-size", "0", "--learning-rate", "fast", "--set", "training.seeed=1"),
        *("--profile", "quik", "--deterministic", "perhaps", "--quiet=1", "--num-workers"),
    )
    assert "8 problems" in err
    for words in (
        "--nepoch: unknown flag; did you mean '--nepochs'",
        "--batch-size = '0': expected an integer of at least 1",
        "--learning-rate = 'fast': expected a finite number greater than 0",
        "did you mean 'seed'?",
        "did you mean 'quick'?",
        "--deterministic = 'perhaps': expected true or false or 'warn'",
        "--quiet: ignored explicit argument '1'",
        "--num-workers: expected one argument",
    ):
        assert words in err
    assert "3: unexpected" not in err, "the value of an unknown flag is not a second mistake"


@pytest.mark.rule("CLI-005", "CFG-015")
def test_what_is_wrong_in_the_file_is_reported_beside_wrong_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("nepoch: 3\nbatch_size: 0\nexecution: {persistent_workers: true}\n")
    err = refusal(capsys, "--config", str(file), "--learning-rate", "fast", "--set", "seed=-1")
    assert "5 problems" in err
    for name in ("--learning-rate", "seed", "nepoch", "batch_size", "persistent_workers"):
        assert f"- {name} = " in err


@pytest.mark.rule("CLI-005", "CFG-015")
@pytest.mark.parametrize("command", [train, inference, refine])
def test_what_is_wrong_in_the_file_is_reported_beside_missing_files(
    command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("nepoch: 3\nexecution: {devices: 0, accelerator: tpu}\n")
    flag = "--data" if command is refine else "--test-data"
    assert command.main(["--config", str(file), flag, str(tmp_path / "absent.npz"), "--quiet"]) == 2
    err = capsys.readouterr().err
    for words in ("absent.npz", "nepoch = 3", "devices = 0", "accelerator = 'tpu'"):
        assert words in err


@pytest.mark.rule("CFG-015")
def test_a_file_with_several_mistakes_names_them_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("nepoch: 3\nbatch_size: 0\nexecution: {persistent_workers: true}\n")
    assert train.main(["--config", str(file), "--quiet"]) == 2
    err = capsys.readouterr().err
    for name in ("nepoch", "batch_size", "persistent_workers", "train_data_file"):
        assert name in err


def test_one_problem_takes_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    err = refusal(capsys, "stray")
    assert err == (
        "ptycho-torch train: stray: unexpected argument; usage: ptycho-torch train --train-data-file SCAN "
        "--output-dir FOLDER [settings]\n"
    )


def _help_of(parser: argparse.ArgumentParser, name: str) -> str:
    """Help of the argument with this flag or metavar, as a user reads it."""
    actions = {key: action for action in parser._actions for key in (*action.option_strings, action.metavar)}
    return str(actions[name].help)


def test_what_is_missing_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    parser = evaluate.build_parser()
    with pytest.raises(SystemExit) as stop:
        parser.parse_args([])
    assert stop.value.code == 2
    head, *lines = capsys.readouterr().err.splitlines()
    assert head.startswith("ptycho-torch evaluate: 2 problems")
    for name, line in zip(("RECONSTRUCTION", "TRUTH"), lines, strict=True):
        assert name in line
        assert _help_of(parser, name) in line
        assert "--help" in line


def test_a_missing_flag_is_explained_with_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    parser = simulate.build_parser()
    with pytest.raises(SystemExit):
        parser.parse_args(["--seed", "x"])
    assert f"--output FILE: missing; {_help_of(parser, '--output')}" in capsys.readouterr().err


@pytest.mark.rule("CLI-005")
def test_flags_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--max-epoch: unknown flag; did you mean '--max-epochs'" in refusal(capsys, "--max-epoch", "3")


def test_a_device_that_does_not_work_is_refused_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert "TPUs are not supported" in refusal(capsys, "--accelerator", "tpu")


@pytest.mark.parametrize("flag", ["--probe-scale", "--positions-provided", "--backend"])
def test_nothing_is_offered_that_is_not_there(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{flag}: unknown flag" in refusal(capsys, flag)
    assert flag not in train.build_parser().format_help()
    assert flag not in inference.build_parser().format_help()


def test_help_shows_units_defaults_and_headings() -> None:
    text = " ".join(train.build_parser().format_help().split())
    assert "passes over the training data (default: 50)" in text
    assert "stop training after this time [DD:HH:MM:SS] (default: none)" in text
    assert "--nepochs, --max-epochs INT" in text
    assert "--max_epochs" not in text
    for heading in ("Training: Data:", "Model: Network:", "Execution: Checkpoints and stopping:"):
        assert heading in text


def _another(spec) -> object:
    """A value that the setting accepts and that is not its default."""
    if spec.kind == "bool":
        return not spec.default
    if spec.kind == "str":
        return next(word for word in spec.choices or ("ddp",) if word != spec.default)
    return 3 if spec.default != 3 else 4


@pytest.mark.rule("CLI-008")
@pytest.mark.parametrize("name", FIXED)
def test_settings_without_a_choice_are_those_that_core_refuses(name: str) -> None:
    from ptycho_config import ConfigError
    from ptycho_torch.config_factory.support import check_supported

    homes = [(cls, spec) for cls in SECTIONS.values() for spec in field_specs(cls) if spec.name == name]
    assert homes
    for cls, spec in homes:
        other = cls(**{name: _another(spec)})
        with pytest.raises(ConfigError) as caught:
            check_supported(other)
        assert name in {problem.field for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("module", "sections"),
    [
        (train, ("train", "training", "orientation", "parts", "model", "execution")),
        (inference, ("infer", "inference", "orientation", "parts", "refine", "execution")),
        (refine, ("refine", "orientation", "parts", "refine_data", "refine", "execution")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_command_has_the_flags_of_the_settings_of_its_job(module, sections) -> None:
    job, *offered = sections
    known = set(module.build_parser()._option_string_actions)
    for section, cls in SECTIONS.items():
        for spec in field_specs(cls):
            if section in offered:
                assert (set(spec.flags) <= known) is (job in spec.jobs or not spec.flags), spec.name


def test_an_assignment_without_effect_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("--set", "middle_trim=0") == {"middle_trim": 0}
    err = refusal(capsys, "--set", "middle_trim=8", "--set", "execution.pad_eval=true")
    assert "middle_trim = 8" in err
    assert "it has an effect in infer and live only" in err
    assert "execution.pad_eval = True" in err
