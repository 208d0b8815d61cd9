"""Values of EPICS channels as frames."""

from __future__ import annotations

import random

import numpy as np
import pytest
from p4p.nt import NTNDArray

from ptycho_torch.live.codecs.malformed import Malformed
from ptycho_torch.live.codecs.ntndarray import decode
from ptycho_torch.live.codecs.packing import Packer

pytest.importorskip(
    "dectris", reason="dectris-compression is compiled when it is installed, which takes a C compiler"
)

FRAME = np.random.default_rng(0).poisson(3.0, (12, 20)).astype("u2")


def value_of(frame=FRAME, number=7):
    value = NTNDArray().wrap(frame)
    value["uniqueId"] = number
    return value


def packed(frame=FRAME, algorithm="bslz4", slack=0):
    """As the plugin of areaDetector packs: bare blocks in an array that may be longer than they are."""
    data = Packer(algorithm, framed=False)(frame)
    value = value_of(frame)
    value["value"] = ("ubyteValue", np.frombuffer(data + bytes(slack), "u1"))
    value["codec.name"], value["codec.parameters"] = (
        algorithm,
        {"u1": 5, "u2": 6, "u4": 7}[frame.dtype.str[1:]],
    )
    value["compressedSize"] = len(data)
    return value


class Edited:
    """A value with other fields, which need not be of its type."""

    def __init__(self, whole, /, **fields):
        self.whole, self.fields = whole, fields

    def __getitem__(self, name):
        found = self.fields[name] if name in self.fields else self.whole[name]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_a_frame_of_every_type_is_read(dtype):
    number, frame = decode(value_of(FRAME.astype(dtype)))
    assert number == 7
    assert frame.dtype == np.dtype(dtype)
    assert np.array_equal(frame, FRAME)


@pytest.mark.parametrize("slack", [0, 100])
@pytest.mark.parametrize("algorithm", ["lz4", "bslz4"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_a_packed_frame_is_unpacked(algorithm, dtype, slack):
    frame = FRAME.astype(dtype)
    found = decode(packed(frame, algorithm, slack))[1]
    assert found.dtype == frame.dtype
    assert np.array_equal(found, frame)


@pytest.mark.parametrize(
    "fields",
    [
        {"uniqueId": -1},
        {"value": None},
        {"value": np.zeros(240, dtype=bool)},
        {"value": np.zeros((12, 20), dtype="u2")},
        {"value": FRAME.ravel()[1:]},
        {"dimension": []},
        {"dimension": None},
        {"dimension": [{"size": 20}, {"size": 6}, {"size": 2}]},
        {"dimension": [{"size": 0}, {"size": 0}]},
        {"dimension": [{"size": 2**30}, {"size": 2**30}]},
        {"dimension": [{}, {}]},
        {"codec.name": "jpeg"},
        {"codec.name": "bslz4"},
        {"uniqueId": KeyError("uniqueId")},
    ],
)
def test_what_is_no_frame_is_refused(fields):
    with pytest.raises(Malformed) as caught:
        decode(Edited(value_of(), **fields))
    assert caught.value.frames == 1


@pytest.mark.rule("LIVE-020")
def test_a_thousand_damaged_values_are_read_or_refused():
    rng = random.Random(5)
    whole = [value_of(), packed(), packed(algorithm="lz4")]
    values = (
        None,
        -1,
        0,
        2**31,
        2**70,
        1.5,
        "",
        "lz4",
        b"",
        [],
        {},
        FRAME.ravel(),
        FRAME,
        [{"size": 2**40}] * 2,
    )
    names = ("uniqueId", "value", "dimension", "codec.name", "codec.parameters", "compressedSize")
    refused = 0
    for _ in range(1000):
        value = rng.choice(whole)
        fields = {name: rng.choice(values) for name in rng.sample(names, rng.randrange(1, 3))}
        if rng.random() < 0.4:
            data = bytearray(value["value"].tobytes())
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            fields = {"value": np.frombuffer(bytes(data[: rng.randrange(len(data))]), "u1")}
        try:
            _, frame = decode(Edited(value, **fields))
        except Malformed:
            refused += 1
            continue
        assert frame.shape == FRAME.shape
    assert refused > 500
