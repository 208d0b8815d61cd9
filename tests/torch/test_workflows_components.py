"""The calls that embedders make: train, reconstruct, load, save, watch, cancel."""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, Timer

from ptycho_config import ConfigError, evolve
from ptycho_config.params import cfg
from ptycho_torch import workflows
from ptycho_torch.config_factory import create_inference_payload
from ptycho_torch.data import Scan
from ptycho_torch.errors import DataError, ShapeError
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.workflows import (
    components,
    infer,
    load_inference_bundle_torch,
    reconstruct,
    run_cdi_example_torch,
    save_outputs,
    train_cdi_model_torch,
)
from ptycho_torch.workflows.jobs import inference
from ptycho_torch.workflows.processes import spreading


def _arrays(scan, **changes):
    arrays = {
        "diff3d": np.asarray(scan.diffraction),
        "xcoords": scan.positions[:, 1],
        "ycoords": scan.positions[:, 0],
        "probeGuess": scan.probe,
        "_metadata": {"nphotons": 1e5},
    }
    return {**arrays, **changes}


def _weights(results):
    return results["models"]["diffraction_to_obj"].state_dict()


def _equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class Spy(Callback):
    """Keeps the trainer and what holds while it trains."""

    def on_train_start(self, trainer, pl_module):
        self.trainer = trainer
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.learning_rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.batches = trainer.num_training_batches
        [timer] = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]
        self.seconds_left = timer.time_remaining()


class TestSignatures:
    @pytest.mark.parametrize("call", [run_cdi_example_torch, train_cdi_model_torch])
    def test_training(self, call):
        parameters = inspect.signature(call).parameters
        assert list(parameters)[:3] == ["train_data", "test_data", "config"]
        keywords = {n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
        assert {"callbacks", "should_stop", "progress", "overwrite", "resume"} <= keywords

    def test_stitching_is_off_unless_asked_for(self):
        assert inspect.signature(run_cdi_example_torch).parameters["do_stitching"].default is False

    def test_loading_takes_a_directory_and_the_name_of_a_model(self):
        parameters = inspect.signature(load_inference_bundle_torch).parameters
        assert list(parameters)[:2] == ["bundle_dir", "model_name"]
        assert parameters["model_name"].default == "diffraction_to_obj"

    def test_saving(self):
        parameters = inspect.signature(save_outputs).parameters
        assert list(parameters)[:4] == ["amplitude", "phase", "results", "output_dir"]

    def test_the_package_offers_them(self):
        names = {
            "run_cdi_example_torch",
            "train_cdi_model_torch",
            "load_inference_bundle_torch",
            "reconstruct",
            "save_outputs",
            "RunCancelled",
        }
        assert names <= set(workflows.__all__)


class TestRunCdiExample:
    @pytest.mark.rule("EMB-001")
    def test_amplitude_phase_and_results(self, trained):
        amplitude, phase, results = trained
        assert amplitude.dtype == phase.dtype == np.float32
        assert amplitude.ndim == 2
        assert amplitude.shape == phase.shape
        assert amplitude.min() > 0
        assert np.abs(phase).max() <= math.pi
        assert results["recon_amp"] is amplitude
        assert results["recon_phase"] is phase
        object_ = results["reconstruction"].object
        np.testing.assert_allclose(amplitude * np.exp(1j * phase), object_, rtol=1e-5, atol=1e-6)

    @pytest.mark.rule("EMB-002")
    def test_results_of_the_training(self, trained):
        results = trained[2]
        assert results["backend"] == "pytorch"
        assert list(results["models"]) == ["diffraction_to_obj"]
        assert results["bundle_path"] == results["output_dir"] / "wts.h5.zip"
        assert results["bundle_path"].is_file()
        assert results["best_checkpoint"].is_file()
        history = results["history"]
        assert len(history["train_loss"]) == len(history["val_loss"]) == 3
        assert history["train_loss"][-1] < history["train_loss"][0]
        assert results["metrics"]["train_loss"] == history["train_loss"][-1]

    @pytest.mark.rule("EMB-002")
    def test_the_scores_compare_with_the_truth(self, trained):
        results = trained[2]
        assert results["report"].scores.complex_nrmse < results["report"].flat.complex_nrmse
        assert 0 < results["forward_residual"] < 1

    @pytest.mark.rule("EMB-001")
    def test_without_stitching_nothing_is_reconstructed(self, scan, config, cpu):
        amplitude, phase, results = run_cdi_example_torch(scan, scan, config(), execution_config=cpu())
        assert amplitude is None
        assert phase is None
        assert "reconstruction" not in results
        assert results["bundle_path"].is_file()

    @pytest.mark.rule("EMB-006")
    def test_stitching_without_data_is_refused_before_the_training(self, scan, config, tmp_path):
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("test_data",)):
            run_cdi_example_torch(scan, None, config("run"), do_stitching=True)
        assert not (tmp_path / "run").exists()

    @pytest.mark.rule("EMB-003")
    def test_paths_scans_and_arrays_give_the_same_weights(self, scan, scan_file, config, cpu):
        found = [
            _weights(train_cdi_model_torch(data, None, config(f"run{i}"), execution_config=cpu()))
            for i, data in enumerate((scan_file, str(scan_file), scan, _arrays(scan)))
        ]
        assert all(_equal(found[0], other) for other in found[1:])

    @pytest.mark.rule("EMB-004")
    @pytest.mark.rule("EMB-003")
    def test_an_object_of_another_program_is_taken_for_the_scan_that_it_holds(self, scan, config, cpu):
        held = {name.replace("_metadata", "metadata"): part for name, part in _arrays(scan).items()}
        given = SimpleNamespace(**held, norm_Y_I=None, Y=None, sample_indices=None)
        _, _, results = run_cdi_example_torch(given, given, config("first"), execution_config=cpu())
        expected = train_cdi_model_torch(
            _arrays(scan), _arrays(scan), config("second"), execution_config=cpu()
        )
        assert _equal(_weights(results), _weights(expected))

    @pytest.mark.parametrize("given", [object(), 3, [object()]], ids=["object", "number", "list"])
    def test_any_other_object_is_refused_in_words(self, given, scan, config, tmp_path):
        for data in ((given, None), (scan, given)):
            with pytest.raises(ConfigError) as caught:
                run_cdi_example_torch(*data, config("run"))
            name = "train_data_file" if data[0] is given else "test_data_file"
            assert caught.value.fields == (name,)
        assert not (tmp_path / "run").exists()

    def test_paths_of_the_configuration_are_used_when_no_data_are_given(self, scan_file, config, cpu):
        settings = config("run", train_data_file=scan_file, test_data_file=scan_file)
        amplitude, _, results = run_cdi_example_torch(
            None, None, settings, do_stitching=True, execution_config=cpu()
        )
        assert amplitude is not None
        assert results["payload"].training_config.train_data_file == scan_file

    @pytest.mark.rule("EMB-004")
    def test_data_take_the_place_of_the_paths_of_the_configuration(self, scan, config, cpu, tmp_path):
        settings = config("run", train_data_file=tmp_path / "absent.npz")
        results = train_cdi_model_torch(scan, None, settings, execution_config=cpu())
        assert results["payload"].training_config.train_data_file is None

    @pytest.mark.rule("EMB-004")
    def test_facts_fill_what_the_configuration_left_open(self, trained):
        config = trained[2]["payload"].training_config
        assert (config.model.N, config.n_groups, config.nphotons) == (32, 30, 1e5)

    def test_a_statement_that_the_data_contradict_is_an_error(self, scan, config):
        with pytest.raises(
            ConfigError, check=lambda error: error.fields == ("N",) and error.problems[0].value == 64
        ):
            train_cdi_model_torch(scan, None, config(model={"N": 64}))

    @pytest.mark.rule("EMB-003")
    def test_bad_arrays_are_refused_and_nothing_is_written(self, scan, config, cpu, tmp_path):
        broken = np.asarray(scan.diffraction).astype(np.float32)
        broken -= broken.max()
        with pytest.raises(DataError, check=lambda error: error.names == ("diff3d",)):
            train_cdi_model_torch(_arrays(scan, diff3d=broken), None, config("run"), execution_config=cpu())
        assert not (tmp_path / "run").exists()

    def test_an_older_run_is_kept_unless_told_otherwise(self, scan, config, cpu):
        first = train_cdi_model_torch(scan, None, config("run"), execution_config=cpu())
        before = first["bundle_path"].read_bytes()
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
            train_cdi_model_torch(scan, None, config("run"), execution_config=cpu())
        assert first["bundle_path"].read_bytes() == before
        settings = config("run", seed=1)
        train_cdi_model_torch(scan, None, settings, execution_config=cpu(), overwrite=True)
        assert first["bundle_path"].read_bytes() != before

    def test_something_else_than_a_configuration_is_a_type_error(self, scan):
        with pytest.raises(TypeError, match="TrainingConfig"):
            train_cdi_model_torch(scan, None, {"nepochs": 1})


class TestTrainWithLightningGreen:
    @pytest.mark.rule("EMB-013")
    def test_execution_config_passes_to_trainer(self, scan, config, cpu):
        spy = Spy()
        execution = cpu(
            gradient_clip_val=0.5, accum_steps=2, check_val_every_n_epoch=2, max_time="00:01:00:00"
        )
        settings = config(nepochs=2)
        train_cdi_model_torch(scan, None, settings, execution_config=execution, callbacks=[spy])
        trainer = spy.trainer
        assert isinstance(trainer, pl.Trainer)
        assert isinstance(trainer.accelerator, pl.accelerators.CPUAccelerator)
        assert trainer.max_epochs == 2
        assert trainer.accumulate_grad_batches == 2
        assert trainer.check_val_every_n_epoch == 2
        assert trainer.gradient_clip_val == 0.5
        assert 3000 < spy.seconds_left < 3600
        assert trainer.precision == "32-true"

    @pytest.mark.rule("EMB-013")
    def test_execution_config_overrides_trainer(self, scan, config, cpu):
        """What the object states replaces the default; what it does not state is the default."""
        default, changed = Spy(), Spy()
        train_cdi_model_torch(scan, None, config("a"), execution_config=cpu(), callbacks=[default])
        execution = cpu(learning_rate=5e-3, val_fraction=0.5, logger_backend=None)
        train_cdi_model_torch(scan, None, config("b"), execution_config=execution, callbacks=[changed])
        assert (default.learning_rate, changed.learning_rate) == (1e-3, 5e-3)
        # 30 groups: 28 in batches of 8 beside 2 for validation, then 15 beside 15.
        assert (default.batches, changed.batches) == (4, 2)
        assert len(default.trainer.loggers) == 1
        assert len(changed.trainer.loggers) == 0

    @pytest.mark.rule("EMB-013")
    def test_execution_config_controls_determinism(self, scan, config, cpu):
        strict, free = Spy(), Spy()
        before = torch.are_deterministic_algorithms_enabled()
        runs = [
            train_cdi_model_torch(
                scan,
                None,
                config(f"run{i}"),
                execution_config=cpu(deterministic=deterministic),
                callbacks=[spy],
            )
            for i, (deterministic, spy) in enumerate([(True, strict), (True, Spy()), (False, free)])
        ]
        assert strict.deterministic
        assert not free.deterministic
        assert torch.are_deterministic_algorithms_enabled() == before
        assert _equal(_weights(runs[0]), _weights(runs[1]))
        assert runs[0]["history"]["train_loss"] == runs[1]["history"]["train_loss"]

    def test_the_seed_of_the_configuration_changes_the_weights(self, scan, config, cpu):
        runs = [
            train_cdi_model_torch(scan, None, config(f"run{seed}", seed=seed), execution_config=cpu())
            for seed in (0, 1)
        ]
        assert not _equal(_weights(runs[0]), _weights(runs[1]))


class TestInferenceExecutionConfig:
    @pytest.mark.rule("EMB-013")
    def test_inference_uses_execution_batch_size(self, scan, bundle_dir, cpu, tmp_path):
        seen = []
        payload = create_inference_payload(
            bundle_dir, scan, tmp_path / "out", None, cpu(inference_batch_size=11)
        )
        infer(payload, progress=lambda done, total: seen.append((done, total)))
        assert seen == [(11, 30), (22, 30), (30, 30)]

    def test_without_one_it_is_that_of_the_training(self, scan, bundle_dir, cpu, tmp_path):
        seen = []
        payload = create_inference_payload(bundle_dir, scan, tmp_path / "out", None, cpu())
        infer(payload, progress=lambda done, total: seen.append(done))
        assert seen == [8, 16, 24, 30]

    @pytest.mark.rule("EMB-011")
    def test_the_reconstruction_after_a_training_uses_it(self, scan, config, cpu):
        seen = []
        run_cdi_example_torch(
            scan,
            scan,
            config(),
            do_stitching=True,
            execution_config=cpu(inference_batch_size=16),
            progress=lambda done, total: seen.append((done, total)),
        )
        assert seen == [(1, 4), (2, 4), (3, 4), (4, 4), (16, 30), (30, 30)]

    @pytest.mark.rule("EMB-013")
    def test_the_reconstruction_takes_devices_and_all_else_as_an_inference_does(
        self, scan, config, cpu, bundle_dir, tmp_path, monkeypatch
    ):
        told = []

        def hear(work, execution, device):
            told.append((work.batch_size, work.compiles, work.physics_steps, execution, device))
            return spreading.reconstruct_in_processes(work, execution, device)

        for module in (components, inference):
            monkeypatch.setattr(module, "reconstruct_in_processes", hear)
        execution = cpu(physics_steps=1)
        run_cdi_example_torch(scan, scan, config(), do_stitching=True, execution_config=execution)
        infer(create_inference_payload(bundle_dir, scan, tmp_path / "out", None, execution))
        assert told[0] == told[1]

    def test_middle_trim_narrows_what_is_stitched(self, scan, config, cpu, trained):
        *_, results = run_cdi_example_torch(
            scan, scan, config(), do_stitching=True, execution_config=cpu(middle_trim=8)
        )
        covered = results["reconstruction"].weight > 0
        assert 0 < covered.sum() < (trained[2]["reconstruction"].weight > 0).sum()


class TestLoadInferenceBundle:
    @pytest.mark.rule("EMB-007")
    def test_models_and_configuration(self, trained, bundle_dir):
        cfg.clear()
        models, config = load_inference_bundle_torch(bundle_dir)
        model = models["diffraction_to_obj"]
        assert _equal(model.state_dict(), _weights(trained[2]))
        assert not model.training
        assert isinstance(config, dict)
        assert (config["N"], config["gridsize"], config["nphotons"]) == (32, 1, 1e5)
        assert config["object.big"] is True
        # CONFIG-001: programs that look into the dictionary find the settings of the training there.
        assert cfg["N"] == 32
        assert cfg["nphotons"] == 1e5

    def test_another_name_is_refused(self, bundle_dir):
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("model_name",)):
            load_inference_bundle_torch(bundle_dir, "autoencoder")


class TestReconstructInMemory:
    @pytest.mark.rule("EMB-008")
    def test_arrays_give_what_the_scan_gives(self, scan, trained):
        model = trained[2]["models"]["diffraction_to_obj"]
        found = reconstruct(model, _arrays(scan), batch_size=8)
        assert isinstance(found, StitchedObject)
        expected = trained[2]["reconstruction"]
        np.testing.assert_allclose(found.object, expected.object, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(found.origin, expected.origin)

    def test_a_scan_from_arrays(self, scan, trained):
        model = trained[2]["models"]["diffraction_to_obj"]
        made = Scan(diffraction=scan.diffraction, positions=scan.positions, probe=scan.probe)
        found = reconstruct(model, made, batch_size=8)
        np.testing.assert_allclose(found.object, trained[2]["reconstruction"].object, rtol=1e-4, atol=1e-5)

    def test_amplitudes_are_recognised(self, scan, trained):
        model = trained[2]["models"]["diffraction_to_obj"]
        amplitude = np.sqrt(np.asarray(scan.diffraction, dtype=np.float64)).astype(np.float32)
        found = reconstruct(model, _arrays(scan, diff3d=amplitude), batch_size=8)
        np.testing.assert_allclose(found.object, trained[2]["reconstruction"].object, rtol=1e-3, atol=1e-4)

    def test_a_missing_name_is_named(self, scan, trained):
        arrays = _arrays(scan)
        del arrays["probeGuess"]
        with pytest.raises(DataError, check=lambda error: error.names == ("probeGuess",)):
            reconstruct(trained[2]["models"]["diffraction_to_obj"], arrays)


class TestSaveOutputs:
    def test_files_beside_the_training_or_elsewhere(self, trained, tmp_path):
        amplitude, phase, results = trained
        files = save_outputs(amplitude, phase, results, tmp_path / "out")
        assert {path.name for path in files} == {
            "reconstruction.npz",
            "amplitude.png",
            "phase.png",
            "amplitude.tif",
            "phase.tif",
            "comparison.png",
            "metrics.json",
        }
        assert all(path.is_file() for path in files)
        with np.load(tmp_path / "out" / "reconstruction.npz") as saved:
            np.testing.assert_allclose(np.abs(saved["object"]), amplitude, rtol=1e-5)
            np.testing.assert_allclose(np.angle(saved["object"]), phase, atol=1e-5)
            np.testing.assert_array_equal(saved["origin"], results["reconstruction"].origin)
            assert json.loads(str(saved["configuration"]))["values"]["training"]["nepochs"] == 3
        scores = json.loads((tmp_path / "out" / "metrics.json").read_text())
        assert scores["forward_residual"] == pytest.approx(results["forward_residual"])

    @pytest.mark.rule("EMB-009")
    def test_what_is_passed_is_what_is_saved(self, trained, tmp_path):
        amplitude, phase, results = trained
        save_outputs(2 * amplitude, np.zeros_like(phase), results, tmp_path / "out")
        with np.load(tmp_path / "out" / "reconstruction.npz") as saved:
            np.testing.assert_allclose(saved["object"], 2 * amplitude, rtol=1e-6)

    @pytest.mark.rule("EMB-009")
    def test_older_results_are_kept_unless_told_otherwise(self, trained, tmp_path):
        save_outputs(*trained, tmp_path / "out")
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
            save_outputs(*trained, tmp_path / "out")
        save_outputs(*trained, tmp_path / "out", overwrite=True)

    @pytest.mark.rule("RUN-082")
    def test_a_scan_that_is_read_is_not_written_over(self, trained, tmp_path):
        [first, *_] = save_outputs(*trained, tmp_path / "out")
        before = first.read_bytes()
        amplitude, phase, results = trained
        read = {**results, "scan": replace(results["scan"], source=first)}
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
            save_outputs(amplitude, phase, read, tmp_path / "out", overwrite=True)
        assert first.read_bytes() == before

    def test_nothing_reconstructed_is_nothing_to_save(self, trained, tmp_path):
        results = {k: v for k, v in trained[2].items() if k != "reconstruction"}
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("results",)):
            save_outputs(None, None, results, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_another_shape_is_refused(self, trained, tmp_path):
        with pytest.raises(ShapeError, check=lambda error: error.name == "phase"):
            save_outputs(trained[0], trained[1][:-1], trained[2], tmp_path / "out")


def test_a_configuration_with_everything_stated_trains_the_same(scan, config, cpu):
    """`dataclasses.replace` and `evolve` pass configurations on; both are only data."""
    settings = config("a")
    first = train_cdi_model_torch(scan, None, settings, execution_config=cpu())
    full = evolve(first["payload"].training_config, output_dir=config("b").output_dir)
    second = train_cdi_model_torch(scan, None, full, execution_config=cpu())
    assert _equal(_weights(first), _weights(second))
