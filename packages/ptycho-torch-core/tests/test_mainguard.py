"""A script without a main guard is refused before it starts processes that would run it again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CALL = "require_main_guard('num_workers', 1, without='num_workers=0')"
IMPORT = "from ptycho_torch.mainguard import require_main_guard\n"
RECONSTRUCTION = """
import numpy as np
from ptycho_config import ModelConfig
from ptycho_torch.models import build_patch_model
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.physics import calibrate
from ptycho_torch.prediction.reconstruction import reconstruct
import torch

def work():
    # Too large for the buffer of a pipe: who sends it to a process that is gone waits for ever.
    scan = simulate_scene(N=32, grid=(12, 12), photons=1e4)
    calibration = calibrate(torch.from_numpy(scan.probe), 1e4)
    model = build_patch_model(ModelConfig(N=32, n_filters_scale=1), calibration)
    reconstruct(model, scan, num_workers=1)
    print("done")

"""


def run(path: Path, text: str) -> tuple[int, str, str]:
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(path)], capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.rule("RUN-080")
def test_a_script_without_a_guard_ends_and_says_what_to_do(tmp_path):
    code, out, err = run(tmp_path / "script.py", f"{RECONSTRUCTION}work()\n")
    assert code == 1
    assert out == ""
    assert err.count("Traceback") == 1
    assert "num_workers" in err.splitlines()[-1]
    assert "__main__" in err.splitlines()[-1]


def test_a_script_with_a_guard_reconstructs(tmp_path):
    code, out, err = run(tmp_path / "script.py", f'{RECONSTRUCTION}if __name__ == "__main__":\n    work()\n')
    assert (code, out) == (0, "done\n"), err


UNGUARDED = {
    "plain": CALL,
    "in a function": f"def main():\n    {CALL}\nmain()",
    "under another question": f"import sys\nif sys.argv:\n    {CALL}",
    "beside the guard": f"if __name__ == '__main__':\n    pass\n{CALL}",
    "in a thread": "import threading\nerrors = []\ndef main():\n"
    f"    try:\n        {CALL}\n    except ValueError as e:\n        errors.append(e)\n"
    "thread = threading.Thread(target=main)\nthread.start()\nthread.join()\nif errors:\n    raise errors[0]",
}
GUARDED = {
    "guard": f"if __name__ == '__main__':\n    {CALL}",
    "guard the other way round": f"import sys\nif '__main__' == __name__:\n    sys.exit({CALL})",
    "short": f"__name__ == '__main__' and {CALL}",
    "inside a try": f"try:\n    if __name__ == '__main__':\n        {CALL}\nfinally:\n    pass",
    "first process": f"import multiprocessing\nif multiprocessing.parent_process() is None:\n    {CALL}",
}


@pytest.mark.parametrize("text", UNGUARDED.values(), ids=UNGUARDED)
def test_scripts_that_would_run_again(tmp_path, text):
    code, _, err = run(tmp_path / "script.py", IMPORT + text)
    assert code == 1
    assert "ConfigError" in err


@pytest.mark.parametrize("text", GUARDED.values(), ids=GUARDED)
def test_scripts_that_would_not(tmp_path, text):
    assert run(tmp_path / "script.py", IMPORT + text) == (0, "", "")


def test_what_processes_do_not_run_again_needs_no_guard(tmp_path):
    package = tmp_path / "tool"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(IMPORT + CALL)
    for words in (["-c", IMPORT + CALL], ["-m", "tool"], [str(package)]):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, timeout=60, check=False)
        assert done.returncode == 0


def test_a_script_run_as_a_module_is_run_again(tmp_path):
    (tmp_path / "tool.py").write_text(IMPORT + CALL)
    done = subprocess.run(
        [sys.executable, "-m", "tool"], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 1
