"""Copies of a process are told to stop and report what they do, without being sent a function."""

from __future__ import annotations

import sys
from functools import partial
from multiprocessing import get_context

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch.multiprocessing import start_processes

from ptycho_config import ConfigError, PyTorchExecutionConfig
from ptycho_torch.control import RunCancelled, stop_if_asked
from ptycho_torch.lightning.run_control import Beginning
from ptycho_torch.models.cnn import CNNGenerator
from ptycho_torch.workflows import train
from ptycho_torch.workflows.processes.copies import reached, require_sendable, starts_copies
from ptycho_torch.workflows.processes.distributed import resolve_strategy


def _work(number, should_stop, progress, batches, failure=None):
    """What a copy does: a few batches, of which the first one tells."""
    if failure is not None:
        raise failure
    for done in range(1, batches + 1):
        if number == 0 and progress is not None:
            progress(done, batches)
            progress.stage("comparing", "frame")(done, batches)
        stop_if_asked(should_stop, "training")


def _launch(should_stop, progress, *, batches=3, failure=None, checkpoint=None):
    with reached("training", should_stop, progress, checkpoint=checkpoint) as sent:
        # Forked, because that takes a moment; spawned ones receive the same objects.
        start_processes(partial(_work, batches=batches, failure=failure), sent, nprocs=2, start_method="fork")


class _Listener:
    def __init__(self):
        self.seen, self.stages = [], []

    def __call__(self, done, total):
        self.seen.append((done, total))

    def stage(self, name, unit):
        self.stages.append((name, unit))
        return lambda done, total: self.seen.append((name, done, total))


@pytest.mark.rule("RUN-066")
def test_everything_that_the_first_copy_says_is_heard_in_order():
    listener = _Listener()
    _launch(None, listener)
    assert listener.seen == [step for i in (1, 2, 3) for step in ((i, 3), ("comparing", i, 3))]
    assert listener.stages == [("comparing", "frame")]


def test_a_plain_function_hears_of_the_main_stage():
    seen = []
    _launch(None, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.rule("RUN-066")
def test_copies_end_when_the_process_that_made_them_is_told_to(tmp_path):
    seen = []
    last = tmp_path / "last.ckpt"
    last.touch()
    with pytest.raises(RunCancelled, match=r"the training was cancelled; last checkpoint: ") as caught:
        _launch(lambda: len(seen) > 3, lambda done, total: seen.append(done), batches=10**9, checkpoint=last)
    assert caught.value.checkpoint == last


def test_a_checkpoint_that_is_not_there_is_not_named(tmp_path):
    with pytest.raises(RunCancelled, match=r"the training was cancelled$"):
        _launch(lambda: True, None, batches=10**9, checkpoint=tmp_path / "last.ckpt")


@pytest.mark.parametrize("which", ["should_stop", "progress"])
def test_what_goes_wrong_in_a_function_of_the_caller_comes_out(which):
    def fails(*step):
        raise LookupError("no window to draw in")

    functions = {"should_stop": None, "progress": None, which: fails}
    with pytest.raises(LookupError, match="no window to draw in"):
        _launch(**functions, batches=10**9)


def test_another_failure_of_a_copy_is_told_as_it_is():
    with pytest.raises(Exception, match="ValueError: frames of 3 px"):
        _launch(lambda: False, None, failure=ValueError("frames of 3 px"))


@pytest.mark.parametrize(
    ("stated", "prompt", "copies", "looking"),
    [
        ({"devices": 2, "strategy": "ddp"}, False, False, "ddp"),
        ({"devices": 2, "strategy": "ddp_spawn"}, False, True, "ddp_spawn"),
        ({"devices": 1, "strategy": "ddp_spawn"}, False, False, None),
        ({"devices": 2, "strategy": "ddp_notebook"}, True, True, "ddp_notebook"),
        ({"devices": 2}, False, False, "ddp"),
        ({"devices": 2}, True, True, "ddp_notebook"),
        ({"devices": 2, "num_nodes": 2}, True, False, "ddp"),
    ],
)
def test_which_strategies_make_copies(monkeypatch, stated, prompt, copies, looking):
    monkeypatch.delattr(sys, "ps1", raising=False)
    if prompt:
        monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    for name, value in {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    execution = PyTorchExecutionConfig(**stated)
    assert starts_copies(execution, "cpu") == copies
    expected = "auto" if looking is None else f"{looking}_find_unused_parameters_true"
    assert resolve_strategy(execution, "cpu", partly_used=True) == expected


def _begin(number, beginning):
    if number == 1:
        trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
        beginning.setup(trainer, None, "fit")
        beginning.on_train_start(trainer, None)


@pytest.mark.parametrize(("nprocs", "begun"), [(1, False), (2, True)])
def test_that_training_began_in_a_copy_is_known(nprocs, begun):
    beginning = Beginning(copies=True)
    start_processes(_begin, (beginning,), nprocs=nprocs, start_method="fork")
    assert beginning.seen == begun


def _hears_itself():
    class Nested(Callback):
        pass

    return Nested()


class _WithLambda(Callback):
    def __init__(self):
        self.hear = lambda row: row


class _WithEvent(Callback):
    """Events can be sent with a process that is started, and are known to refuse any other way."""

    def __init__(self):
        self.wish = get_context("spawn").Event()


@pytest.mark.rule("RUN-069")
@pytest.mark.parametrize("make", [_hears_itself, _WithLambda])
def test_a_callback_that_cannot_be_sent_is_refused_before_anything_is_written(make, payload, tmp_path):
    made = payload(execution={"devices": 2, "strategy": "ddp_spawn"})
    callback = make()
    with pytest.raises(ConfigError) as caught:
        train(made, callbacks=[callback])
    (problem,) = caught.value.problems
    assert (problem.field, problem.value) == ("callbacks", type(callback).__qualname__)
    assert not (tmp_path / "run").exists()


@pytest.mark.rule("RUN-069")
def test_what_can_be_sent_or_need_not_be_is_taken():
    spawned = PyTorchExecutionConfig(devices=2, strategy="ddp_spawn")
    require_sendable(spawned, "cpu", generator=CNNGenerator, callbacks=[_WithEvent(), Callback()])
    for other in ({"devices": 2, "strategy": "ddp"}, {"strategy": "ddp_spawn"}):
        execution = PyTorchExecutionConfig(**other)
        require_sendable(execution, "cpu", generator=CNNGenerator, callbacks=[_hears_itself()])


@pytest.mark.rule("RUN-069")
def test_a_network_that_cannot_be_sent_is_refused():
    class Local(CNNGenerator):
        pass

    with pytest.raises(ConfigError) as caught:
        require_sendable(PyTorchExecutionConfig(devices=2, strategy="ddp_spawn"), "cpu", generator=Local)
    assert [problem.field for problem in caught.value.problems] == ["architecture"]
