"""Watching a run, having callbacks in it, ending it before its time and going on."""

from __future__ import annotations

import threading

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_torch.config_factory import create_inference_payload
from ptycho_torch.workflows import RunCancelled, infer, run_cdi_example_torch, train_cdi_model_torch


def _weights(results):
    return results["models"]["diffraction_to_obj"].state_dict()


def _equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class TestCallbacks:
    @pytest.mark.rule("EMB-012")
    def test_callbacks_of_the_caller_are_called_in_its_process(self, scan, config, cpu):
        here = threading.get_ident()

        class Local(Callback):  # cannot be pickled, like those of a graphical interface
            def __init__(self):
                self.epochs, self.lock = [], threading.Lock()

            def on_train_epoch_end(self, trainer, pl_module):
                with self.lock:
                    self.epochs.append((trainer.current_epoch, threading.get_ident()))

        local = Local()
        train_cdi_model_torch(scan, None, config(nepochs=2), execution_config=cpu(), callbacks=[local])
        assert local.epochs == [(0, here), (1, here)]

    def test_a_callback_may_end_the_training_early_and_it_counts_as_done(self, scan, config, cpu):
        class Enough(Callback):
            def on_train_epoch_end(self, trainer, pl_module):
                trainer.should_stop = True

        settings = config(nepochs=5)
        results = train_cdi_model_torch(scan, None, settings, execution_config=cpu(), callbacks=[Enough()])
        assert len(results["history"]["train_loss"]) == 1


class TestCancel:
    def test_a_training(self, scan, config, cpu, tmp_path):
        stop = threading.Event()
        done = []

        def progress(batch, total):
            done.append(batch)
            if batch == 6:
                stop.set()

        with pytest.raises(RunCancelled) as caught:
            train_cdi_model_torch(
                scan,
                None,
                config("run", nepochs=3),
                execution_config=cpu(),
                should_stop=stop.is_set,
                progress=progress,
            )
        assert done[-1] == 6
        assert caught.value.checkpoint.is_file()
        assert caught.value.checkpoint.is_relative_to(tmp_path / "run")
        assert str(caught.value.checkpoint) in str(caught.value)
        assert not (tmp_path / "run" / "wts.h5.zip").exists()
        assert not isinstance(caught.value, (ValueError, KeyboardInterrupt))

    def test_before_the_first_epoch_there_is_no_checkpoint(self, scan, config, cpu):
        with pytest.raises(RunCancelled) as caught:
            train_cdi_model_torch(scan, None, config(), execution_config=cpu(), should_stop=lambda: True)
        assert caught.value.checkpoint is None

    @pytest.mark.rule("EMB-010")
    def test_a_cancelled_training_resumes_to_the_weights_of_one_that_was_not(self, scan, config, cpu):
        asked = []

        def should_stop():
            asked.append(None)
            return len(asked) == 6

        with pytest.raises(RunCancelled):
            train_cdi_model_torch(
                scan, None, config("run", nepochs=3), execution_config=cpu(), should_stop=should_stop
            )
        settings = config("run", nepochs=3)
        resumed = train_cdi_model_torch(scan, None, settings, execution_config=cpu(), resume=True)
        whole = train_cdi_model_torch(scan, None, config("whole", nepochs=3), execution_config=cpu())
        assert _equal(_weights(resumed), _weights(whole))
        assert resumed["history"]["train_loss"] == whole["history"]["train_loss"]

    def test_a_reconstruction_after_its_training_which_is_kept(self, scan, config, cpu, tmp_path):
        groups = []

        def progress(done, total):
            groups.append(total == 30)

        with pytest.raises(RunCancelled, match="reconstruction"):
            run_cdi_example_torch(
                scan,
                scan,
                config("run"),
                do_stitching=True,
                execution_config=cpu(),
                should_stop=lambda: any(groups),
                progress=progress,
            )
        assert (tmp_path / "run" / "wts.h5.zip").is_file()

    @pytest.mark.rule("EMB-010")
    def test_an_inference_writes_nothing(self, scan, bundle_dir, cpu, tmp_path):
        payload = create_inference_payload(bundle_dir, scan, tmp_path / "out", None, cpu())
        with pytest.raises(RunCancelled):
            infer(payload, should_stop=lambda: True)
        assert not (tmp_path / "out").exists()
