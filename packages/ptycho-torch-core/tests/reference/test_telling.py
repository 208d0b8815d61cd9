"""What ends or doubts a job stands in the log that the window of ptychodus shows."""

from __future__ import annotations

import logging
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.errors import BundleError, DataError, ScanWarning, ShapeError
from ptycho_torch.reference.configs import DataConfig
from ptycho_torch.reference.engine import InferenceEngine, PtychoModel, PtychoPINN_Lightning, Trainer
from ptycho_torch.reference.loading import Patterns, PtychoDataLoader
from ptycho_torch.reference.manager import ConfigManager
from ptycho_torch.reference.telling import told

SHOWN = "ptychopinn-torch"


def _shown(caplog, level):
    records = [record for record in caplog.records if record.name == SHOWN]
    return [record.getMessage() for record in records if record.levelno == level]


def _open_empty_folder(folder):
    PtychoDataLoader(data_dir=folder, config_manager=ConfigManager(), output_dir=folder)


def _arrays_of_other_lengths(folder):
    ones = np.ones((4, 8, 8))
    PtychoDataLoader.from_np(
        diff_patterns=ones, probe=ones[0], positions=np.zeros((3, 2)), config_manager=ConfigManager()
    )


def _read_a_text(folder):
    (folder / "model.ckpt").write_text("no checkpoint")
    PtychoModel._extract_configs_from_checkpoint(str(folder / "model.ckpt"))


def _load_a_text(folder):
    (folder / "model.ckpt").write_text("no checkpoint")
    PtychoPINN_Lightning.load_from_checkpoint(folder / "model.ckpt")


def _train_three_channels(folder):
    manager = ConfigManager(data_config=DataConfig(C=3))
    model = PtychoModel._new_model(model=PtychoPINN_Lightning, config_manager=manager)
    loader = SimpleNamespace(sources=(), output_dir=folder / "run", config_manager=manager)
    Trainer._from_lightning(model=model, dataloader=loader).train()


def _reconstruct_other_frames(folder):
    manager = ConfigManager()
    model = PtychoModel._new_model(model=PtychoPINN_Lightning, config_manager=manager)
    model.model.network = SimpleNamespace(n_pixels=16)
    ones = np.ones((4, 8, 8))
    patterns = Patterns(counts=ones, probe=ones[:1], positions=np.zeros((4, 2)))
    InferenceEngine(config_manager=manager, ptycho_model=model).predict_and_stitch(patterns)


@pytest.mark.parametrize(
    ("job", "error"),
    [
        (_open_empty_folder, DataError),
        (_arrays_of_other_lengths, ShapeError),
        (_read_a_text, BundleError),
        (_load_a_text, BundleError),
        (_train_three_channels, ConfigError),
        (_reconstruct_other_frames, DataError),
    ],
)
def test_what_is_refused_is_shown_and_raised(job, error, tmp_path, caplog):
    with pytest.raises(error) as caught:
        job(tmp_path)
    assert _shown(caplog, logging.ERROR) == [str(caught.value)]


def test_an_error_of_another_kind_is_shown_with_its_name(caplog):
    with pytest.raises(KeyError), told():
        raise KeyError("probe")
    assert _shown(caplog, logging.ERROR) == ["KeyError: 'probe'"]


def test_warnings_are_shown_and_those_of_other_libraries_stay_where_they_were(caplog):
    core, other = logging.getLogger("ptycho_torch.data.reading"), logging.getLogger("matplotlib")
    shown_before = warnings.showwarning
    with warnings.catch_warnings(record=True) as elsewhere:
        warnings.simplefilter("always")
        with told():
            warnings.warn("a gap is interpolated", ScanWarning, stacklevel=1)
            warnings.warn("gone soon", DeprecationWarning, stacklevel=1)
            core.warning("%d frames are dropped", 3)
            other.warning("no font")
        core.warning("after the job")
    assert _shown(caplog, logging.WARNING) == ["a gap is interpolated", "3 frames are dropped"]
    assert [str(one.message) for one in elsewhere] == ["gone soon"]
    assert warnings.showwarning is shown_before


def test_a_job_in_another_thread_says_its_own_warnings(caplog):
    core = logging.getLogger("ptycho_torch.data.reading")
    with told():
        other = threading.Thread(target=core.warning, args=("of the other",))
        other.start()
        other.join()
    assert not _shown(caplog, logging.WARNING)
