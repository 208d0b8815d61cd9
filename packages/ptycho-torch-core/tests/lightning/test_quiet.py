"""Lightning does not talk to the users of programs that train."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading

import pytest
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from ptycho_torch.lightning.quiet import QuietCopies, quiet_lightning

SCRIPT = """
import sys
from ptycho_torch.config_factory import create_inference_payload, create_training_payload
from ptycho_torch.workflows import infer, train

settings = {"nepochs": 2, "n_groups": 8, "n_filters_scale": 1, "accelerator": "cpu"}
run = train(create_training_payload(sys.argv[1], sys.argv[2], overrides=settings))
settings["nepochs"] = 3
train(create_training_payload(sys.argv[1], sys.argv[2], overrides=settings), resume=True)
on_cpu = {"accelerator": "cpu"}
infer(create_inference_payload(run.bundle, sys.argv[1], sys.argv[2] + "-result", overrides=on_cpu))
"""


@pytest.mark.rule("RUN-040")
def test_a_program_that_trains_and_reconstructs_prints_nothing(tmp_path, tiny_scan_file):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_scan_file), str(tmp_path / "run")],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def _state():
    return {
        name: (logger.level, list(logger.filters), list(logger.handlers), logger.propagate, logger.disabled)
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and name.startswith("lightning")
    }


def _says(text, caplog):
    """What arrives of a remark and of a warning through Lightning's own means."""
    caplog.clear()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").info(text)
    logging.getLogger("lightning.pytorch.trainer.connectors.checkpoint_connector").warning(text)
    return [record.levelname for record in caplog.records]


@pytest.fixture
def heard(caplog):
    """Lightning's records, whoever has taken them away from the root logger."""
    logger = logging.getLogger("lightning.pytorch")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_remarks_are_dropped_and_warnings_are_not(heard):
    assert set(_says("before", heard)) == {"INFO", "WARNING"}
    with quiet_lightning():
        assert set(_says("meanwhile", heard)) == {"WARNING"}
        heard.clear()
        rank_zero_info("a remark")
        with pytest.warns(UserWarning, match="a warning"):
            rank_zero_warn("a warning")
        assert not heard.records
    assert set(_says("after", heard)) == {"INFO", "WARNING"}


def test_loggers_are_left_as_they_were():
    before = _state()
    with quiet_lightning():
        assert _state() != before
    assert _state() == before


def test_other_threads_are_heard(heard):
    with quiet_lightning():
        found = []
        thread = threading.Thread(target=lambda: found.extend(_says("beside", heard)))
        thread.start()
        thread.join()
    assert set(found) == {"INFO", "WARNING"}


def test_this_process_is_not_made_quiet_by_what_is_sent_to_copies():
    before = _state()
    assert isinstance(pickle.loads(pickle.dumps(QuietCopies())), QuietCopies)
    assert _state() == before
