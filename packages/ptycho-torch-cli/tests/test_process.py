"""What only a process of its own can show: signals, streams, start-up time, modules loaded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULES = """
import json, sys
from ptycho_torch_cli.__main__ import main
code = main({words!r})
print()
print(json.dumps([code, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""


@pytest.mark.rule("CLI-015")
@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["train", "--help"], ["config", "show"], ["config", "explain", "N"]]
)
def test_light_commands_load_nothing_heavy(words: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", MODULES.format(words=words)], capture_output=True, text=True, check=True
    )
    code, loaded = json.loads(run.stdout.splitlines()[-1])
    assert code == 0
    assert not {"torch", "numpy", "scipy", "lightning", "matplotlib", "tqdm", "ptycho_torch"} & set(loaded)


@pytest.mark.rule("CLI-001")
@pytest.mark.parametrize(
    ("module", "prog"),
    [
        ("ptycho_torch_cli", "ptycho-torch"),
        ("ptycho_torch_cli.train", "ptycho-torch train"),
        ("ptycho_torch_cli.inference", "ptycho-torch infer"),
    ],
)
def test_modules_are_commands(module: str, prog: str, ptycho_torch) -> None:
    run = ptycho_torch("--help", module=module)
    assert run.returncode == 0
    assert run.stdout.startswith(f"usage: {prog} ")
    assert run.stderr == ""


def test_deprecated_flags_are_told_to_people(scan_file: Path, tmp_path: Path, ptycho_torch) -> None:
    run = ptycho_torch(
        *("train", "--train-data-file", str(scan_file), "--device", "cpu", "--disable_mlflow", "--dry-run"),
        cwd=tmp_path,
    )
    assert run.returncode == 0
    assert run.stderr.splitlines() == [
        "DeprecationWarning: --device is deprecated, use --accelerator",
        "DeprecationWarning: --disable_mlflow is deprecated, use --logger none and --quiet",
    ]
    assert "accelerator = cpu  [cli]" in run.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A process inherits that its shell made it deaf to Ctrl-C, as shells do in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.rule("CLI-014", "RUN-016")
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_names_its_checkpoint(
    scan_file: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    output = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "ptycho_torch_cli", "train", "--train-data-file", str(scan_file)),
        *("--output-dir", str(output), "--nepochs", "100000", "--accelerator", "cpu"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=environment) as run:  # fmt: skip
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("epoch 2/"):
                break
        run.send_signal(sent)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("ptycho-torch train: interrupted; --resume goes on; the last checkpoint is kept: ")
    assert Path(last.rpartition(": ")[2]).is_file()
    assert "Traceback" not in err


def _refinement(command: str, scan_file: Path, model_dir: Path, output: Path) -> list[str]:
    words = {
        "refine": ["refine", "--data", str(scan_file), "--refine-epochs", "100000"],
        "infer": [
            *("infer", "--model-path", str(model_dir), "--test-data", str(scan_file)),
            *("--refine", "100000"),
        ],
    }
    return [
        *(sys.executable, "-m", "ptycho_torch_cli", *words[command]),
        *("--output-dir", str(output), "--accelerator", "cpu", "--set", "refine.refine_tolerance=0"),
    ]


def _until_refining(run: subprocess.Popen[str]) -> None:
    assert run.stderr is not None
    for line in run.stderr:
        if "refining" in line:
            return


@pytest.mark.rule("RUN-024")
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("command", "sent"), [("refine", signal.SIGTERM), ("infer", signal.SIGTERM)])
def test_what_a_refinement_reached_is_kept_when_a_batch_system_ends_it(
    command: str, sent: signal.Signals, scan_file: Path, model_dir: Path, tmp_path: Path
) -> None:
    words = _refinement(command, scan_file, model_dir, tmp_path / "out")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        _until_refining(run)
        run.send_signal(sent)
        # Some batch systems say it twice.
        run.send_signal(sent)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130, err
    kept = tmp_path / "out" / "reconstruction.npz"
    assert err.splitlines()[-1].endswith(f"interrupted; what was reached is kept: {kept}")
    assert kept.is_file()
    assert "Traceback" not in err


@pytest.mark.rule("RUN-024")
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_twice_ends_at_once_and_leaves_no_traceback(
    scan_file: Path, model_dir: Path, tmp_path: Path
) -> None:
    words = _refinement("infer", scan_file, model_dir, tmp_path / "out")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        _until_refining(run)
        run.send_signal(signal.SIGINT)
        time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in err
    assert "interrupted" in err.splitlines()[-1]


WHILE_IMPORTING = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
            {again}
sys.meta_path.insert(0, Interrupt())
from ptycho_torch_cli.__main__ import run
sys.exit(run(["inspect", "scan.npz"]))
"""


@pytest.mark.rule("RUN-024")
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("again", ["", "os.kill(os.getpid(), signal.SIGINT)"])
@pytest.mark.parametrize("name", ["ptycho_config", "ptycho_torch_cli.parsers", "ptycho_torch"])
def test_ctrl_c_while_a_command_is_loaded_leaves_no_traceback(name: str, again: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WHILE_IMPORTING.format(name=name, again=again)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 130, run.stderr
    assert "interrupted" in run.stderr
    assert "Traceback" not in run.stderr
    assert "KeyboardInterrupt" not in run.stderr


@pytest.mark.rule("RUN-024")
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_after_the_work_is_done_leaves_no_traceback() -> None:
    script = (
        "import atexit, os, signal, sys\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "from ptycho_torch_cli.__main__ import run\n"
        "sys.exit(run(['--version']))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 130
    assert run.stdout.startswith("ptycho-torch-cli")
    assert run.stderr == "ptycho-torch: interrupted\n"


@pytest.mark.rule("RUN-063")
def test_two_processes_of_the_command_speak_once(scan_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    command = [
        *(sys.executable, "-m", "ptycho_torch_cli", "train", "--train-data-file", str(scan_file)),
        *("--output-dir", str(output), "--nepochs", "1", "--n-groups", "16", "--accelerator", "cpu"),
        *("--devices", "2", "--strategy", "ddp"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("bundle  ") == 1
    assert run.stderr.count("epoch 1/1") == 1
    assert {path.name for path in output.iterdir()} == {
        "wts.h5.zip", "checkpoints", "logs", "resolved_config.json",
        "training.png", "patches.png", "report.html", "verdict.json", ".run-train.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [["inspect", "SCAN"], ["--version"], ["config", "--version"], ["train", "--help"], ["config", "show"]],
)
def test_a_reader_that_goes_away_is_no_failure(words: list[str], scan_file: Path) -> None:
    words = [str(scan_file) if word == "SCAN" else word for word in words]
    command = [sys.executable, "-m", "ptycho_torch_cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        err = run.stderr.read()
        run.wait(timeout=60)
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
