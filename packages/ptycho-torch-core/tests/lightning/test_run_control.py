"""Watching and ending a training from outside."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.control import RunCancelled
from ptycho_torch.workflows import train


@pytest.mark.rule("EMB-011")
def test_progress_counts_every_batch_of_every_epoch(payload):
    seen = []
    train(payload(nepochs=2), progress=lambda done, total: seen.append((done, total)))
    # 28 groups beside 2 for validation: 4 batches of 8 per epoch.
    assert seen == [(step, 8) for step in range(1, 9)]


@pytest.mark.rule("EMB-010")
@pytest.mark.parametrize(("answers", "complete"), [(1, 0), (6, 1)])
def test_a_training_ends_after_the_batch_in_which_it_was_asked_to(payload, tmp_path, answers, complete):
    asked = []

    def should_stop():
        asked.append(None)
        return len(asked) == answers

    with pytest.raises(RunCancelled) as caught:
        train(payload("run", nepochs=3), should_stop=should_stop)
    assert len(asked) == answers
    assert not (tmp_path / "run" / "wts.h5.zip").exists()
    if complete == 0:
        assert caught.value.checkpoint is None
    else:
        kept = torch.load(caught.value.checkpoint, weights_only=True)
        assert kept["epoch"] == complete
