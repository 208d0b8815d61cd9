"""Training and reconstruction in the order in which programs of the reference call them."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from ptycho_torch.bundle import load_bundle
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.errors import BundleError, DataError, ShapeError
from ptycho_torch.reference.checkpoints import find_best_checkpoint
from ptycho_torch.reference.configs import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptycho_torch.reference.engine import InferenceEngine, PtychoModel, PtychoPINN_Lightning, Trainer
from ptycho_torch.reference.loading import PtychoDataLoader
from ptycho_torch.reference.manager import ConfigManager

TINY = TrainingConfig(epochs=2, device="cpu", notes="kept")


@pytest.fixture(scope="module")
def scan():
    return simulate_scene("lines", N=32, grid=(6, 6), step_px=4.0, jitter_px=1.0, photons=1e5, seed=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scan):
    """What ptychodus exports: no metadata, a mask, and here counts that are no whole numbers."""
    place = tmp_path_factory.mktemp("exported")
    bad = np.zeros((32, 32), dtype=bool)
    bad[3] = True
    y, x = (scan.positions - 0.5).T
    np.savez(
        place / "scan.npz", xcoords=x, ycoords=y, xcoords_start=x, ycoords_start=y, bad_pixels=bad,
        diff3d=np.asarray(scan.diffraction) * 1.37, probeGuess=scan.probe.astype(np.complex128),
        objectGuess=np.ones((60, 60), np.complex64), scan_index=np.zeros(scan.n_frames, int),
    )  # fmt: skip
    return place


class Collector:
    """Like the callback of ptychodus: it holds what no other process could be sent."""

    def __init__(self, names):
        self.names, self.seen, self.closure = names, [], lambda: None

    def on_validation_epoch_end(self, trainer, module):
        if not trainer.sanity_checking:
            self.seen.append(("val", trainer.current_epoch, float(trainer.callback_metrics[self.names[1]])))

    def on_train_epoch_end(self, trainer, module):
        self.seen.append(("train", trainer.current_epoch, float(trainer.callback_metrics[self.names[0]])))


def _train(folder, output, **changes):
    manager = ConfigManager(
        data_config=DataConfig(**{"N": 32, "C": 1, **changes.pop("data", {})}),
        model_config=ModelConfig(n_filters_scale=1, **changes.pop("model", {})),
        training_config=TrainingConfig(**{**vars(TINY), **changes}),
        inference_config=InferenceConfig(),
    )
    loader = PtychoDataLoader(data_dir=folder, config_manager=manager, output_dir=output)
    model = PtychoModel._new_model(model=PtychoPINN_Lightning, config_manager=manager)
    trainer = Trainer._from_lightning(model=model, dataloader=loader, config_manager=manager)
    collector = Collector((model.model.loss_name, model.model.val_loss_name))
    trainer._trainer.callbacks.append(collector)
    trainer.train(orchestration="lightning", experiment_name="")
    return loader, collector, model


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        from ptycho_torch.workflows.jobs import training

        patch.setattr(training, "write_training_pictures", lambda *rest: None)
        loader, collector, _ = _train(folder, output)
    return SimpleNamespace(loader=loader, collector=collector, output=output)


def test_callbacks_hear_of_every_epoch_in_order(run):
    kinds = [(kind, epoch) for kind, epoch, _ in run.collector.seen]
    assert kinds == [("val", 0), ("train", 0), ("val", 1), ("train", 1)]
    assert all(np.isfinite(value) for *_, value in run.collector.seen)


def test_everything_lies_in_a_folder_of_the_run(run, folder):
    assert [path.name[:4] for path in run.output.iterdir()] == ["run_"]
    assert [path.name for path in folder.iterdir()] == ["scan.npz"]


def _loaded(path):
    configs = PtychoModel._extract_configs_from_checkpoint(str(path))
    data, model, training, inference = configs
    made = PtychoModel(
        model_config=model, data_config=data, training_config=training, inference_config=inference
    )
    made.model = PtychoPINN_Lightning.load_from_checkpoint(path, model_config=model, data_config=data)
    manager = ConfigManager.from_loaded_model(made)
    manager.validate_arch_compatibility(made)
    return made, manager


def test_the_best_checkpoint_is_a_model_by_itself(run, tmp_path):
    best = find_best_checkpoint(run.loader.output_dir)
    alone = tmp_path / "model.ckpt"
    alone.write_bytes(best.read_bytes())
    made, manager = _loaded(alone)
    assert manager.training_config.notes == "kept"
    assert (manager.data_config.N, manager.data_config.C) == (32, 1)
    assert manager.model_config.mode == "Unsupervised"
    bundled, _ = load_bundle(run.loader.output_dir)
    for name, value in made.model.network.state_dict().items():
        assert bool((bundled.state_dict()[name] == value).all()), name
    assert not bool(made.model.network.measured[3].any())


def test_no_checkpoint_is_none(tmp_path):
    assert find_best_checkpoint(tmp_path) is None


def _predicted(run, patterns, probe, positions):
    made, manager = _loaded(find_best_checkpoint(run.loader.output_dir))
    loader = PtychoDataLoader.from_np(
        diff_patterns=patterns, probe=probe, positions=positions, config_manager=manager
    )
    return InferenceEngine(config_manager=manager, ptycho_model=made).predict_and_stitch(loader)


def test_the_object_is_symmetric_about_the_middle_of_the_positions(run, scan):
    frames, positions = np.asarray(scan.diffraction), scan.positions - 0.5
    image = _predicted(run, frames, scan.probe, positions)
    extent = np.ceil(np.ptp(positions, axis=0)).astype(int)
    assert image.shape == tuple(extent + 32)
    assert image.dtype == np.complex64
    # Anywhere, and a fraction of a pixel away: the same array, since the caller knows its middle only.
    moved = _predicted(run, frames, scan.probe, positions + np.array([1000.37, -250.81]))
    np.testing.assert_allclose(moved, image, atol=2e-3)


def test_features_lie_where_the_positions_of_the_caller_say(run, scan):
    """A canvas that is shifted by half a pixel, or mirrored, fails here."""
    from scipy.ndimage import map_coordinates
    from skimage.registration import phase_cross_correlation

    positions = scan.positions - 0.5
    image = _predicted(run, np.asarray(scan.diffraction), scan.probe, positions)
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2 + scan.object_truth_origin
    axes = [
        np.arange(length) - (length - 1) / 2 + centre
        for length, centre in zip(image.shape, middle, strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    truth = scan.object_truth
    there = map_coordinates(truth.real, grid, order=3) + 1j * map_coordinates(truth.imag, grid, order=3)
    inside = (slice(14, -14),) * 2
    first, second = there[inside], image[inside]
    second = second * (np.vdot(second, first) / np.vdot(second, second))
    moved, _, _ = phase_cross_correlation(
        first - first.mean(), second - second.mean(), upsample_factor=50, normalization=None
    )
    assert np.abs(moved).max() <= 0.25


def test_frames_without_counts_are_left_out_with_their_number(run, scan, caplog):
    frames = np.array(scan.diffraction)
    frames[5] = 0
    with caplog.at_level(logging.WARNING, logger="ptychopinn-torch"):
        image = _predicted(run, frames, scan.probe, scan.positions)
    assert np.isfinite(image).all()
    said = [record for record in caplog.records if record.name == "ptychopinn-torch"]
    assert any(record.args[:3] == (1, 36, 5) for record in said)


@pytest.mark.parametrize(
    ("patterns", "positions", "error"),
    [
        (np.ones((4, 64, 64)), np.zeros((4, 2)), DataError),
        (np.ones((4, 32)), np.zeros((4, 2)), ShapeError),
        (np.ones((4, 32, 32)), np.zeros((3, 2)), ShapeError),
        (np.ones((4, 32, 32)), np.full((4, 2), np.nan), DataError),
    ],
)
def test_frames_that_do_not_fit_are_refused(run, scan, patterns, positions, error):
    with pytest.raises(error):
        _predicted(run, patterns, scan.probe, positions)


def test_as_many_frames_as_pixels_are_no_riddle(run, scan):
    frames, positions = np.asarray(scan.diffraction)[:32], scan.positions[:32]
    assert _predicted(run, frames, scan.probe, positions).ndim == 2


def test_another_model_size_is_said_and_the_frames_keep_theirs(folder, tmp_path, caplog, undrawn):
    with caplog.at_level(logging.INFO, logger="ptychopinn-torch"):
        loader, *_ = _train(folder, tmp_path, data={"N": 128}, epochs=1)
    assert any(record.args == (128, 32, 32) for record in caplog.records)
    assert any(str(record.msg).startswith("epoch %d of %d") for record in caplog.records)
    data, *_ = PtychoModel._extract_configs_from_checkpoint(str(find_best_checkpoint(loader.output_dir)))
    assert data.N == 32


def test_counts_are_not_taken_for_amplitudes(run):
    model, _ = load_bundle(run.loader.output_dir)
    assert float(model.on(0).mean_counts) == pytest.approx(1.37e5, rel=0.1)


def test_a_folder_without_scans_is_refused(tmp_path):
    with pytest.raises(DataError):
        PtychoDataLoader(data_dir=tmp_path, config_manager=ConfigManager(), output_dir=tmp_path)
    with pytest.raises(FileNotFoundError):
        PtychoDataLoader(data_dir=tmp_path / "no", config_manager=ConfigManager(), output_dir=tmp_path)


def test_a_model_that_was_never_trained_is_refused():
    manager = ConfigManager()
    model = PtychoModel._new_model(model=PtychoPINN_Lightning, config_manager=manager)
    with pytest.raises(BundleError):
        InferenceEngine(config_manager=manager, ptycho_model=model)
