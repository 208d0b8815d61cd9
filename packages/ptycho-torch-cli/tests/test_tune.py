"""The command that searches settings, and the command that it prints."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch_cli.__main__ import main

QUICK = ["--epochs", "3", "--refine-warm-up", "0", "--accelerator", "cpu"]
FEW = [*QUICK, "--choose", "likelihood,dose", "--trials", "3"]


@pytest.fixture(scope="module")
def faulty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan whose dose varies, in a folder with a blank in its name."""
    from ptycho_torch.data import save_scan
    from ptycho_torch.data.simulation import Faults, simulate_scene

    size = {"N": 32, "grid": (6, 6), "step_px": 4.0, "jitter_px": 1.0, "photons": 1e5, "seed": 1}
    path = tmp_path_factory.mktemp("a scan") / "scan.npz"
    save_scan(path, simulate_scene("random_field", faults=Faults(dose_rms=0.4), **size))
    return path


def _printed(out: str, name: str) -> str:
    (line,) = [line for line in out.splitlines() if line.startswith(name)]
    return line.removeprefix(name).strip()


def _trials(folder: Path) -> list[dict[str, object]]:
    return json.loads((folder / "trials.json").read_text())["trials"]


@pytest.mark.rule("CLI-033", "RUN-092")
def test_the_printed_command_repeats_the_best(
    faulty_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "it's tuned"
    assert main(["tune", "--data", str(faulty_file), "--output-dir", str(output), *FEW]) == 0
    out, err = capsys.readouterr()
    assert "--refine-dose takes away" in _printed(out, "verdict")
    assert "as many trials as were asked for are done" in _printed(out, "trials ")
    rows = [line for line in out.splitlines() if line.endswith(("(the defaults)", "--refine-dose  best"))]
    assert len(rows) == 2
    assert "3/3 trials" in err
    words = shlex.split(_printed(out, "command"))
    assert words[:2] == ["ptycho-torch", "refine"]
    assert main(words[1:]) == 0
    record = json.loads((output / "best" / "resolved_config.json").read_text())
    assert record["values"]["refine"]["refine_dose"] is True
    assert record["values"]["refine"]["refine_epochs"] == 3
    with np.load(output / "best" / "reconstruction.npz") as found:
        assert found["dose"].std() > 0.1


@pytest.mark.rule("CLI-033", "REF-063")
def test_where_nothing_beats_the_defaults_the_plain_command_is_printed(
    scan_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ptycho_torch.data import save_scan
    from ptycho_torch.data.simulation import simulate_scene

    path = tmp_path / "scan.npz"
    save_scan(path, simulate_scene("lines", N=32, grid=(6, 6), photons=1e5, seed=5))
    argv = ["tune", "--data", str(path), "--output-dir", str(tmp_path / "out"), *FEW]
    assert main([*argv, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert _printed(out, "verdict").startswith("nothing beats the defaults")
    assert "--refine-dose" not in _printed(out, "command")


@pytest.mark.rule("CLI-033")
def test_the_same_as_json(faulty_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["tune", "--data", str(faulty_file), "--output-dir", str(tmp_path / "out"), *FEW]
    assert main([*argv, "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"] == {"refine_dose": True}
    assert found["gain"] > 0.1
    assert shlex.split(found["command"]) == found["words"]
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3


@pytest.mark.rule("REF-064")
def test_a_budget_is_that_of_the_command(
    faulty_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    argv = ["tune", "--data", str(faulty_file), "--output-dir", str(output), *FEW, "--quiet"]
    assert main([*argv, "--budget-s", "1e-6"]) == 1
    assert "--resume with a larger --budget-s goes on" in capsys.readouterr().err
    assert main(["tune", "--resume", "--output-dir", str(output), "--budget-s", "1000", "--quiet"]) == 0
    assert len(_trials(output)) == 3


@pytest.mark.rule("RUN-093")
def test_a_search_that_was_killed_goes_on_as_one_that_was_not(faulty_file: Path, tmp_path: Path) -> None:
    """Killed by the system while the record of the second trial is about to take its name."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    argv = ["tune", "--data", str(faulty_file), *FEW, "--quiet"]
    assert main([*argv, "--output-dir", str(whole)]) == 0
    worker = Path(__file__).with_name("killed_command.py")
    run = subprocess.run(
        [sys.executable, str(worker), str(cut / "trials.json"), "3", *argv, "--output-dir", str(cut)],
        capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert len(_trials(cut)) == 1
    assert main(["tune", "--resume", "--output-dir", str(cut), "--quiet"]) == 0
    told = ("number", "settings", "state", "deviances")
    assert [[trial[key] for key in told] for trial in _trials(cut)] == [
        [trial[key] for key in told] for trial in _trials(whole)
    ]
    assert not list(cut.glob(".*.tmp"))


@pytest.mark.rule("RUN-024", "RUN-093")
def test_a_search_that_a_batch_system_ends_says_how_to_go_on(faulty_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = [*(sys.executable, "-m", "ptycho_torch_cli", "tune", "--data", str(faulty_file))]
    words += ["--output-dir", str(output), "--epochs", "1000", "--accelerator", "cpu", "--choose", "dose"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while not (output / "resolved_config.json").is_file() and run.poll() is None:
            time.sleep(0.05)
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    assert out == ""
    last = err.splitlines()[-1]
    kept = output / "trials.json"
    assert last == f"ptycho-torch tune: interrupted; --resume goes on; what was reached is kept: {kept}"
    assert "Traceback" not in err
    assert {trial["state"] for trial in _trials(output)} <= {"interrupted"}


def test_dry_run_prints_settings_and_writes_nothing(
    faulty_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "result"
    argv = ["tune", "--data", str(faulty_file), "--output-dir", str(output), "--choose", "dose", "--dry-run"]
    assert main(argv) == 0
    assert "choose = dose  [cli]  over default=all" in capsys.readouterr().out
    assert not output.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--choose", "dose,phase"], "names with commas between them among likelihood"),
        (["--resume", "--overwrite"], "keep one of them"),
        (["--resume"], "to resume"),
        (["--position-search-px", "10"], "--position-search-px: unknown flag"),
        (["--budget-s", "0"], "greater than 0"),
        (["--choose", "dose", "--refine-dose"], "something to choose"),
    ],
)
def test_wrong_usage_is_refused(
    faulty_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    argv = ["tune", "--data", str(faulty_file), "--output-dir", str(tmp_path / "out"), "--accelerator", "cpu"]
    assert main([*argv, *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.rule("REF-067")
def test_without_optuna_the_extra_is_named(
    faulty_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["tune", "--data", str(faulty_file), "--output-dir", str(tmp_path / "out")]) == 2
    assert "pip install 'ptycho-torch-core[tune]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
