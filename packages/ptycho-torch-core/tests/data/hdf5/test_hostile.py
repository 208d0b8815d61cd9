"""HDF5 files whose parts are of other kinds and sizes than they should be: one `DataError`, soon."""

from __future__ import annotations

import os
import shutil
import socket
import time
import tracemalloc
from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptycho_torch.data.convert import write_scan
from ptycho_torch.data.limits import larger_arrays, largest_array_bytes, largest_piece_bytes
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.summary import examine_scan
from ptycho_torch.errors import DataError

FORMATS = {
    "cxi": ("scan.cxi",),
    "ptychodus-training": ("scan.h5",),
    "ptychodus": ("diffraction.h5", "product.h5"),
}
FRAMES = {
    "cxi": "entry_1/instrument_1/detector_1/data",
    "ptychodus-training": "patterns",
    "ptychodus": "patterns",
}
PROBE = {"cxi": "entry_1/image_1/data", "ptychodus-training": "probe", "ptychodus": "probe"}
OBJECT = {"cxi": "entry_1/image_2/data", "ptychodus-training": "object", "ptychodus": "object"}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A folder for each format, with a scan that this package wrote: all parts are there."""
    example = example_scan()
    scan = replace(
        example,
        object_truth=np.full((80, 80), 1 + 1j, dtype=np.complex64),
        bad_pixels=np.eye(example.N, dtype=np.bool_),
    )
    folders = {}
    for name, files in FORMATS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        target = folders[name] if len(files) == 2 else folders[name] / files[0]
        write_scan(target, scan, format=name, overwrite=True)
    return folders


@pytest.fixture
def copy_of(originals, tmp_path):
    def copy(name):
        shutil.copytree(originals[name], tmp_path / name)
        files = [tmp_path / name / file for file in FORMATS[name]]
        return (tmp_path / name if len(files) == 2 else files[0]), files

    return copy


def _null(parent, name, _):
    parent.create_dataset(name, data=h5py.Empty("f4"))


def _odd(data, dtype=None):
    return lambda parent, name, _: parent.create_dataset(name, data=data, dtype=dtype)


def _reference(parent, name, _):
    parent.create_dataset(name, data=[parent.ref] * 3, dtype=h5py.ref_dtype)


def _various(parent, name, _):
    parent.create_dataset(name, shape=(3,), dtype=h5py.vlen_dtype(np.float64))


def _enumeration(parent, name, shape):
    kind = h5py.enum_dtype({"low": 0, "high": 1}, basetype="i4")
    parent.create_dataset(name, data=np.zeros(shape, dtype=np.int32), dtype=kind)


def _rows(parent, name, _):
    parent.create_dataset(name, shape=(3,), dtype=np.dtype((np.float32, (2,))))


def _time(parent, name, shape):
    space = h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
    h5py.h5d.create(parent.id, name.encode(), h5py.h5t.UNIX_D32LE, space)


def _group(parent, name, _):
    parent.create_group(name)


def _dangling(parent, name, _):
    parent[name] = h5py.SoftLink("/nowhere")


def _text_alike(parent, name, shape):
    parent.create_dataset(name, data=np.full(shape, b"1.0"))


def _other_numbers(parent, name, shape):
    parent.create_dataset(name, data=np.full(shape, 1 + 1j))


def _not_finite(parent, name, shape):
    parent.create_dataset(name, data=np.full(shape, np.nan))


def _one_axis_more(parent, name, shape):
    parent.create_dataset(name, data=np.zeros((*shape, 2)))


KINDS = {
    "text": _odd("eleven"),
    "texts": _text_alike,
    "parts": _odd(np.zeros(3, dtype=[("a", "f4"), ("b", "i4")])),
    "rows": _rows,
    "references": _reference,
    "various lengths": _various,
    "enumeration": _enumeration,
    "times": _time,
    "nothing": _null,
    "no value": _odd(np.zeros((0, 0, 0))),
    "opaque": _odd(np.zeros(3, dtype="V7")),
    "complex": _other_numbers,
    "not finite": _not_finite,
    "one axis more": _one_axis_more,
    "group": _group,
    "dangling": _dangling,
}
ATTRIBUTES = {
    "text": "eleven",
    "numbers": np.arange(4),
    "parts": np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
    "nothing": h5py.Empty("f4"),
    "not finite": np.nan,
    "negative": -1.0,
    "complex": 1j,
}


def _parts(file):
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def _opened(path):
    """Whether a scan can be read; nothing but a `DataError` comes out, and looking at it says the same."""
    problems: tuple[str, ...] = ()
    try:
        open_scan(path)
    except DataError as error:
        problems = error.problems
    assert not any("\n" in problem for problem in problems)
    assert examine_scan(path).summary.is_sound is not bool(problems)
    return not problems


@pytest.mark.rule("DATA-120", "DATA-122")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FORMATS)
def test_any_part_may_be_of_any_kind(copy_of, name, kind):
    path, files = copy_of(name)
    refused = 0
    for file in files:
        before = file.read_bytes()
        with h5py.File(file) as hdf5:
            parts = _parts(hdf5)
        # Each kind at every fourth part, each part with every fourth kind: all of them would take minutes.
        for part in parts[list(KINDS).index(kind) % 4 :: 4]:
            with h5py.File(file, "r+") as hdf5:
                shape = hdf5[part].shape
                del hdf5[part]
                KINDS[kind](hdf5[part.rpartition("/")[0] or "/"], part.rpartition("/")[2], shape)
            refused += not _opened(path)
            file.write_bytes(before)
    # Of what is gone, some may be left out.
    assert refused or kind in ("group", "dangling")


@pytest.mark.rule("DATA-120", "DATA-122")
@pytest.mark.parametrize("kind", ATTRIBUTES)
@pytest.mark.parametrize("name", FORMATS)
def test_any_attribute_may_be_of_any_kind(copy_of, name, kind):
    path, files = copy_of(name)
    for file in files:
        before = file.read_bytes()
        with h5py.File(file) as hdf5:
            named = [(part, key) for part in ("/", *_parts(hdf5)) for key in hdf5[part].attrs]
            groups: list[str] = []
            hdf5.visit(groups.append)
            own = [group for group in groups if group.rpartition("/")[2] == "ptycho_torch"]
            named += [(group, key) for group in own for key in hdf5[group].attrs]
        for part, key in named:
            with h5py.File(file, "r+") as hdf5:
                hdf5[part].attrs[key] = ATTRIBUTES[kind]
            _opened(path)
            file.write_bytes(before)


@pytest.mark.rule("DATA-121")
@pytest.mark.parametrize(
    ("part", "shape"),
    [(PROBE, (1, 30_000, 30_000)), (OBJECT, (30_000, 30_000)), (FRAMES, (4, 32_768, 32_768))],
)
@pytest.mark.parametrize("name", FORMATS)
def test_absurd_sizes_are_refused_by_the_header_alone(copy_of, name, part, shape):
    path, files = copy_of(name)
    [file] = [file for file in files if part[name] in h5py.File(file)]
    with h5py.File(file, "r+") as hdf5:
        dtype, attributes = hdf5[part[name]].dtype, dict(hdf5[part[name]].attrs)
        del hdf5[part[name]]
        data = hdf5.create_dataset(part[name], shape=shape, dtype=dtype, chunks=True, compression="lzf")
        data.attrs.update(attributes)
    # CXI files hold a link to their frames, which is where they are read.
    refused = "entry_1/data_1/data" if part[name] == FRAMES["cxi"] else part[name]
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(DataError, check=lambda error: error.names == (refused,)):
        open_scan(path)
    assert time.monotonic() - started < 10
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def _is(kind, *names):
    return lambda error: error.names == names and set(error.kinds) == {kind}


@pytest.mark.rule("DATA-121")
def test_a_piece_that_unpacks_to_gigabytes_is_not_unpacked(copy_of):
    path, [file] = copy_of("ptychodus-training")
    with h5py.File(file, "r+") as hdf5:
        n, height, width = hdf5["patterns"].shape
        del hdf5["patterns"]
        piece = (1 << 31) // (height * width * 4)
        data = hdf5.create_dataset(
            "patterns",
            (n, height, width),
            "f4",
            chunks=(piece, height, width),
            maxshape=(None, height, width),
            compression="gzip",
        )
        data.id.write_direct_chunk((0, 0, 0), b"x" * 99, filter_mask=0)
    with pytest.raises(DataError, check=_is("too large", "patterns")):
        open_scan(path)


@pytest.mark.rule("DATA-121")
@pytest.mark.parametrize("part", ["object", "patterns", "probe_position_x_px"])
def test_a_large_array_of_which_hardly_anything_is_stored_is_not_read(copy_of, part):
    path, [file] = copy_of("ptychodus-training")
    with h5py.File(file, "r+") as hdf5:
        kind, axes = hdf5[part].dtype, hdf5[part].ndim
        del hdf5[part]
        shape = {1: (20_000_000,), 2: (9000, 9000), 3: (1_000_000, 64, 64)}[axes]
        data = hdf5.create_dataset(part, shape, kind, chunks=True, compression="lzf")
        data[(0,) * axes] = 1
    with pytest.raises(DataError) as refused:
        open_scan(path)
    assert (part, "never written") in zip(refused.value.names, refused.value.kinds, strict=True)


def test_frames_that_were_never_written_are_refused(copy_of):
    path, [file] = copy_of("ptychodus-training")
    with h5py.File(file, "r+") as hdf5:
        shape = hdf5["patterns"].shape
        del hdf5["patterns"]
        hdf5.create_dataset("patterns", shape, "u2", chunks=True)
    with pytest.raises(DataError, check=_is("never written", "patterns")):
        open_scan(path)


@pytest.mark.rule("DATA-121")
def test_the_limit_can_be_lowered_and_raised(copy_of):
    path, _ = copy_of("ptychodus-training")
    usual = largest_array_bytes()
    with larger_arrays(1e-6):
        assert largest_array_bytes() == largest_piece_bytes() == 1073
        with (
            larger_arrays(None),
            pytest.raises(DataError, check=_is("too large", "patterns", "probe", "object")),
        ):
            open_scan(path)
    assert largest_array_bytes() == usual
    with larger_arrays(64):
        assert largest_array_bytes() == largest_piece_bytes() == 64 << 30
        assert open_scan(path).n_frames


@pytest.mark.rule("DATA-123")
def test_pipes_and_sockets_are_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "scan.npz")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "scan.h5"))
        for name in ("scan.npz", "scan.h5"):
            with pytest.raises(DataError, check=lambda error: error.names == ("",)):
                open_scan(tmp_path / name)
    with pytest.raises(DataError, check=lambda error: error.names == ("",)):
        open_scan("/dev/zero")
