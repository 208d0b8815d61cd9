"""Frames packed as detectors pack them."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest

from ptycho_torch.live.codecs.malformed import Malformed
from ptycho_torch.live.codecs.packing import Packer, array_from, unpacked

pytest.importorskip(
    "dectris", reason="dectris-compression is compiled when it is installed, which takes a C compiler"
)

ALGORITHMS = ("lz4", "bslz4")


def frame_of(kind, dtype="<u2", shape=(24, 40)):
    rng = np.random.default_rng(3)
    if kind == "noise":
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    return rng.poisson(2.0, shape).astype(dtype) if kind == "counts" else np.zeros(shape, dtype)


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<u4"])
@pytest.mark.parametrize("kind", ["counts", "noise", "zeros"])
def test_a_frame_comes_back(algorithm, framed, dtype, kind):
    frame = frame_of(kind, dtype)
    data = Packer(algorithm, framed=framed)(frame)
    back = unpacked(data, algorithm, frame.nbytes, frame.itemsize, framed=framed)
    assert back == frame.tobytes()


def test_one_packer_takes_frames_of_any_size():
    packer = Packer("bslz4")
    for shape in ((8, 8), (16, 24), (8, 8)):
        frame = frame_of("counts", shape=shape)
        assert unpacked(packer(frame), "bslz4", frame.nbytes, 2) == frame.tobytes()


def test_a_bare_block_may_be_as_long_as_what_it_stands_for():
    # Five zeros in four bytes, and eight literals in nine.
    block = b"\x10\x00\x01\x00" + b"\x80" + b"abcdefgh"
    assert unpacked(block, "lz4", 13, 1, framed=False) == bytes(5) + b"abcdefgh"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [0, 1919, 1921, 2**40, 2**63, 2**64 - 1])
def test_bytes_of_another_size_are_not_unpacked(algorithm, size):
    frame = frame_of("counts")
    data = struct.pack(">Q", size) + Packer(algorithm)(frame)[8:]
    with pytest.raises(Malformed):
        unpacked(data, algorithm, frame.nbytes, 2)


def test_few_bytes_do_not_ask_for_much_memory():
    with pytest.raises(Malformed):
        unpacked(struct.pack(">QI", 2**30, 8192) + bytes(100), "bslz4", 2**30, 2)


@pytest.mark.parametrize("algorithm", ["zip", "bszstd", ""])
def test_another_algorithm_is_refused(algorithm):
    with pytest.raises(Malformed):
        unpacked(bytes(64), algorithm, 64, 1)


def test_bytes_become_an_array_of_this_machine():
    frame = frame_of("counts")
    back = array_from(frame.astype(">u2").tobytes(), (24, 40), np.dtype(">u2"))
    assert back.dtype == np.dtype("u2")
    assert np.array_equal(back, frame)
    with pytest.raises(Malformed):
        array_from(frame.tobytes()[1:], (24, 40), np.dtype("<u2"))


def test_what_unpacking_needs_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dectris.compression", None)
    frame = frame_of("counts")
    with pytest.raises(Malformed) as caught:
        unpacked(Packer("lz4")(frame), "lz4", frame.nbytes, 2)
    assert "dectris" in caught.value.why
