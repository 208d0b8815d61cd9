"""Modules of the reference: lazy, and deprecated in words."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

CONFIGS = ("DataConfig", "ModelConfig", "TrainingConfig", "InferenceConfig", "DatagenConfig")
DOORS = {
    "ptycho_torch.config_params": CONFIGS,
    "ptycho_torch.api.base_api": (
        *("ConfigManager", "DataloaderFormats", "PtychoDataLoader", "PtychoModel", "Trainer"),
        "InferenceEngine",
        *CONFIGS,
    ),
    "ptycho_torch.model": ("PtychoPINN_Lightning",),
    "ptycho_torch.lightning_utils": ("find_best_checkpoint",),
}


@pytest.mark.parametrize("name", DOORS)
def test_names_are_given_with_one_warning_that_names_what_replaces_them(name, recwarn):
    module = importlib.import_module(name)
    for entry in DOORS[name]:
        vars(module).pop(entry, None)
    assert not recwarn
    with pytest.warns(DeprecationWarning, match=f"{name} .*use .*ptycho_"):
        first = getattr(module, DOORS[name][0])
    assert first is not None
    assert all(getattr(module, entry) is not None for entry in DOORS[name])
    assert sorted(module.__all__) == sorted(DOORS[name])
    with pytest.raises(AttributeError):
        module.something_else  # noqa: B018


def test_importing_and_constructing_configurations_loads_no_trainer_and_no_device():
    source = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from ptycho_torch.config_params import DataConfig, ModelConfig\n"
        "DataConfig(), ModelConfig()\n"
        "print([name for name in ('torch', 'lightning', 'numpy') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True).stdout
    assert said.strip() == "[]"
