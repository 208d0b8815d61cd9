"""Damaged messages: each is read, or refused by its type, and no more memory is taken than there is data."""

from __future__ import annotations

import json
import random

import cbor2
import numpy as np
import pytest

from ptycho_torch.live.codecs import dectris, dectris_v1, dectris_v2
from ptycho_torch.live.codecs.malformed import Malformed
from ptycho_torch.live.codecs.packing import Packer
from ptycho_torch.live.codecs.series import SeriesEnd, SeriesImage, SeriesStart
from ptycho_torch.live.messages import End, Frames, Positions, Refused, Start
from ptycho_torch.live.wire import decoded, encoded

pytest.importorskip(
    "dectris", reason="dectris-compression is compiled when it is installed, which takes a C compiler"
)

N_MESSAGES = 1000
VALUES = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    2**70,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "x" * 70,
    [],
    {},
    [[]],
    [1, 2],
)
FRAME = np.random.default_rng(0).poisson(3.0, (16, 24)).astype("u2")
KNOWN = Start(metadata={"photon_energy_eV": 8e3}, bad_pixels=FRAME > 8, centre=(8, 12), n_frames=4)


def version_1():
    bare, framed = Packer("lz4", framed=False), Packer("bslz4")
    yield dectris_v1.encode_start(1, KNOWN, FRAME.shape, FRAME.dtype)
    yield from (dectris_v1.encode_image(1, 2, FRAME, packer) for packer in (Packer("none"), bare, framed))
    yield dectris_v1.encode_end(1)


def version_2():
    yield [dectris_v2.encode_start(1, KNOWN, FRAME.shape, FRAME.dtype)]
    for algorithm in ("none", "lz4", "bslz4"):
        yield [dectris_v2.encode_image(1, 2, FRAME, Packer(algorithm))]
    yield [dectris_v2.encode_end(1)]


def own():
    places = FRAME[:1, :2].astype(float)
    yield encoded(KNOWN)
    yield encoded(Frames(numbers=[2], frames=FRAME[None], positions=places, unit="um"))
    yield encoded(Positions(numbers=[2], positions=places, unit="px"))
    yield encoded(End())


def with_other_bytes(parts, rng):
    """Some bytes changed, cut off, put in or doubled in one part."""
    at = rng.randrange(len(parts))
    data = bytearray(parts[at])
    for _ in range(rng.randrange(1, 5)):
        where = rng.randrange(len(data) + 1)
        change = rng.randrange(4)
        if change == 0 and where < len(data):
            data[where] = rng.randrange(256)
        elif change == 1:
            del data[where:]
        elif change == 2:
            data[where:where] = rng.randbytes(rng.randrange(1, 9))
        else:
            del data[where : where + rng.randrange(1, 9)]
    return [*parts[:at], bytes(data), *parts[at + 1 :]]


def with_another_value(parts, rng):
    """A whole message in which a field says something absurd, or is not there."""
    readers = [(json.loads, lambda value: json.dumps(value).encode()), (cbor2.loads, cbor2.dumps)]
    loads, dumps = readers[not parts[0].startswith(b"{")]
    headers = [at for at, part in enumerate(parts) if loads is cbor2.loads or part.startswith(b"{")]
    at = rng.choice(headers)
    fields = dict(loads(parts[at]))
    name = rng.choice(sorted(fields))
    if rng.random() < 0.2:
        del fields[name]
    elif name in ("data", "pixel_mask"):
        fields[name] = {"threshold_1": with_another_array(fields[name]["threshold_1"], rng)}
    else:
        fields[name] = rng.choice(VALUES)
    return [*parts[:at], dumps(fields), *parts[at + 1 :]]


def with_another_array(array, rng):
    shape, content = array.value
    choice = rng.randrange(5)
    if choice == 0:
        return rng.choice(VALUES)
    if choice == 1:
        return cbor2.CBORTag(40, [[rng.choice(VALUES), shape[1]], content])
    if choice == 2:
        return cbor2.CBORTag(40, [shape, cbor2.CBORTag(rng.randrange(60, 90), content.value)])
    if choice == 3:
        return cbor2.CBORTag(40, [shape, cbor2.CBORTag(69, rng.choice(VALUES))])
    packed = [rng.choice(["lz4", "bslz4", *VALUES]), rng.choice(VALUES), rng.randbytes(rng.randrange(99))]
    return cbor2.CBORTag(40, [shape, cbor2.CBORTag(69, cbor2.CBORTag(56500, packed))])


@pytest.mark.rule("LIVE-020")
@pytest.mark.parametrize("messages", [version_1, version_2])
def test_a_thousand_damaged_messages_are_read_or_refused(messages):
    rng = random.Random(11)
    whole = list(messages())
    lost = []
    for _ in range(N_MESSAGES):
        change = rng.choice([with_other_bytes, with_another_value, with_other_bytes])
        parts = change(rng.choice(whole), rng)
        try:
            found = dectris.decode(parts)
        except Malformed as error:
            lost.append(error.frames)
            continue
        assert isinstance(found, SeriesStart | SeriesImage | SeriesEnd)
        if isinstance(found, SeriesImage):
            assert found.number >= 0
            assert found.frame.dtype.kind in "iuf"
            assert found.frame.nbytes < 1 << 20
    # What is left is still a message: a byte of a count, or a field that nobody needs.
    assert len(lost) > N_MESSAGES // 3
    assert set(lost) == {0, 1}


@pytest.mark.rule("LIVE-020")
def test_a_thousand_damaged_messages_of_our_own_are_read_or_refused():
    rng = random.Random(12)
    whole = list(own())
    kinds = set()
    for _ in range(N_MESSAGES):
        change = rng.choice([with_other_bytes, with_another_value])
        found = decoded(change(rng.choice(whole), rng))
        kinds.add(type(found))
        if isinstance(found, Frames):
            assert found.frames.nbytes == FRAME.nbytes
    assert kinds == {Start, Frames, Positions, End, Refused}
