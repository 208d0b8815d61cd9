"""Incoherent probe modes from the file through calibration and training to the object."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ptycho_torch.bundle import load_bundle
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.metrics import compare
from ptycho_torch.testing import tiny_scene
from ptycho_torch.workflows import reconstruct, train

pytestmark = pytest.mark.usefixtures("undrawn")

POWERS = (1.0, 0.6, 0.4)


@pytest.fixture(scope="module")
def partly_coherent():
    """64 frames of 32 x 32 counts that three modes lit, without noise."""
    return tiny_scene(grid=(8, 8), mode_powers=POWERS, seed=1)


@pytest.fixture
def learned(payload, partly_coherent, tmp_path):
    """Training with the first modes of the scan, what its bundle holds and the scores of its object."""

    def make(modes):
        scan = replace(partly_coherent, probe=partly_coherent.probe[:modes])
        save_scan(tmp_path / f"{modes}.npz", scan)
        execution = {"learning_rate": 5e-3, "enable_checkpointing": False, "logger_backend": None}
        outcome = train(payload(f"run{modes}", execution, scan=tmp_path / f"{modes}.npz", nepochs=12))
        model, _ = load_bundle(outcome.bundle)
        found = reconstruct(model, scan)
        report = compare(
            found.object,
            scan.object_truth,
            weight=found.weight,
            origin=found.origin,
            truth_origin=scan.object_truth_origin,
            frc=False,
        )
        return outcome, model, report

    return make


@pytest.mark.rule("PHY-017")
def test_three_modes_beat_one_on_light_of_three(learned):
    (single, _, alone), (several, model, together) = learned(1), learned(3)
    assert several.history[-1]["val_loss"] < 0.8 * single.history[-1]["val_loss"]
    assert together.scores.complex_nrmse < 0.9 * alone.scores.complex_nrmse
    assert together.scores.complex_nrmse < 0.65 * together.flat.complex_nrmse
    # The gauge: the power of all modes together, their balance as it came, and an empty beam at the counts.
    power = model.probe.abs().square().sum(dim=(-2, -1))
    torch.testing.assert_close(power, 256 * torch.tensor(POWERS) / sum(POWERS), rtol=1e-4, atol=0)
    empty = model.predict_counts(torch.ones(32, 32, dtype=torch.complex64))
    assert float(empty.sum()) == pytest.approx(float(model.mean_counts), rel=1e-5)
    assert float(model.mean_counts) == pytest.approx(1e6, rel=0.05)
