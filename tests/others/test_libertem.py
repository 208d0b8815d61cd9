"""Frames of a Merlin detector, written by hand and read through LiberTEM."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from ptycho_config import PartsConfig

pytest.importorskip("libertem", reason="LiberTEM is installed by the session others")

ROWS, COLUMNS, SIZE = 6, 7, 32


def write_mib(path, frames):
    """A MIB file with one chip of 16 bits, and its header beside it."""
    with path.open("wb") as stream:
        for number, frame in enumerate(frames, start=1):
            height, width = frame.shape
            said = (
                f"MQ1,{number:06d},00384,01,{width:04d},{height:04d},U16,   1x1,01,2020-05-18 16:51:49,0,16,"
            )
            stream.write(said.encode().ljust(384, b"\0"))
            stream.write(frame.astype(">u2").tobytes())
    counts = f"Frames in Acquisition (Number):\t{len(frames)}\nFrames per Trigger (Number):\t{COLUMNS}\n"
    path.with_suffix(".hdr").write_text(f"HDR,\t\nChip ID:\tW529_F5,-,-,-\n{counts}End\t")


@pytest.fixture
def measured(tmp_path):
    """Frames and the path of their file."""
    spot = 200 * np.exp(-((np.indices((SIZE, SIZE)) - SIZE // 2) ** 2).sum(axis=0) / 60)
    frames = np.random.default_rng(0).poisson(spot, (ROWS * COLUMNS, SIZE, SIZE))
    write_mib(tmp_path / "scan.mib", frames)
    return frames, tmp_path / "scan.mib"


@pytest.mark.filterwarnings("ignore")
def test_frames_are_read_lazily_in_any_order(measured):
    from ptycho_torch.data.scan.libertem_frames import libertem_frames

    frames, path = measured
    found = libertem_frames(path)
    assert (found.shape, found.raster) == (frames.shape, (ROWS, COLUMNS))
    np.testing.assert_array_equal(found[:], frames)
    np.testing.assert_array_equal(found[[5, 3, 3, 40]], frames[[5, 3, 3, 40]])
    np.testing.assert_array_equal(found[4], frames[4])
    part = pickle.loads(pickle.dumps(found.take([9, 2]).crop(16)))
    np.testing.assert_array_equal(part[:], frames[[9, 2], 8:24, 8:24])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", [".mib", ".hdr"])
def test_with_a_step_they_are_a_scan(measured, ending):
    from ptycho_torch.data.opening import open_scan

    frames, path = measured
    parts = PartsConfig(raster_step=3.0, position_unit="px", probe_model="mean-frame")
    scan = open_scan(path.with_suffix(ending), parts=parts)
    assert scan.n_frames == ROWS * COLUMNS
    np.testing.assert_array_equal(np.asarray(scan.diffraction[:]), frames)
    assert np.ptp(scan.positions, axis=0).tolist() == [3 * (ROWS - 1), 3 * (COLUMNS - 1)]
