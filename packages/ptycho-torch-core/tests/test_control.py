"""The exception that says a run was cancelled, and when it is raised."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ptycho_torch.control import RunCancelled, stage_of, stop_if_asked


def test_nobody_who_asks_and_nobody_who_listens_change_nothing():
    stop_if_asked(None, "training")
    stop_if_asked(lambda: False, "training")


def test_a_true_answer_ends_the_run():
    with pytest.raises(RunCancelled, match=r"the reconstruction was cancelled$") as caught:
        stop_if_asked(lambda: True, "reconstruction")
    assert caught.value.checkpoint is None


def test_a_checkpoint_is_named_and_survives_pickling():
    again = pickle.loads(pickle.dumps(RunCancelled("training", Path("last.ckpt"))))
    assert again.checkpoint == Path("last.ckpt")
    assert str(again) == "the training was cancelled; last checkpoint: last.ckpt"


class _Stages:
    """A listener that tells stages apart."""

    def __init__(self):
        self.seen = {}

    def __call__(self, done, total):
        self.seen.setdefault("main", []).append((done, total))

    def stage(self, name, unit):
        return lambda done, total: self.seen.setdefault((name, unit), []).append((done, total))


def test_a_plain_function_hears_of_the_main_stage_only():
    assert stage_of(lambda done, total: None, "reading", "frame") is None
    assert stage_of(None, "reading", "frame") is None
    listener = _Stages()
    stage_of(listener, "reading", "frame")(3, 4)
    assert listener.seen == {("reading", "frame"): [(3, 4)]}
