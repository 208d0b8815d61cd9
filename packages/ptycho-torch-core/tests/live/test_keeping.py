"""Folders of kept frames that hold what no run wrote, or what was changed."""

import json

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.errors import DataError
from ptycho_torch.live.frame_store import FolderStore
from ptycho_torch.live.keeping import KeptFrames


def listed(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def kept(tmp_path):
    """A folder with two frames and a position."""
    folder = tmp_path / "kept"
    run = KeptFrames(folder)
    store = run.make_store(8, np.dtype("u2"))
    for number in range(2):
        store.append(np.full((8, 8), number, np.uint16))
        run.frame(number)
    run.position(0, (1.0, 2.0))
    run.know({"position_unit": "px", "metadata": {}, "centre": None, "n_frames": 4}, np.zeros((8, 8), bool))
    run.close()
    return folder


@pytest.mark.rule("RUN-042", "LIVE-006")
@pytest.mark.parametrize("name", ["bad_pixels.npy", "frames.npy", "known.json", "positions.f8"])
def test_files_of_somebody_else_stay_as_they_are(tmp_path, name):
    (tmp_path / name).write_bytes(b"of somebody else")
    before = listed(tmp_path)
    with pytest.raises(ConfigError) as refused:
        KeptFrames(tmp_path)
    assert refused.value.problems[0].field == "keep_frames"
    assert listed(tmp_path) == before


@pytest.mark.rule("RUN-042", "LIVE-006")
def test_nothing_behind_a_link_is_changed(kept, tmp_path):
    elsewhere = tmp_path / "precious.npy"
    (kept / "frames.npy").rename(elsewhere)
    (kept / "frames.npy").symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    with pytest.raises(ConfigError) as refused:
        KeptFrames(kept)
    assert "frames.npy" in refused.value.problems[0].expected
    assert elsewhere.read_bytes() == before


@pytest.mark.rule("RUN-045", "LIVE-006")
def test_a_folder_takes_the_frames_of_one_run_at_a_time(kept):
    first = KeptFrames(kept)
    with pytest.raises(ConfigError) as refused:
        KeptFrames(kept)
    assert refused.value.problems[0].field == "keep_frames"
    first.close()
    KeptFrames(kept).close()


@pytest.mark.rule("DATA-121")
@pytest.mark.parametrize("shape", [(1, 0, 0), (1, 8, 9), (1, 10**6, 10**6), (2,)])
def test_frames_of_absurd_sizes_are_no_frames_of_a_run(kept, shape):
    path = kept / "frames.npy"
    text = repr({"descr": "<u2", "fortran_order": False, "shape": shape}).encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + (246).to_bytes(2, "little") + text.ljust(245) + b"\n")
    with pytest.raises(DataError):
        KeptFrames(kept)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        json.dumps({"metadata": 3}),
        json.dumps({"position_unit": 3}),
        json.dumps({"centre": [1]}),
        json.dumps({"centre": {"a": 1}}),
        json.dumps({"n_frames": "many"}),
        json.dumps({"n_frames": 10**12}),
        "[" * 100_000,
    ],
)
def test_what_is_known_is_refused_where_it_was_changed(kept, content):
    (kept / "known.json").write_text(content)
    run = KeptFrames(kept)
    with pytest.raises(DataError):
        run.known()
    run.close()


@pytest.mark.parametrize(
    ("name", "values"), [("numbers.i8", np.array([-1, 3], "<i8")), ("positions.f8", np.full(3, np.nan))]
)
def test_numbers_that_no_run_wrote_are_refused(kept, name, values):
    (kept / name).write_bytes(values.tobytes())
    with pytest.raises(DataError):
        KeptFrames(kept)


def test_what_was_kept_is_taken_up(kept):
    run = KeptFrames(kept)
    assert run.numbers.tolist() == [0, 1]
    assert run.places.tolist() == [[0.0, 1.0, 2.0]]
    assert run.known()[0]["n_frames"] == 4
    assert isinstance(run.store_found(), FolderStore)
    run.clear()
    assert listed(kept) == {}
