"""HDF5 files with links, virtual datasets, plugins and writers: read as plain ones, or named in words."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from ptycho_torch.data.formats import cxi
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.stored import open_hdf5
from ptycho_torch.errors import DataError, ScanWarning

pytestmark = pytest.mark.usefixtures("spawnable")

FRAMES, PLACES = "entry_1/data_1/data", "entry_1/sample_1/geometry_1/translation"
STORED = "entry_1/instrument_1/detector_1/data"


@pytest.fixture
def scan_file(tmp_path):
    """A CXI file with the example; its frames are replaced by what a function of the open file puts there."""

    made = []

    def make(put=None):
        path = tmp_path / f"scan{len(made)}.cxi"
        made.append(path)
        cxi.make_example(path)
        if put is not None:
            with h5py.File(path, "a") as file:
                del file[FRAMES], file[STORED]
                put(file)
        return path

    return make


def _refused(path) -> str:
    for act in (open_scan, read_scan_header):
        try:
            header = act(path)
        except DataError as error:
            said = error.problems[0]
        else:
            assert act is read_scan_header
            assert header.n_frames is None
    return said


def _parts(folder, **packing):
    frames = example_scan().diffraction[:]
    for number in range(2):
        with h5py.File(folder / f"raw_{number}.h5", "w") as file:
            file.create_dataset("data", data=frames[6 * number : 6 * number + 6], **packing)


def _virtual(pattern="raw_{}.h5", reach=6):
    layout = h5py.VirtualLayout((12, 16, 16), np.uint16)
    for number in range(2):
        source = h5py.VirtualSource(pattern.format(number), "data", (reach, 16, 16))
        layout[6 * number : 6 * number + 6] = source[reach - 6 : reach]
    return lambda file: file.create_virtual_dataset(FRAMES, layout)


@pytest.mark.rule("DATA-066")
@pytest.mark.parametrize("missing", ["nothing", "one", "both", "dataset", "frames"])
def test_a_virtual_dataset_is_read_whole_or_not_at_all(scan_file, tmp_path, missing):
    _parts(tmp_path)
    path = scan_file(_virtual(reach=9 if missing == "frames" else 6))
    gone = {"one": ["raw_1.h5"], "both": ["raw_0.h5", "raw_1.h5"]}.get(missing, [])
    for name in gone:
        (tmp_path / name).unlink()
    if missing == "dataset":
        with h5py.File(tmp_path / "raw_1.h5", "a") as file:
            file.move("data", "other")
    if missing == "nothing":
        np.testing.assert_array_equal(open_scan(path).diffraction[:], example_scan().diffraction)
        return
    said = _refused(path)
    assert FRAMES in said
    assert all(name in said for name in gone or ["raw_1.h5"])


def _maps(rows, columns=slice(None), fill=0):
    """A virtual dataset that maps some frames only, from one file."""
    layout = h5py.VirtualLayout((12, 16, 16), np.uint16)
    for row in rows:
        layout[row, columns] = h5py.VirtualSource("raw.h5", "data", (12, 16, 16))[row, columns]
    return lambda file: file.create_virtual_dataset(FRAMES, layout, fillvalue=fill)


def _through_another(folder, rows):
    """A virtual dataset over one that maps some frames only."""
    with h5py.File(folder / "between.h5", "w") as file:
        _maps(rows, fill=3)(file.create_group("a"))
        file["data"] = h5py.SoftLink("/a/" + FRAMES)
    layout = h5py.VirtualLayout((12, 16, 16), np.uint16)
    layout[:] = h5py.VirtualSource("between.h5", "a/" + FRAMES, (12, 16, 16))
    return lambda file: file.create_virtual_dataset(FRAMES, layout)


def _stops(rows, fill=5):
    """A dataset whose writer ended early."""

    def put(file):
        data = file.create_dataset(FRAMES, (12, 16, 16), np.uint16, chunks=(1, 8, 16), fillvalue=fill)
        for row in rows:
            data[row] = example_scan().diffraction[row]

    return put


@pytest.mark.rule("DATA-126")
@pytest.mark.parametrize("layout", ["gap", "other value", "between", "stopped", "part of a frame"])
def test_frames_that_were_never_written_are_named_and_left_out(scan_file, tmp_path, layout):
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["data"] = example_scan().diffraction[:].astype(np.uint16)
    rows = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    put = {
        "gap": _maps(rows),
        "other value": _maps(rows, fill=9),
        "between": _through_another(tmp_path, rows),
        "stopped": _stops(rows),
        "part of a frame": _maps(rows),
    }[layout]

    def half_too(file):
        del file[FRAMES]
        made = h5py.VirtualLayout((12, 16, 16), np.uint16)
        source = h5py.VirtualSource("raw.h5", "data", (12, 16, 16))
        for row in range(12):
            part = slice(None) if row in rows else slice(0, 8)
            made[row, part] = source[row, part]
        file.create_virtual_dataset(FRAMES, made, fillvalue=9)

    path = scan_file(put)
    if layout == "part of a frame":
        with h5py.File(path, "a") as file:
            half_too(file)
    with pytest.warns(ScanWarning) as told:
        scan = open_scan(path)
    assert len(told) == 1
    (found,) = [finding for finding in scan.findings if finding.found and finding.severity == "warning"]
    assert (found.name, found.numbers["frames"]) == ("unwritten", [4, 11])
    np.testing.assert_array_equal(scan.diffraction[:], example_scan().diffraction[rows])
    np.testing.assert_array_equal(scan.frame_index, rows)


@pytest.mark.rule("DATA-126")
def test_pixels_that_no_file_holds_are_not_measured(scan_file, tmp_path):
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["data"] = example_scan().diffraction[:].astype(np.uint16)
    scan = open_scan(scan_file(_maps(range(12), slice(2, 16), fill=7)))
    assert scan.bad_pixels[:2].all()
    assert not scan.bad_pixels[2:].any()
    assert scan.n_frames == 12


@pytest.mark.rule("DATA-126")
@pytest.mark.parametrize("put", [_maps([]), _stops([])], ids=["mapped", "written"])
def test_a_scan_without_a_frame_that_was_written_is_refused(scan_file, put):
    assert FRAMES in _refused(scan_file(put))


@pytest.mark.rule("DATA-066")
def test_positions_in_a_file_that_is_missing_are_named(scan_file):
    path = scan_file()
    layout = h5py.VirtualLayout((12, 3), float)
    layout[:] = h5py.VirtualSource("nowhere.h5", "t", (12, 3))
    with h5py.File(path, "a") as file:
        del file[PLACES]
        file.create_virtual_dataset(PLACES, layout)
    assert "nowhere.h5" in _refused(path)


@pytest.mark.rule("DATA-066")
@pytest.mark.parametrize("place", ["beside", "absolute", "elsewhere", "wrong name inside"])
def test_a_link_into_another_file_is_followed_or_named(scan_file, tmp_path, place):
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["there"] = example_scan().diffraction[:]
    target = str(tmp_path / "raw.h5") if place == "absolute" else "raw.h5"
    inside = "nowhere" if place == "wrong name inside" else "there"
    path = scan_file(lambda file: file.__setitem__(FRAMES, h5py.ExternalLink(target, inside)))
    if place == "elsewhere":
        (tmp_path / "alone").mkdir()
        path = shutil.copy(path, tmp_path / "alone")
    if place in ("beside", "absolute"):
        np.testing.assert_array_equal(open_scan(path).diffraction[:], example_scan().diffraction)
        return
    said = _refused(path)
    assert FRAMES in said
    assert "raw.h5" in said


def test_a_listing_shows_where_links_lead(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["here"] = 1.0
        file["soft"], file["out"] = h5py.SoftLink("/gone"), h5py.ExternalLink("raw.h5", "there")
        file["loop"] = h5py.SoftLink("/")
    with pytest.raises(DataError) as caught:
        open_scan(tmp_path / "x.h5")
    assert "here, out -> raw.h5:there, soft -> /gone" in caught.value.problems[0]


class _Summed(Dataset):
    """Totals of frames, computed where they are read."""

    def __init__(self, frames):
        self.frames = frames

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        return int(np.asarray(self.frames[index]).sum())


@pytest.mark.rule("DATA-066")
@pytest.mark.parametrize("layout", ["packed", "virtual"])
def test_frames_packed_by_a_plugin_are_read_in_every_process(scan_file, tmp_path, layout):
    # The plugin is loaded in the process that writes, as by a detector, and not in this one.
    write = (
        "import sys, h5py, hdf5plugin, numpy as np\n"
        "frames = np.load(sys.argv[1])\n"
        "for name, part in (('raw_0.h5', frames[:6]), ('raw_1.h5', frames[6:]), ('raw.h5', frames)):\n"
        "    with h5py.File(name, 'w') as file:\n"
        "        file.create_dataset('data', data=part, chunks=(1, 16, 16), "
        "**hdf5plugin.Bitshuffle(cname='lz4'))\n"
    )
    frames = example_scan().diffraction[:]
    np.save(tmp_path / "frames.npy", frames)
    subprocess.run([sys.executable, "-c", write, tmp_path / "frames.npy"], cwd=tmp_path, check=True)
    link = h5py.ExternalLink("raw.h5", "data")
    path = scan_file(_virtual() if layout == "virtual" else lambda file: file.__setitem__(FRAMES, link))
    scan = open_scan(path)
    np.testing.assert_array_equal(scan.diffraction[:], frames)
    loader = DataLoader(_Summed(scan.diffraction), num_workers=1, multiprocessing_context="spawn")
    # A worker that dies when it ends is told of by the loader.
    assert [int(total) for total in loader] == frames.sum(axis=(1, 2)).tolist()


def test_compound_numbers_are_complex_and_named_columns_are_coordinates(scan_file):
    probe = example_scan().probe

    def edit(file):
        file[FRAMES] = example_scan().diffraction[:].astype(h5py.enum_dtype({"dark": 0, "one": 1}, "u2"))
        pairs = np.zeros(probe.shape, dtype=[("real", "f4"), ("imag", "f4")])
        pairs["real"], pairs["imag"] = probe.real, probe.imag
        del file["entry_1/instrument_1/source_1/illumination"]
        file["entry_1/instrument_1/source_1/illumination"] = pairs
        columns = np.zeros(12, dtype=[("x", "f8"), ("y", "f8"), ("z", "f8")])
        columns["x"], columns["y"] = file[PLACES][:, 0], file[PLACES][:, 1]
        del file[PLACES]
        file[PLACES] = columns

    plain, found = open_scan(scan_file()).positions, open_scan(scan_file(edit))
    np.testing.assert_array_equal(found.probe, probe)
    np.testing.assert_array_equal(found.positions, plain)
    np.testing.assert_array_equal(found.diffraction[:], example_scan().diffraction)


WRITER = """
import sys, h5py
source, target, mode = sys.argv[1:]
with h5py.File(source) as made, h5py.File(target, "w", libver="latest") as file:
    frames, places = made["entry_1/instrument_1/detector_1/data"][:], made["{places}"][:]
    for name in ("entry_1/instrument_1/detector_1", "entry_1/instrument_1/source_1"):
        file.create_group(name.rpartition("/")[0]) if name.rpartition("/")[0] not in file else None
        made.copy(made[name], file[name.rpartition("/")[0]])
    del file["entry_1/instrument_1/detector_1/data"]
    data = file.create_dataset("{frames}", (0, 16, 16), "u2", maxshape=(None, 16, 16), chunks=(1, 16, 16))
    sites = file.create_dataset("{places}", (0, 3), "f8", maxshape=(None, 3), chunks=(4, 3))
    if mode == "swmr":
        file.swmr_mode = True
    for line in sys.stdin:
        n, m, before, sited = int(line), min(int(line) + 1, 12), len(data), len(sites)
        sites.resize(m, 0); sites[sited:] = places[sited:m]; sites.flush()
        data.resize(n, 0); data[before:] = frames[before:n]; data.flush(); file.flush()
        print(n, flush=True)
""".replace("{places}", PLACES).replace("{frames}", FRAMES)


@pytest.fixture
def writer(scan_file, tmp_path):
    """A detector that keeps its file open; call it with the number of frames to have written."""
    running = []

    def start(mode):
        arguments = [sys.executable, "-c", WRITER, scan_file(), tmp_path / "growing.cxi", mode]
        running.append(subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

        def write(n):
            running[-1].stdin.write(f"{n}\n")
            running[-1].stdin.flush()
            assert running[-1].stdout.readline() == f"{n}\n"

        return tmp_path / "growing.cxi", write

    yield start
    for process in running:
        process.communicate()


@pytest.mark.rule("DATA-067")
def test_of_a_growing_file_the_complete_frames_are_read(writer, caplog):
    path, write = writer("swmr")
    write(0)
    with pytest.raises(DataError):
        open_scan(path)
    write(5)
    scan = open_scan(path)
    assert (scan.n_frames, len(scan.positions)) == (5, 5)
    assert read_scan_header(path).n_frames == 5
    assert "being written" in caplog.text
    write(9)
    # What was opened stays what it was, while the file grows.
    np.testing.assert_array_equal(scan.diffraction[:], example_scan().diffraction[:5])
    elsewhere = pickle.loads(pickle.dumps(scan.diffraction))
    np.testing.assert_array_equal(elsewhere[2:4], example_scan().diffraction[2:4])
    assert open_scan(path).n_frames == 9


@pytest.mark.rule("DATA-067")
def test_a_file_whose_end_is_stated_before_it_is_there_is_waited_for(tmp_path):
    """So a reader may meet a file that a writer extends."""
    path = tmp_path / "growing.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(10000)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(OSError, match="truncated"):
        open_hdf5(path)
    later = threading.Timer(0.05, path.write_bytes, (whole,))
    later.start()
    try:
        with open_hdf5(path) as file:
            assert file["x"][-1] == 9999
    finally:
        later.join()


@pytest.mark.rule("DATA-067")
def test_a_file_that_is_written_without_swmr_is_said_to_be(writer):
    path, write = writer("plain")
    write(5)
    with pytest.raises(DataError) as caught:
        open_scan(path)
    assert "being written" in caught.value.problems[0]
