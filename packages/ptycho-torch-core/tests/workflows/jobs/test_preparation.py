"""From a file to calibrated frames."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import TrainingConfig, spec_of
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.reading import read_scan
from ptycho_torch.errors import ScanWarning
from ptycho_torch.workflows.jobs.preparation import prepare_training


def _amplitude_file(tmp_path, scan, frames):
    path = tmp_path / "amplitude.npz"
    np.savez(
        path,
        diffraction=frames,
        xcoords=scan.positions[:, 1],
        ycoords=scan.positions[:, 0],
        probeGuess=scan.probe,
    )
    return path


def _read(path, nphotons=2e4):
    return read_scan(path, n_pixels=32, measurement_domain="amplitude", nphotons=nphotons)


@pytest.mark.rule("DATA-025")
def test_roots_of_counts_become_the_counts(tmp_path, tiny_scan):
    path = _amplitude_file(tmp_path, tiny_scan, np.sqrt(tiny_scan.diffraction.astype(np.float32)))
    np.testing.assert_array_equal(_read(path).diffraction, tiny_scan.diffraction)


@pytest.mark.rule("DATA-025")
@pytest.mark.parametrize("largest", [0.01, 0.2, 7.3, 5e3])
def test_amplitudes_of_unknown_dose_get_the_stated_photons(tmp_path, tiny_scan, largest):
    frames = np.sqrt(tiny_scan.diffraction.astype(np.float32))
    frames *= np.float32(largest / frames.max())
    scan = _read(_amplitude_file(tmp_path, tiny_scan, frames))
    assert scan.counts_per_frame().mean() == pytest.approx(2e4, rel=1e-5)
    assert scan.diffraction.dtype == np.float32
    ratio = tiny_scan.counts_per_frame() / scan.counts_per_frame()
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


@pytest.mark.rule("DATA-025")
def test_a_dose_that_nobody_stated_is_said_aloud(tmp_path, tiny_scan, caplog):
    frames = np.sqrt(tiny_scan.diffraction.astype(np.float32))
    frames /= frames.max()
    path = _amplitude_file(tmp_path, tiny_scan, frames)
    default = spec_of(TrainingConfig, "nphotons").default
    with caplog.at_level(logging.WARNING):
        _read(path)
        assert not caplog.records
        _read(path, nphotons=default)
    [record] = caplog.records
    assert default in record.args


def test_validation_frames_are_set_aside_from_the_chosen_ones(payload):
    made = prepare_training(payload(n_groups=20, execution={"val_fraction": 0.25}).task)
    train, validation = (set(part.groups[:, 0].tolist()) for part in (made.train, made.validation))
    assert (len(train), len(validation)) == (15, 5)
    assert not train & validation
    other = prepare_training(payload(n_groups=20, execution={"val_fraction": 0.25, "val_seed": 1}).task)
    assert set(other.validation.groups[:, 0].tolist()) != validation


def test_a_test_file_is_validated_on_whole(tmp_path, payload, tiny_scan):
    save_scan(tmp_path / "other.npz", tiny_scan.take(np.arange(7)))
    made = prepare_training(payload(test_data_file=str(tmp_path / "other.npz")).task)
    assert (len(made.train), len(made.validation)) == (30, 7)
    np.testing.assert_array_equal(made.validation.frames, tiny_scan.diffraction[:7])


def test_the_seeds_choose_frames_and_weights(payload):
    chosen = [
        prepare_training(payload(n_groups=10, **seeds).task).train.groups[:, 0].tolist()
        for seeds in ({"seed": 0}, {"seed": 1}, {"seed": 1, "subsample_seed": 0})
    ]
    assert chosen[0] == chosen[2] != chosen[1]
    first, again, other = (prepare_training(payload(seed=s).task).model.state_dict() for s in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_sequential_sampling_takes_the_first_frames(payload):
    made = prepare_training(
        payload(n_groups=10, sequential_sampling=True, execution={"val_fraction": 0.0}).task
    )
    assert made.train.groups[:, 0].tolist() == list(range(10))
    assert len(made.validation) == 0


@pytest.mark.rule("PHY-013")
def test_the_gauge_comes_from_the_training_frames(payload, tiny_scan):
    made = prepare_training(payload(n_groups=10).task)
    mean = tiny_scan.counts_per_frame()[made.train.groups[:, 0]].mean()
    assert float(made.model.mean_counts) == pytest.approx(mean)
    assert float(made.model.intensity_scale) == pytest.approx(mean / 256)


def test_bad_pixels_reach_the_model(tmp_path, payload, tiny_scan):
    bad = np.zeros((32, 32), dtype=bool)
    bad[4, 7] = True
    frames = tiny_scan.diffraction.copy()
    frames[:, 4, 7] = 0
    save_scan(tmp_path / "bad.npz", replace(tiny_scan, bad_pixels=bad, diffraction=frames))
    made = prepare_training(payload(scan=tmp_path / "bad.npz").task)
    np.testing.assert_array_equal(made.model.measured.numpy(), ~bad)


@pytest.mark.rule("CFG-044", "DATA-122")
@pytest.mark.parametrize("asked", [{}, {"n_groups": 30}, {"n_groups": 29}])
def test_a_frame_that_is_left_out_is_not_missed(tmp_path, payload, tiny_scan, asked):
    frames = tiny_scan.diffraction.copy()
    frames[3] = 0
    save_scan(tmp_path / "dark.npz", replace(tiny_scan, diffraction=frames))
    with pytest.warns(ScanWarning, match="left out"):
        made = prepare_training(payload(scan=tmp_path / "dark.npz", **asked).task)
    assert made.scans[0].n_left_out == 1
    used = [set(part.groups[:, 0].tolist()) for part in (made.train, made.validation)]
    assert len(used[0] | used[1]) == 29


def test_ceilings_reach_the_model(tmp_path, payload, tiny_scan):
    ceiling = np.full((32, 32), np.inf)
    ceiling[4, 7] = 1e6
    save_scan(tmp_path / "full.npz", replace(tiny_scan, ceiling=ceiling))
    made = prepare_training(payload(scan=tmp_path / "full.npz").task)
    np.testing.assert_array_equal(made.model.physics.ceiling.numpy(), ceiling)
    assert "ceiling" not in "".join(made.model.state_dict())


def test_the_repr_of_what_was_prepared_is_short(payload):
    assert len(repr(prepare_training(payload().task))) < 300
