"""Where and how a training runs: every setting seen at work."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_config import ConfigError
from ptycho_torch.bundle import load_bundle
from ptycho_torch.lightning import compiling
from ptycho_torch.models import PatchModel
from ptycho_torch.workflows import infer, train
from ptycho_torch.workflows.jobs import training as training_module
from ptycho_torch.workflows.jobs.preparation import prepare_training
from ptycho_torch.workflows.jobs.training_pictures import TRAINING_PICTURES


@pytest.fixture(autouse=True)
def quick_figure(monkeypatch):
    """Drawing takes longer than these trainings."""

    def touch(leaving, *rest):
        for name in TRAINING_PICTURES:
            (leaving.folder / name).touch()

    monkeypatch.setattr(training_module, "write_training_pictures", touch)


def _same(first, second, **tolerance):
    first, second = first.state_dict(), second.state_dict()
    assert list(first) == list(second)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, **(tolerance or {"rtol": 0, "atol": 0}), msg=name)


class _Watch(Callback):
    """Call something when an epoch begins."""

    def __init__(self, action):
        self.action = action

    def on_train_epoch_start(self, trainer, pl_module):
        self.action(pl_module)


class _Compiler:
    """A backend of torch.compile that runs what it is given and counts how often."""

    def __init__(self):
        self.graphs = self.runs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1

        def run(*arguments):
            self.runs += 1
            return graph.forward(*arguments)

        return run


@pytest.mark.rule("RUN-022")
def test_a_compiled_network_trains_alike_and_keeps_its_names(payload, monkeypatch):
    compiler = _Compiler()
    monkeypatch.setattr(compiling, "BACKEND", compiler)
    settings = {"architecture": "cnn", "nepochs": 2, "n_groups": 16, "batch_size": 8}
    plain = train(payload("plain", {"val_fraction": 0.0}, **settings))
    assert compiler.graphs == 0
    made = train(payload("compiled", {"val_fraction": 0.0, "compile": True}, **settings))
    assert compiler.graphs > 0
    # Two batches in each of two epochs.
    assert compiler.runs >= 4
    _same(plain.model, made.model, rtol=1e-4, atol=1e-6)
    _same(load_bundle(made.bundle)[0], made.model)
    states = [
        torch.load(outcome.best_checkpoint, weights_only=True)["state_dict"] for outcome in (plain, made)
    ]
    assert list(states[0]) == list(states[1])


@pytest.mark.rule("RUN-022")
def test_without_a_compiler_compiling_is_refused_and_nothing_is_written(payload, monkeypatch, tmp_path):
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler was found")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("compile",) and error.problems[0].value is True
    ):
        train(payload(execution={"compile": True}))
    assert not (tmp_path / "run").exists()


@pytest.mark.rule("RUN-022")
def test_a_compiled_network_reconstructs_the_same_object(inference, monkeypatch):
    compiler = _Compiler()
    monkeypatch.setattr(compiling, "BACKEND", compiler)
    plain = infer(inference("plain"))
    assert compiler.graphs == 0
    made = infer(inference("compiled", {"compile": True}))
    assert compiler.runs > 0
    np.testing.assert_allclose(made.reconstruction.object, plain.reconstruction.object, atol=1e-4)


@pytest.mark.rule("RUN-022")
def test_without_a_compiler_a_scan_is_not_reconstructed(inference, monkeypatch, tmp_path):
    def broken(graph, inputs):
        raise RuntimeError("no C++ compiler was found")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    made = inference("refused", {"compile": True})
    with pytest.raises(
        ConfigError, check=lambda error: error.fields == ("compile",) and error.problems[0].value is True
    ):
        infer(made)
    assert not made.inference_config.output_dir.exists()


@pytest.mark.parametrize("deterministic", [True, "warn", False])
def test_operations_that_cannot_repeat_fail_are_reported_or_pass(payload, deterministic):
    outcomes = []

    def put(module):
        # Without accumulation the last of several values for one place wins, whichever that is.
        place = torch.tensor([0])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                torch.zeros(3).put_(place, torch.ones(1))
            except RuntimeError as error:
                outcomes.append(f"refused: {error}")
            else:
                outcomes.extend(str(item.message) for item in caught)

    train(payload(n_groups=8, execution={"deterministic": deterministic}), callbacks=[_Watch(put)])
    if deterministic is False:
        assert outcomes == []
    else:
        [said] = outcomes
        assert "put_ does not have a deterministic implementation" in said
        assert said.startswith("refused") is (deterministic is True)


@pytest.mark.rule("RUN-021")
def test_the_network_computes_in_16_bits_and_the_physics_in_32(payload, monkeypatch):
    seen = {"network": set(), "counts": set(), "patches": set()}
    predict = PatchModel.predict_counts

    def watched(self, patches):
        counts = predict(self, patches)
        seen["patches"].add(patches.dtype)
        seen["counts"].add(counts.dtype)
        return counts

    def listen(module):
        for layer in module.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(lambda *call: seen["network"].add(call[-1].dtype))

    monkeypatch.setattr(PatchModel, "predict_counts", watched)
    settings = {"n_groups": 8, "probe_trainable": True, "gridsize": 2}
    train(payload(execution={"precision": "bf16-mixed"}, **settings), callbacks=[_Watch(listen)])
    assert torch.bfloat16 in seen["network"]
    assert seen["counts"] == {torch.float32}
    assert seen["patches"] == {torch.complex64}


@pytest.mark.rule("RUN-021")
def test_half_precision_on_the_cpu_is_refused_and_nothing_is_written(payload, tmp_path):
    with pytest.raises(
        ConfigError,
        check=lambda error: error.fields == ("precision",) and error.problems[0].value == "16-mixed",
    ):
        train(payload(execution={"precision": "16-mixed"}))
    assert not (tmp_path / "run").exists()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_half_precision_trains_on_a_gpu(payload):
    execution = {"accelerator": "cuda", "precision": "16-mixed", "learning_rate": 3e-3}
    made = payload(nepochs=2, execution=execution)
    assert train(made).metrics["train_loss"] < 1


def test_a_bar_is_drawn_when_asked(payload, capsys):
    train(payload("without", n_groups=8))
    quiet = capsys.readouterr()
    train(payload("with", {"enable_progress_bar": True}, n_groups=8))
    drawn = capsys.readouterr()
    assert "Epoch 0" in drawn.out + drawn.err
    assert "Epoch" not in quiet.out + quiet.err


def test_adaptive_clipping_bounds_each_step_by_the_weights(payload):
    # One step of plain gradient descent at rate one moves the weights by the clipped gradient.
    settings = {"optimizer": "sgd", "momentum": 0.0, "batch_size": 30, "gradient_clip_algorithm": "adaptive"}
    execution = {"val_fraction": 0.0, "learning_rate": 1.0}
    start = prepare_training(payload("start", execution, **settings).task).model

    def largest(name, **more):
        ended = train(payload(name, {**execution, **more}, **settings)).model
        ratios = []
        for before, after in zip(start.parameters(), ended.parameters(), strict=True):
            axes = tuple(range(1, before.ndim)) or None
            norms = (torch.linalg.vector_norm(v.detach(), dim=axes) for v in (before, after - before))
            weight, moved = norms
            ratios.append(float((moved / weight.clamp(min=1e-3)).max()))
        return max(ratios)

    bound = 0.01
    assert largest("free") > 2 * bound
    assert largest("clipped", gradient_clip_val=bound) == pytest.approx(bound, rel=0.02)


def test_values_of_a_complex_probe_can_be_clipped(payload):
    settings = {"optimizer": "sgd", "momentum": 0.0, "probe_trainable": True, "probe_learning_rate": 1.0}
    execution = {"val_fraction": 0.0, "learning_rate": 1.0, "gradient_clip_val": 1e-5}
    made = payload(execution=execution, gradient_clip_algorithm="value", batch_size=30, **settings)
    start = prepare_training(made.task).model
    moved = (train(made).model.probe_modes - start.probe_modes).detach()
    largest = float(torch.view_as_real(moved).abs().max())
    assert largest == pytest.approx(1e-5, rel=0.2)
