"""Pictures that a training logs, read back from where each logger puts them."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from io import BytesIO

import matplotlib.image
import numpy as np
import pytest
import torch

from ptycho_config import ConfigError
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.lightning import images
from ptycho_torch.workflows import reconstruct, train
from ptycho_torch.workflows.jobs import training as training_module
from ptycho_torch.workflows.jobs.training_pictures import TRAINING_PICTURES

pytestmark = pytest.mark.drawn

PATCH, OBJECT = ("patch_amplitude", "patch_phase"), ("object_amplitude", "object_phase")


@pytest.fixture(autouse=True)
def quick_figure(monkeypatch):
    """Drawing takes longer than these trainings."""

    def touch(leaving, *rest):
        for name in TRAINING_PICTURES:
            (leaving.folder / name).touch()

    monkeypatch.setattr(training_module, "write_training_pictures", touch)


def _names(outcome):
    return sorted(path.name for path in (outcome.output_dir / "logs" / "images").iterdir())


def _read(outcome, name):
    return matplotlib.image.imread(outcome.output_dir / "logs" / "images" / name)


@pytest.mark.rule("RUN-023")
def test_every_n_epochs_files_lie_beside_the_table(payload):
    outcome = train(payload(nepochs=5, n_groups=12, execution={"recon_log_every_n_epochs": 2}))
    expected = sorted(f"{name}-epoch={epoch:03d}.png" for name in PATCH for epoch in (1, 3))
    assert _names(outcome) == expected
    assert (outcome.output_dir / "logs" / "metrics.csv").is_file()


def test_pictures_show_what_the_network_draws(payload):
    execution = {"val_fraction": 0.3, "recon_log_every_n_epochs": 1, "recon_log_num_patches": 1}
    made = payload(nepochs=1, execution={**execution, "learning_rate": 3e-3})
    validation = training_module.prepare_training(made.task).validation
    outcome = train(made)
    batch = validation.__getitems__([0])
    with torch.no_grad():
        patch = outcome.model(batch["counts"], batch["offsets"])[0, 0].abs().numpy()
    light = outcome.model.patch_weight().numpy()
    picture = _read(outcome, "patch_amplitude-epoch=000.png")[..., :3]
    assert picture.shape == (32, 32, 3)
    seen = light > 0.1 * light.max()
    np.testing.assert_allclose(picture[~seen], 217 / 255, atol=1e-3)
    # The map gets lighter from end to end, so its brightness follows the amplitude.
    brightness = picture[seen] @ np.array([0.2126, 0.7152, 0.0722])
    assert np.corrcoef(brightness, patch[seen])[0, 1] > 0.99


@pytest.mark.parametrize(
    ("execution", "shape"),
    [
        ({"recon_log_num_patches": 1}, (32, 32)),
        ({"recon_log_num_patches": 4}, (66, 66)),
        ({"recon_log_num_patches": 100}, (100, 100)),
        ({"recon_log_fixed_indices": (5, 0)}, (32, 66)),
    ],
)
def test_number_and_choice_of_patches(payload, execution, shape):
    # Nine patches are validated.
    outcome = train(
        payload(n_groups=30, execution={"val_fraction": 0.3, "recon_log_every_n_epochs": 1, **execution})
    )
    assert _read(outcome, "patch_phase-epoch=000.png").shape[:2] == shape


def test_fixed_patches_are_those_and_no_others(payload):
    execution = {"val_fraction": 0.3, "recon_log_every_n_epochs": 1}
    one, two, swapped = (
        _read(
            train(payload(str(chosen), {**execution, "recon_log_fixed_indices": chosen})),
            "patch_amplitude-epoch=000.png",
        )
        for chosen in ((3,), (3, 7), (7, 3))
    )
    assert one.shape[:2] == (32, 32)
    # Colours are scaled together; which pixels are grey does not tell the patches apart, the rest does.
    assert not np.array_equal(two, swapped)
    np.testing.assert_array_equal(two[:, :32], swapped[:, 34:])


@pytest.mark.parametrize("gridsize", [1, 2])
def test_numbers_beyond_the_patches_are_refused_before_anything_is_written(payload, tmp_path, gridsize):
    execution = {"val_fraction": 0.3, "recon_log_every_n_epochs": 1, "recon_log_fixed_indices": (99,)}
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("recon_log_fixed_indices",)):
        train(payload(execution=execution, gridsize=gridsize))
    assert not (tmp_path / "run").exists()


def test_patches_of_groups_are_numbered_through(payload):
    execution = {"val_fraction": 0.3, "recon_log_every_n_epochs": 1, "recon_log_fixed_indices": (0, 1, 2, 3)}
    outcome = train(payload(execution=execution, gridsize=2))
    picture = _read(outcome, "patch_amplitude-epoch=000.png")
    quarters = [picture[y : y + 32, x : x + 32] for y in (0, 34) for x in (0, 34)]
    assert all(not np.array_equal(quarters[0], other) for other in quarters[1:])


def test_the_stitched_object_is_drawn_when_asked(payload, tiny_scan):
    execution = {"recon_log_every_n_epochs": 2, "recon_log_stitch": True}
    outcome = train(payload(nepochs=2, execution=execution))
    assert _names(outcome) == sorted(f"{name}-epoch=001.png" for name in (*PATCH, *OBJECT))
    whole = reconstruct(outcome.model, tiny_scan).object.shape
    assert _read(outcome, "object_phase-epoch=001.png").shape[:2] == whole
    few = train(payload("few", {**execution, "recon_log_max_stitch_samples": 4}, nepochs=2))
    shape = _read(few, "object_phase-epoch=001.png").shape
    assert 32 <= shape[0] < whole[0]
    assert 32 <= shape[1] < whole[1]


@pytest.mark.rule("RUN-023")
def test_drawing_does_not_change_what_is_trained(payload):
    execution = {"recon_log_every_n_epochs": 1, "recon_log_stitch": True}
    drawn, plain = (train(payload(name, more, nepochs=2)) for name, more in (("a", execution), ("b", {})))
    for name, value in plain.model.state_dict().items():
        assert torch.equal(drawn.model.state_dict()[name], value), name
    assert not (plain.output_dir / "logs" / "images").exists()


def test_tensorboard_shows_them(payload):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    execution = {"logger_backend": "tensorboard", "recon_log_every_n_epochs": 1, "recon_log_stitch": True}
    outcome = train(payload(nepochs=2, execution=execution))
    events = EventAccumulator(str(outcome.output_dir / "logs"))
    events.Reload()
    assert events.Tags()["images"] == [f"reconstruction/{name}" for name in (*PATCH, *OBJECT)]
    for name in (*PATCH, *OBJECT):
        logged = events.Images(f"reconstruction/{name}")
        assert [event.step for event in logged] == [0, 1]
    picture = matplotlib.image.imread(
        BytesIO(events.Images("reconstruction/patch_phase")[1].encoded_image_string)
    )
    # One group of two is validated: two patches in a row would be wider.
    assert picture.shape[:2] == (32, 66)
    assert not (outcome.output_dir / "logs" / "images").exists()


def test_nothing_is_drawn_unless_asked(payload, monkeypatch):
    monkeypatch.setattr(images, "_predicted", lambda *rest: pytest.fail("patches were predicted"))
    outcome = train(payload(n_groups=8))
    assert {path.name for path in (outcome.output_dir / "logs").iterdir()} == {"metrics.csv"}


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow, an optional extra, is not installed")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_numbers_and_pictures(payload, tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    execution = {"logger_backend": "mlflow", "recon_log_every_n_epochs": 2}
    # Over an older run: what was written in the working folder has moved when training ends.
    train(payload(n_groups=8))
    outcome = train(payload(nepochs=2, execution=execution), overwrite=True)
    logs = outcome.output_dir / "logs"
    client = MlflowClient(f"sqlite:///{logs / 'mlflow.db'}")
    [experiment] = client.search_experiments(filter_string="name = 'ptycho-torch'")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    for name in ("train_loss", "val_loss", "learning_rate"):
        logged = [metric.value for metric in client.get_metric_history(run.info.run_id, name)]
        assert logged == pytest.approx([row[name] for row in outcome.history]), name
    listed = [entry.path for entry in client.list_artifacts(run.info.run_id, "images")]
    assert sorted(listed) == sorted(f"images/{name}-epoch=001.png" for name in PATCH)
    picture = matplotlib.image.imread(client.download_artifacts(run.info.run_id, listed[0], str(tmp_path)))
    assert picture.shape[:2] == (32, 66)
    assert list((tmp_path / "cwd").iterdir()) == []


def test_without_mlflow_it_is_refused_with_words_and_nothing_is_written(payload, tmp_path, monkeypatch):
    monkeypatch.setattr("ptycho_torch.lightning.loggers.mlflow._is_installed", lambda: False)
    with pytest.raises(
        ConfigError,
        check=lambda error: error.fields == ("logger_backend",) and error.problems[0].value == "mlflow",
    ):
        train(payload(execution={"logger_backend": "mlflow"}))
    assert not (tmp_path / "run").exists()


def test_with_test_data_the_object_is_that_of_the_patches(payload, tmp_path, tiny_scan):
    test = simulate_scene("lines", N=32, grid=(4, 9), step_px=4.0, photons=1e5, seed=5)
    test = replace(test, probe=tiny_scan.probe)
    save_scan(tmp_path / "test.npz", test)
    execution = {"recon_log_every_n_epochs": 1, "recon_log_stitch": True, "recon_log_num_patches": 1}
    made = payload(nepochs=1, execution=execution, test_data_file=str(tmp_path / "test.npz"))
    outcome = train(made)
    expected = reconstruct(outcome.model, test).object
    assert _read(outcome, "object_amplitude-epoch=000.png").shape[:2] == expected.shape
    assert expected.shape != reconstruct(outcome.model, tiny_scan).object.shape
