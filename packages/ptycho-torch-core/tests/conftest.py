"""A tiny scan, and what is made of it in a second."""

from __future__ import annotations

import pytest

from ptycho_config import PyTorchExecutionConfig
from ptycho_config.params import cfg
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene


def settings_of_a_tiny_run(**changes):
    return {"nepochs": 1, "batch_size": 8, "n_filters_scale": 1, **changes}


@pytest.fixture(autouse=True)
def legacy_dictionary_put_back():
    before = dict(cfg)
    yield
    cfg.clear()
    cfg.update(before)


@pytest.fixture(scope="session")
def tiny_scan():
    """30 frames of 32 x 32 counts, uint16, with truth."""
    return simulate_scene("lines", N=32, grid=(5, 6), step_px=4.0, jitter_px=1.0, photons=1e5, seed=3)


@pytest.fixture(scope="session")
def tiny_scan_file(tmp_path_factory, tiny_scan):
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    save_scan(path, tiny_scan)
    return path


@pytest.fixture
def undrawn(monkeypatch):
    """Trainings leave empty pictures: drawing takes longer than they do. The fixture `trained` draws."""
    from ptycho_torch.workflows.jobs import training
    from ptycho_torch.workflows.jobs.training_pictures import TRAINING_PICTURES

    def touch(leaving, *rest):
        for name in TRAINING_PICTURES:
            (leaving.folder / name).touch()

    monkeypatch.setattr(training, "write_training_pictures", touch)


@pytest.fixture
def spawnable(request, monkeypatch):
    """Let processes that are spawned find what test modules define: pytest names them from its root."""
    monkeypatch.syspath_prepend(str(request.config.rootpath))


@pytest.fixture
def cpu():
    """Execution settings on the CPU unless another device is stated: ``cpu(num_workers=2)``."""

    def make(**stated):
        return PyTorchExecutionConfig(**{"accelerator": "cpu", **stated})

    return make


@pytest.fixture
def payload(tmp_path, tiny_scan_file, cpu):
    """Training payload of a tiny run in its own directory: ``payload("name", {execution}, **overrides)``."""
    from ptycho_torch.config_factory import create_training_payload

    def make(name="run", execution=None, *, scan=tiny_scan_file, output_dir=None, **overrides):
        return create_training_payload(
            scan,
            output_dir or tmp_path / name,
            overrides=settings_of_a_tiny_run(**overrides),
            execution_config=cpu(**(execution or {})),
        )

    return make


@pytest.fixture
def inference(tmp_path, trained, tiny_scan_file, cpu):
    """Inference payload of the trained model: ``inference("name", {execution}, **overrides)``."""
    from ptycho_torch.config_factory import create_inference_payload

    def make(name="result", execution=None, *, scan=tiny_scan_file, model=trained.output_dir, **overrides):
        return create_inference_payload(
            model, scan, tmp_path / name, overrides=overrides, execution_config=cpu(**(execution or {}))
        )

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny_scan_file):
    """Outcome of a training of three epochs; its directory is not to be changed."""
    from ptycho_torch.config_factory import create_training_payload
    from ptycho_torch.workflows import train

    made = create_training_payload(
        tiny_scan_file,
        tmp_path_factory.mktemp("trained") / "run",
        overrides=settings_of_a_tiny_run(nepochs=3),
        execution_config=PyTorchExecutionConfig(accelerator="cpu", val_fraction=0.2, learning_rate=3e-3),
    )
    return train(made, command=["train", "tiny"])
