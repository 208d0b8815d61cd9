"""A model learns from known patches, and is used like any other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.errors import DataError
from ptycho_torch.workflows import reconstruct, train
from ptycho_torch.workflows.jobs.preparation import prepare_training


def _first_labels(prepared, n=30):
    return prepared.train.__getitems__(range(min(n, len(prepared.train))))


@pytest.mark.rule("PHY-027")
@pytest.mark.parametrize("gridsize", [1, 2])
def test_learning_from_labels_approaches_the_truth(gridsize, payload, tiny_scan):
    outcome = train(
        payload(
            model_type="supervised",
            gridsize=gridsize,
            nepochs=8,
            execution={"learning_rate": 3e-3, "val_fraction": 0.2},
        )
    )
    rows = outcome.history
    assert {"train_labels", "val_labels"} <= set(rows[0])
    assert "train_poisson" not in rows[0]
    assert rows[-1]["val_labels"] < 0.7 * rows[0]["val_labels"]
    result = reconstruct(outcome.model, tiny_scan)
    shift = tiny_scan.object_truth_origin - result.origin
    rows, columns = np.nonzero(result.weight > 0.3 * result.weight.max())
    truth = tiny_scan.object_truth[rows + int(shift[0]), columns + int(shift[1])]
    seen = result.object[rows, columns]
    seen = seen * np.vdot(seen, truth) / np.vdot(seen, seen)
    flat = truth.mean()
    assert np.linalg.norm(seen - truth) < 0.7 * np.linalg.norm(flat - truth)


@pytest.mark.rule("DATA-081")
@pytest.mark.parametrize("factor", [0.01, 1.0, 30.0])
def test_labels_come_in_the_gauge_of_the_model(factor, tmp_path, payload, tiny_scan):
    scaled = replace(tiny_scan, object_truth=(factor * tiny_scan.object_truth).astype(np.complex64))
    save_scan(tmp_path / "scaled.npz", scaled)
    prepared = prepare_training(payload(scan=tmp_path / "scaled.npz", model_type="supervised").task)
    batch = _first_labels(prepared)
    predicted = prepared.model.predict_counts(batch["labels"])
    assert float(predicted.sum()) == pytest.approx(float(batch["counts"].sum()), rel=0.01)
    assert 0.5 < float(batch["labels"].abs().mean()) < 2


def test_labels_stay_in_the_gauge_with_bad_pixels_and_a_blur(tmp_path, payload, tiny_scan):
    bad = np.zeros((32, 32), dtype=bool)
    bad[14:18, 14:18] = True
    frames = np.where(bad, 0, tiny_scan.diffraction)
    save_scan(tmp_path / "bad.npz", replace(tiny_scan, bad_pixels=bad, diffraction=frames))
    prepared = prepare_training(
        payload(scan=tmp_path / "bad.npz", model_type="supervised", gaussian_smoothing_sigma=1.0).task
    )
    batch = _first_labels(prepared)
    predicted = prepared.model.predict_counts(batch["labels"]) * prepared.model.measured
    assert float(predicted.sum()) == pytest.approx(float(batch["counts"].sum()), rel=0.01)


def test_labels_are_those_of_their_frames(payload, tiny_scan):
    prepared = prepare_training(payload(model_type="supervised", gridsize=2).task)
    batch = _first_labels(prepared)
    predicted = prepared.model.predict_counts(batch["labels"]).sqrt().flatten(2)
    measured = batch["counts"].sqrt().flatten(2)
    norms = torch.linalg.vector_norm(predicted, dim=-1), torch.linalg.vector_norm(measured, dim=-1)
    own = (predicted * measured).sum(dim=-1) / (norms[0] * norms[1])
    other = (predicted * measured.roll(1, dims=1)).sum(dim=-1) / (norms[0] * norms[1].roll(1, dims=1))
    assert (own > other).all()
    assert own.min() > 0.95


@pytest.mark.rule("PHY-027")
def test_a_weight_for_labels_adds_them_to_the_physics(payload):
    outcome = train(payload(realspace_mae_weight=0.5))
    row = outcome.history[0]
    assert row["train_loss"] == pytest.approx(row["train_poisson"] + 0.5 * row["train_labels"], rel=1e-4)


def test_without_need_no_labels_are_cut(payload):
    assert "labels" not in _first_labels(prepare_training(payload().task))


def test_without_labels_nothing_is_written(tmp_path, payload, tiny_scan):
    save_scan(tmp_path / "plain.npz", replace(tiny_scan, object_truth=None))
    made = payload(scan=tmp_path / "plain.npz", model_type="supervised")
    with pytest.raises(DataError, check=lambda error: error.names == ("Y or objectGuess",)):
        train(made)
    assert not (tmp_path / "run").exists()


def test_labels_without_light_are_refused(tmp_path, payload, tiny_scan):
    dark = replace(tiny_scan, object_truth=np.zeros_like(tiny_scan.object_truth))
    save_scan(tmp_path / "dark.npz", dark)
    with pytest.raises(DataError, check=lambda error: error.names == ("labels",)):
        prepare_training(payload(scan=tmp_path / "dark.npz", model_type="supervised").task)
