"""Sources that are files: they grow, appear late, are half written, and hold what nobody expects."""

from __future__ import annotations

import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import tifffile

from ptycho_config import ConfigError
from ptycho_torch.live.messages import End, Frames, Positions, Refused, Start
from ptycho_torch.live.source_registry import open_source, path_read
from ptycho_torch.workflows import run_live


class Heard:
    """Everything that a source has given so far, in its own order."""

    def __init__(self, source):
        self.source, self.said = source, []

    def until(self, n, kind=Frames, seconds=15):
        """Receive until so many frames or positions have come."""
        until = time.monotonic() + seconds
        while self.count(kind) < n and time.monotonic() < until:
            self.said += self.source.receive(0.05)
        assert self.count(kind) == n
        return self

    def still(self, seconds=0.3):
        """Receive for a while; nothing may come."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.source.receive(0.05) == []

    def count(self, kind):
        return sum(len(getattr(one, "numbers", (0,))) for one in self.said if isinstance(one, kind))

    def numbers(self, kind=Frames):
        return [int(number) for one in self.said if isinstance(one, kind) for number in one.numbers]

    def values(self, kind=Frames):
        found = [
            one.frames if kind is Frames else one.positions for one in self.said if isinstance(one, kind)
        ]
        return np.concatenate(found)


@pytest.fixture
def hear():
    opened = []

    def make(address, gives="frames"):
        opened.append(open_source(address, gives))
        return Heard(opened[-1])

    yield make
    for source in opened:
        source.close()


WRITER = """
import sys, h5py, numpy as np
with h5py.File(sys.argv[1], "w", libver="latest") as file:
    pieces = (int(sys.argv[2]), 8, 8)
    data = file.create_dataset("e/frames", (0, 8, 8), "u2", maxshape=(None, 8, 8), chunks=pieces)
    places = file.create_dataset("e/places", (0, 2), "f8", maxshape=(None, 2), chunks=(4, 2))
    places.attrs["units"] = "um"
    file.swmr_mode = True
    print("made", flush=True)
    for line in sys.stdin:
        n, before = int(line), len(data)
        data.resize(n + 2, 0); places.resize(n, 0)
        for row in range(before - 2 * bool(before), n):
            data[row] = row + 1
            places[row] = [row, -row]
        data.resize(n + 2, 0); data.flush(); places.flush()
        print(n, flush=True)
    data.resize(n, 0)
"""


@pytest.mark.rule("LIVE-012")
@pytest.mark.parametrize("together", [1, 4])
def test_of_a_file_that_grows_only_what_is_written_is_taken(tmp_path, hear, together):
    path = tmp_path / "growing.h5"
    frames, places = hear(f"hdf5:{path}:/e/frames"), hear(f"hdf5:{path}:/e/places", "positions")
    frames.still(0.1)
    assert str(path) in frames.source.waits_for
    words = [sys.executable, "-c", WRITER, str(path), str(together)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "made\n"
        for n in (5, 11):
            writer.stdin.write(f"{n}\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == f"{n}\n"
            # Two frames more have a place in the file, and are not written.
            frames.until(n if together == 1 else n // 4 * 4)
            places.until(n, Positions)
        frames.still()
    frames.until(11)
    assert frames.numbers() == list(range(11))
    assert (frames.values() == np.arange(1, 12)[:, None, None]).all()
    # Columns are x and y; positions are [y, x].
    assert (places.values(Positions) == np.stack([-np.arange(11.0), np.arange(11.0)], axis=1)).all()
    assert {one.unit for one in places.said} == {"um"}


@pytest.mark.rule("LIVE-012")
def test_a_frame_that_was_never_written_is_none(tmp_path, hear):
    with h5py.File(tmp_path / "holes.h5", "w") as file:
        data = file.create_dataset("frames", (9, 8, 8), "u2", chunks=(1, 4, 8))
        for row in (0, 1, 4, 5, 7):
            data[row] = row
    heard = hear(f"hdf5:{tmp_path / 'holes.h5'}").until(5)
    heard.still()
    assert heard.numbers() == [0, 1, 4, 5, 7]
    assert (heard.values() == np.array([0, 1, 4, 5, 7])[:, None, None]).all()
    with h5py.File(tmp_path / "holes.h5", "r+") as file:
        file["frames"][3], file["frames"][8] = 3, 8
    heard.until(7)
    assert heard.numbers()[5:] == [3, 8]


@pytest.mark.rule("LIVE-012")
def test_the_linked_files_of_a_master_file_are_taken_as_they_appear(tmp_path, hear):
    mask = np.zeros((8, 8), dtype=np.uint32)
    mask[2, 3] = 1
    with h5py.File(tmp_path / "s_master.h5", "w") as file:
        for block in (1, 2):
            file[f"entry/data/data_{block:06d}"] = h5py.ExternalLink(
                f"s_data_{block:06d}.h5", "entry/data/data"
            )
        detector = file.create_group("entry/instrument/detector")
        detector["pixel_mask"], detector["beam_center_x"], detector["beam_center_y"] = mask, 4.0, 5.0
        detector["detector_distance"], detector["x_pixel_size"] = 1.5, 75e-6
        detector["y_pixel_size"] = 75e-6
        detector["detectorSpecific/nimages"], detector["detectorSpecific/ntrigger"] = 7, 1
        file["entry/instrument/beam/incident_energy"] = 8000.0
    heard = hear(f"hdf5:{tmp_path / 's_master.h5'}")
    heard.still(0.2)

    def appear(block, first, n):
        with h5py.File(tmp_path / "partial.h5", "w") as file:
            data = file.create_dataset(
                "entry/data/data", data=np.arange(first, first + n)[:, None, None] + np.zeros((8, 8))
            )
            data.attrs["image_nr_low"] = first + 1
        (tmp_path / "partial.h5").rename(tmp_path / f"s_data_{block:06d}.h5")

    appear(2, 4, 3)
    heard.still(0.2)
    appear(1, 0, 4)
    heard.until(7)
    assert heard.numbers() == list(range(7))
    assert (heard.values() == np.arange(7)[:, None, None]).all()
    (told,) = [one for one in heard.said if isinstance(one, Start)]
    assert told.metadata["photon_energy_eV"] == 8000.0
    assert told.metadata["detector_pixel_width_m"] == 75e-6
    assert (told.centre, told.n_frames) == ((5, 4), 7)
    assert np.argwhere(told.bad_pixels).tolist() == [[2, 3]]


@pytest.mark.rule("LIVE-012")
def test_files_that_appear_in_a_folder_are_read_when_they_are_complete(tmp_path, hear):
    folder = tmp_path / "frames"
    heard = hear(f"watch:{folder},first=1")
    heard.still(0.1)
    assert str(folder) in heard.source.waits_for
    folder.mkdir()
    frame = np.arange(12, dtype=np.uint16).reshape(3, 4)
    tifffile.imwrite(folder / "scan12_0002.tif", frame + 1)
    np.save(folder / "scan12_0001.npy", frame)
    (folder / "notes.txt").write_text("no frames")
    heard.until(2)
    whole = (folder / "scan12_0001.npy").read_bytes()
    with (folder / "scan12_0003.npy").open("wb") as stream:
        stream.write(whole[:-5])
        stream.flush()
        heard.still(0.5)
        stream.write(whole[-5:])
    heard.until(3)
    assert heard.numbers() == [0, 1, 2]
    assert (heard.values() == np.stack([frame, frame + 1, frame])).all()
    np.save(folder / "scan12_0004.npy", np.array([{"no": "numbers"}]), allow_pickle=True)
    np.save(folder / "nameless.npy", frame)
    heard.source._failing["scan12_0004.npy"] = 0.0
    heard.until(3)
    until = time.monotonic() + 10
    while sum(isinstance(one, Refused) for one in heard.said) < 2 and time.monotonic() < until:
        heard.said += heard.source.receive(0.05)
    assert {one.why for one in heard.said if isinstance(one, Refused)} == {
        "a file of frames that cannot be read", "a file of frames without a number in its name",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "unit", "numbers", "places"),
    [
        ("x,y\n1,2\n3,4\n", None, [0, 1], [[2, 1], [4, 3]]),
        ("# number x_um y_um\n7 1 2\n9 3 4\n", "um", [7, 9], [[2, 1], [4, 3]]),
        ("frame;Y [nm];X [nm]\n5;2;1\n", "nm", [5], [[2, 1]]),
        ("1.5\t2\n3\t4", None, [0, 1], [[2, 1.5], [4, 3]]),
        ("3 1 2\n", None, [3], [[2, 1]]),
    ],
)
def test_a_table_of_positions_is_read_by_its_names(tmp_path, hear, text, unit, numbers, places):
    (tmp_path / "table.txt").write_text(text)
    heard = hear(f"csv:{tmp_path / 'table.txt'}", "positions").until(len(numbers), Positions)
    assert heard.numbers(Positions) == numbers
    assert heard.values(Positions).tolist() == places
    assert heard.said[0].unit == unit
    stated = hear(f"csv:{tmp_path / 'table.txt'},unit=mm", "positions").until(len(numbers), Positions)
    assert stated.said[0].unit == "mm"


def test_a_commanded_raster(hear):
    heard = hear("grid:3x2,step=0.5x2um,snake,first=10", "positions").until(6, Positions)
    assert heard.numbers(Positions) == list(range(10, 16))
    assert heard.values(Positions).tolist() == [[0, 0], [0, 2], [0.5, 2], [0.5, 0], [1, 0], [1, 2]]
    assert heard.said[0].n_frames == 6
    assert heard.source.receive(0) == [End()]


@pytest.mark.parametrize(
    ("address", "gives"),
    [("grid:0x3,step=1um", "positions"), ("grid:3x3,step=-1um", "positions"), ("grid:3x3", "positions"),
     ("grid:3x3,step=1.2.3um", "positions"), ("grid:99999x99999,step=1um", "positions"),
     ("csv:a.csv,unit=inch", "positions"), ("hdf5:a.h5", "positions"), ("watch:a,first=x", "frames"),
     ("csv:a.csv", "frames")],
)  # fmt: skip
def test_addresses_of_files_that_make_no_sense_are_refused(address, gives):
    with pytest.raises(ConfigError) as caught:
        open_source(address, gives)
    assert [problem.field for problem in caught.value.problems] == [gives]


@pytest.mark.rule("LIVE-012")
def test_a_file_that_is_complete_is_a_scan_too(tmp_path, live, tiny_scan):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = tiny_scan.diffraction[:]
        file["stage/x"], file["stage/y"] = tiny_scan.positions[:, 1], tiny_scan.positions[:, 0]
    addresses = f"hdf5:{path}", f"hdf5:{path}:/stage"
    outcome = run_live(live(*addresses, position_unit="px", end_after=1.0), pictures=False)
    assert outcome.counters.joined == 30
    with np.load(outcome.output_dir / "reconstruction.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["positions"], tiny_scan.positions)


@pytest.mark.rule("LIVE-011", "DATA-121")
def test_files_that_claim_gigabytes_are_refused_and_end_nothing(tmp_path, hear, monkeypatch):
    monkeypatch.setattr("ptycho_torch.live.sources.watched_folder._PATIENCE_S", 0.0)
    np.save(tmp_path / "good_1.npy", np.ones((8, 8), np.uint16))
    header = repr({"descr": "<u2", "fortran_order": False, "shape": (10**6, 10**6)}).encode().ljust(117)
    (tmp_path / "large_2.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header + b"\n"
    )
    with h5py.File(tmp_path / "packed_3.h5", "w") as file:
        file.create_dataset("d", (1, 16000, 16000), "f8", chunks=(1, 16000, 16000), compression="gzip")
    with h5py.File(tmp_path / "wide_4.h5", "w") as file:
        file.create_dataset("d", (1, 4, 10**9), "u1", chunks=(1, 4, 1000))
    heard = hear(f"watch:{tmp_path}").until(1)
    heard.until(3, Refused)
    assert heard.numbers() == [1]


@pytest.mark.rule("LIVE-011", "DATA-120")
def test_positions_of_absurd_sizes_and_kinds_are_waited_for_in_words(tmp_path, hear):
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file.create_dataset("many", (10**12, 2), "f8", chunks=(1024, 2))
        file.create_dataset("odd", (3, 2), [("a", "f4"), ("b", "i4")])
        file["text/x"], file["text/y"] = ["a", "b"], ["c", "d"]
    for name in ("many", "odd", "text"):
        heard = hear(f"hdf5:{tmp_path / 'p.h5'}:/{name}", "positions")
        heard.still(0.15)
        assert "cannot be read" in heard.source.waits_for


@pytest.mark.rule("LIVE-011")
def test_numbers_that_no_frame_has_are_refused(tmp_path, hear):
    (tmp_path / "p.csv").write_text("number,x,y\n1e300,1,2\n99999999999999999999,1,2\n5,1,2\n")
    heard = hear(f"csv:{tmp_path / 'p.csv'}", "positions").until(1, Positions)
    assert heard.numbers(Positions) == [5]
    assert sum(isinstance(one, Refused) for one in heard.said) == 2


@pytest.mark.rule("RUN-082")
def test_files_that_are_watched_are_inputs():
    assert path_read("csv:stage.csv,unit=um") == "stage.csv"
    assert path_read("hdf5:scan.h5:/entry/data") == "scan.h5:/entry/data"
    assert path_read("watch:incoming,first=3") == "incoming"
    assert path_read("zmq:tcp://localhost:5555") is None
    assert path_read(None) is None
