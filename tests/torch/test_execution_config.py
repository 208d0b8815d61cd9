"""`PyTorchExecutionConfig`, as programs build, copy and send it."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys

import pytest

from ptycho_config import (
    ConfigError,
    PyTorchExecutionConfig,
    dataclass_to_legacy_dict,
    evolve,
    from_dict,
    stated_fields,
    to_dict,
)


class TestConstruction:
    def test_keywords_only(self):
        with pytest.raises(TypeError):
            PyTorchExecutionConfig("cpu")
        kinds = {p.kind for p in inspect.signature(PyTorchExecutionConfig).parameters.values()}
        assert kinds == {inspect.Parameter.KEYWORD_ONLY}

    def test_touches_neither_torch_nor_a_device(self):
        source = (
            "import sys; from ptycho_config import PyTorchExecutionConfig; "
            "PyTorchExecutionConfig(accelerator='cuda', devices=8); sys.exit(int('torch' in sys.modules))"
        )
        assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 0

    def test_the_older_spelling_of_devices(self):
        with pytest.warns(DeprecationWarning, match="n_devices is the older spelling of devices"):
            assert PyTorchExecutionConfig(n_devices=2).devices == 2

    @pytest.mark.parametrize("name", ["Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine"])
    def test_schedulers(self, name):
        assert PyTorchExecutionConfig(scheduler=name).scheduler == name

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("accelerator", "tpu"),
            ("accelerator", "abacus"),
            ("num_workers", True),
            ("num_workers", -1),
            ("learning_rate", 0.0),
            ("checkpoint_save_top_k", -2),
            ("scheduler", "default"),
            ("max_time", "one hour"),
            ("persistent_workers", True),
            ("prefetch_factor", 2),
            ("logger_backend", "paper"),
        ],
    )
    def test_wrong_values_are_refused_by_name(self, name, value):
        with pytest.raises(ConfigError) as caught:
            PyTorchExecutionConfig(**{name: value})
        assert [(problem.field, problem.value) for problem in caught.value.problems] == [(name, value)]

    def test_all_problems_at_once(self):
        with pytest.raises(ValueError, match="num_workers") as caught:
            PyTorchExecutionConfig(num_workers=-1, learning_rate=-1.0, checkpoint_mode="best")
        assert {p.field for p in caught.value.problems} == {
            "num_workers",
            "learning_rate",
            "checkpoint_mode",
        }


class TestCopies:
    def test_pickle_keeps_values_and_what_was_stated(self):
        config = PyTorchExecutionConfig(learning_rate=1e-3, num_workers=2)
        again = pickle.loads(pickle.dumps(config))
        assert again == config
        assert stated_fields(again) == {"learning_rate": 1e-3, "num_workers": 2}

    def test_evolve_checks_again(self):
        config = evolve(PyTorchExecutionConfig(num_workers=2), persistent_workers=True)
        assert config.persistent_workers
        with pytest.raises(ConfigError):
            evolve(config, num_workers=0)

    def test_plain_data_and_back(self):
        config = PyTorchExecutionConfig(devices=2, logger_backend=None, max_time="00:01:00:00")
        assert from_dict(PyTorchExecutionConfig, to_dict(config)) == config

    def test_it_never_enters_the_legacy_dictionary(self):
        with pytest.raises(TypeError, match="PyTorchExecutionConfig"):
            dataclass_to_legacy_dict(PyTorchExecutionConfig())
