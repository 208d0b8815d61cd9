"""One backend: what says so, what refuses the other, and what keeps programs from choosing wrongly."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import files
from importlib.util import find_spec

import pytest

from ptycho_config import ConfigError, InferenceConfig, TrainingConfig, evolve
from ptycho_torch.bundle import read_manifest
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.workflows import run_cdi_example_torch, train_cdi_model_torch

REFUSED = r"backend = 'tensorflow': expected 'pytorch'.*the TensorFlow backend is another program"


class TestSharedDataclasses:
    @pytest.mark.parametrize("cls", [TrainingConfig, InferenceConfig])
    def test_both_names_are_values_and_pytorch_is_the_default(self, cls):
        assert cls().backend == "pytorch"
        assert cls(backend="tensorflow").backend == "tensorflow"
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("backend",)):
            cls(backend="jax")


class TestRefusal:
    @pytest.mark.rule("EMB-014")
    def test_by_the_training_factory(self, scan_file, tmp_path):
        with pytest.raises(ValueError, match=REFUSED):
            create_training_payload(scan_file, tmp_path / "run", {"backend": "tensorflow"})

    @pytest.mark.rule("EMB-014")
    def test_by_the_inference_factory(self, bundle_dir, scan_file, tmp_path):
        with pytest.raises(ValueError, match=REFUSED):
            create_inference_payload(bundle_dir, scan_file, tmp_path / "run", {"backend": "tensorflow"})

    @pytest.mark.rule("EMB-014")
    @pytest.mark.parametrize("call", [train_cdi_model_torch, run_cdi_example_torch])
    def test_by_the_workflows_before_anything_is_written(self, call, scan, config, tmp_path):
        with pytest.raises(ValueError, match=REFUSED):
            call(scan, None, evolve(config("run"), backend="tensorflow"))
        assert not (tmp_path / "run").exists()


class TestWhatSaysPyTorch:
    def test_results(self, trained):
        assert trained[2]["backend"] == "pytorch"

    def test_bundles(self, bundle_dir):
        assert read_manifest(bundle_dir).backend == "pytorch"


class TestNoPromiseOfTensorFlow:
    """Programs take a package called ptycho as the promise of a TensorFlow backend."""

    def test_no_distribution_ships_it(self):
        for name in ("ptycho-config", "ptycho-torch-core", "ptycho-torch-cli"):
            top = {path.parts[0] for path in files(name) or ()}
            assert "ptycho" not in top
            assert "ptycho.py" not in top

    @pytest.mark.skipif(find_spec("ptycho") is not None, reason="another program has installed it")
    def test_nothing_here_provides_it(self):
        done = subprocess.run([sys.executable, "-c", "import ptycho"], capture_output=True, check=False)
        assert b"No module named 'ptycho'" in done.stderr

    def test_what_programs_look_for_is_there_and_finding_it_loads_no_torch(self):
        source = (
            "import sys; from importlib.util import find_spec; import ptycho_torch; "
            "assert find_spec('ptycho_torch') and find_spec('lightning'); "
            "sys.exit(int('torch' in sys.modules))"
        )
        assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0
