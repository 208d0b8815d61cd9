"""Files of a run: what one of them fails with costs no other."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from ptycho_torch.atomic import atomic_write
from ptycho_torch.workflows import ResultsIncomplete
from ptycho_torch.workflows.runs.leaving import Leaving


def test_what_follows_a_failure_is_written(tmp_path):
    (tmp_path / "first.txt").mkdir()
    leaving = Leaving(tmp_path)
    for name in ("first.txt", "second.txt"):
        with leaving.file(name) as path, atomic_write(path, "w") as stream:
            stream.write("content")
    assert (tmp_path / "second.txt").read_text() == "content"
    with pytest.raises(ResultsIncomplete) as caught:
        leaving.require_all(tmp_path, (tmp_path / "second.txt",))
    assert list(caught.value.failures) == ["first.txt"]
    assert caught.value.files == (tmp_path / "second.txt",)
    assert isinstance(caught.value.__cause__, IsADirectoryError)


def test_nothing_is_said_when_all_is_written(tmp_path):
    leaving = Leaving(tmp_path)
    with leaving.file("only.npy") as path:
        np.save(path, np.zeros(1))
    leaving.require_all(tmp_path, (tmp_path / "only.npy",))


def test_an_interruption_is_no_failure_of_a_file(tmp_path):
    leaving = Leaving(tmp_path)
    with pytest.raises(KeyboardInterrupt), leaving.file("any"):
        raise KeyboardInterrupt
    assert not leaving.failures


def test_the_error_travels_between_processes():
    error = ResultsIncomplete(Path("run"), {"a.png": "disk full"}, (Path("run/b.npz"),), "resume")
    again = pickle.loads(pickle.dumps(error))
    assert (again.folder, again.failures, again.files, str(again)) == (
        error.folder,
        error.failures,
        error.files,
        str(error),
    )
