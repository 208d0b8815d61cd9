"""Programs and modules of the reference: they run, or say what to use."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

REFUSED = {
    "ptycho_torch.train": (("cli_main", "main"), "ptycho_torch.workflows.train"),
    "ptycho_torch.inference": (
        ("_run_inference_and_reconstruct", "cli_main", "load_and_predict", "save_individual_reconstructions"),
        "ptycho_torch.workflows.infer",
    ),
    "ptycho_torch.config_bridge": (("to_model_config", "to_training_config"), "ptycho_config"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_are_not_given_say_what_does_their_work(name):
    names, instead = REFUSED[name]
    module = importlib.import_module(name)
    for entry in names:
        with pytest.raises(ImportError, match=f"{name}.{entry} .*{instead}"):
            getattr(module, entry)
        with pytest.raises(ImportError, match=instead):
            exec(f"from {name} import {entry}")
    assert not hasattr(module, "something_else")


@pytest.mark.parametrize(("name", "command"), [("train", "ptycho-torch train"), ("inference", "infer")])
def test_without_the_command_line_a_program_says_what_to_install(name, command):
    source = (
        "import runpy\n"
        "from ptycho_torch.reference import programs\n"
        "programs.find_spec = lambda name: None\n"
        f"runpy.run_module('ptycho_torch.{name}', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ptycho-torch-cli" in done.stderr
    assert command in done.stderr
    assert "Traceback" not in done.stderr
