"""Calls in the form of PtychoPINN: positions of the arguments, flips, the middle of a patch, overrides."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.workflows import calls, run_cdi_example_torch, train_cdi_model_torch


def test_positional_arguments_are_those_of_ptychopinn():
    for call, names in {
        run_cdi_example_torch: (
            "train_data", "test_data", "config", "flip_x", "flip_y", "transpose", "M", "do_stitching",
            "execution_config", "overrides",
        ),
        train_cdi_model_torch: ("train_data", "test_data", "config", "execution_config", "overrides"),
    }.items():  # fmt: skip
        parameters = inspect.signature(call).parameters.items()
        found = [name for name, one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        assert tuple(found) == names


def test_the_positional_call_of_ptychopinn(scan, config, cpu):
    """As its own dispatcher calls: nothing flipped, the middle 20 px of each patch, stitched."""
    amplitude, _, results = run_cdi_example_torch(
        scan, scan, config(), False, False, False, 20, True, execution_config=cpu()
    )
    extent = np.ceil(np.ptp(scan.positions, axis=0)).astype(int)
    assert np.abs(np.array(amplitude.shape) - (extent + 20)).max() <= 1
    assert results["payload"].execution_config.middle_trim == 20


def test_flips_of_the_call_are_those_of_the_settings(scan, config, cpu):
    """Positions that run the other way are put right by an argument."""
    mirrored = {
        "diff3d": np.asarray(scan.diffraction),
        "xcoords": -scan.positions[:, 1],
        "ycoords": scan.positions[:, 0],
        "probeGuess": scan.probe,
        "_metadata": {"nphotons": 1e5},
    }
    residuals = {}
    for flip_x in (False, True):
        name = f"flip_x_{flip_x}"
        _, _, results = run_cdi_example_torch(
            mirrored, mirrored, config(name), flip_x, do_stitching=True, execution_config=cpu()
        )
        assert results["payload"].orientation_config.flip_x is flip_x
        residuals[flip_x] = results["forward_residual"]
    assert residuals[True] < 0.5 * residuals[False]
    turned = calls.placed(flip_x=False, flip_y=True, transpose=True, middle=None)
    assert turned == {"orientation.flip_y": True, "orientation.transpose_frames": True}


@pytest.mark.parametrize("spelled", ["nepochs", "max_epochs", "training.nepochs"])
def test_overrides_outrank_the_configuration_and_the_execution(scan, config, cpu, spelled):
    payload = calls.payload_of(
        scan, None, config("over", nepochs=9, model={"N": 32}), cpu(num_workers=3),
        {spelled: 2, "num_workers": 0, "model": {"gridsize": 2}},
    )  # fmt: skip
    assert payload.training_config.nepochs == 2
    assert payload.training_config.batch_size == 8
    assert payload.training_config.model.gridsize == 2
    assert payload.execution_config.num_workers == 0


def test_an_unknown_override_is_refused(scan, config, tmp_path):
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("generator_output_mode",)):
        train_cdi_model_torch(scan, None, config(), overrides={"generator_output_mode": "real_imag"})
    assert not (tmp_path / "run").exists()
