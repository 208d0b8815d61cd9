"""Streams of DECTRIS detectors, both versions, there and back."""

from __future__ import annotations

import json

import cbor2
import numpy as np
import pytest

from ptycho_torch.live.codecs import dectris, dectris_v1, dectris_v2
from ptycho_torch.live.codecs.malformed import Malformed
from ptycho_torch.live.codecs.packing import Packer
from ptycho_torch.live.codecs.series import SeriesEnd, SeriesImage, SeriesStart
from ptycho_torch.live.messages import Start

pytest.importorskip(
    "dectris", reason="dectris-compression is compiled when it is installed, which takes a C compiler"
)

SHAPE = (24, 40)
MASK = np.zeros(SHAPE, dtype=bool)
MASK[3, 7] = True
KNOWN = Start(
    metadata={
        "photon_energy_eV": 8000.0,
        "detector_object_distance_m": 2.5,
        "detector_pixel_height_m": 75e-6,
        "detector_pixel_width_m": 70e-6,
        "saturation_counts": 60000.0,
    },
    bad_pixels=MASK,
    centre=(11, 21),
    n_frames=7,
)


class Version:
    """One version, with the parts of its messages."""

    def __init__(self, number):
        self.number = number
        self.codec = {1: dectris_v1, 2: dectris_v2}[number]

    def packer(self, algorithm):
        return Packer(algorithm, framed=self.number == 2 or algorithm == "bslz4")

    def start(self, known=KNOWN, dtype="u2"):
        return self._parts(self.codec.encode_start(5, known, SHAPE, np.dtype(dtype)))

    def image(self, frame, algorithm="none", number=3):
        return self._parts(self.codec.encode_image(5, number, frame, self.packer(algorithm)))

    def end(self):
        return self._parts(self.codec.encode_end(5))

    @staticmethod
    def _parts(message):
        return [message] if isinstance(message, bytes) else message


@pytest.fixture(params=[1, 2])
def version(request):
    return Version(request.param)


def frame_of(dtype):
    return np.random.default_rng(1).poisson(3.0, SHAPE).astype(dtype)


@pytest.mark.parametrize("algorithm", ["none", "lz4", "bslz4"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_an_image_comes_back(version, algorithm, dtype):
    found = dectris.decode(version.image(frame_of(dtype), algorithm))
    assert isinstance(found, SeriesImage)
    assert (found.series, found.number) == (5, 3)
    assert found.frame.dtype == np.dtype(dtype)
    assert np.array_equal(found.frame, frame_of(dtype))


def test_a_start_says_what_the_scan_needs(version):
    found = dectris.decode(version.start())
    assert isinstance(found, SeriesStart)
    assert found.start.metadata == KNOWN.metadata
    assert (found.start.centre, found.start.n_frames) == ((11, 21), 7)
    assert np.array_equal(found.start.bad_pixels, MASK)


def test_what_a_detector_was_not_told_is_not_known(version):
    found = dectris.decode(version.start(Start()))
    assert (dict(found.start.metadata), found.start.bad_pixels) == ({}, None)
    assert (found.start.centre, found.start.n_frames) == (None, None)


def test_an_end_is_one(version):
    assert dectris.decode(version.end()) == SeriesEnd(series=5)


def test_a_detector_that_was_told_nothing_sends_zeros():
    fields = {
        "incident_energy": 0.0,
        "beam_center_x": 0.0,
        "beam_center_y": 0.0,
        "detector_translation": [0, 0, 0],
    }
    found = dectris.decode([cbor2.dumps({"type": "start", "series_id": 1, **fields})])
    assert (dict(found.start.metadata), found.start.centre) == ({}, None)


def test_a_detector_behind_the_origin_is_as_far_away():
    fields = {"detector_translation": [0.1, 0.0, -2.5]}
    found = dectris.decode([cbor2.dumps({"type": "start", "series_id": 1, **fields})])
    assert found.start.metadata == {"detector_object_distance_m": 2.5}


def test_the_first_threshold_is_taken_of_several():
    arrays = {
        name: cbor2.CBORTag(40, [[1, 2], cbor2.CBORTag(64, bytes([value, value]))])
        for name, value in {"threshold_2": 2, "threshold_1": 1}.items()
    }
    fields = {"type": "image", "series_id": 1, "image_id": 0}
    assert dectris.decode([cbor2.dumps({**fields, "data": arrays})]).frame.tolist() == [[1, 1]]
    other = {"difference": arrays["threshold_2"]}
    assert dectris.decode([cbor2.dumps({**fields, "data": other})]).frame.tolist() == [[2, 2]]


@pytest.mark.parametrize(("tag", "dtype"), sorted(dectris_v2._TYPES.items()))
def test_every_typed_array_is_read(tag, dtype):
    values = np.array([[1, 2, 3]], dtype=dtype)
    array = cbor2.CBORTag(40, [[1, 3], cbor2.CBORTag(tag, values.tobytes())])
    message = {"type": "image", "series_id": 1, "image_id": 0, "data": {"a": array}}
    assert dectris.decode([cbor2.dumps(message)]).frame.tolist() == [[1, 2, 3]]


@pytest.mark.rule("LIVE-007")
@pytest.mark.parametrize(
    "tag", [0, 1, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 258, 260, 261, 1004, 43000]
)
def test_nothing_is_made_of_what_a_tag_asks_for(tag):
    # The text is wrong as each of these. It is not looked at, so the image is read.
    array = cbor2.CBORTag(40, [[1, 1], cbor2.CBORTag(64, b"\x09")])
    message = {"type": "image", "series_id": 1, "image_id": 0, "data": {"a": array}}
    found = dectris.decode([cbor2.dumps({**message, "user_data": cbor2.CBORTag(tag, "(")})])
    assert found.frame.tolist() == [[9]]


def test_a_message_may_say_that_it_is_cbor():
    array = cbor2.CBORTag(40, [[1, 1], cbor2.CBORTag(64, b"\x09")])
    message = {"type": "image", "series_id": 1, "image_id": 0, "data": {"a": array}}
    assert dectris.decode([cbor2.dumps(cbor2.CBORTag(55799, message))]).frame.tolist() == [[9]]


@pytest.mark.parametrize(
    "array",
    [
        cbor2.CBORTag(40, [[1, 2**40], cbor2.CBORTag(64, b"\x09")]),
        cbor2.CBORTag(
            40, [[16384, 16384], cbor2.CBORTag(86, cbor2.CBORTag(56500, ["lz4", 0, b"\x00" * 20]))]
        ),
        cbor2.CBORTag(40, [[0, 0], cbor2.CBORTag(64, b"")]),
        cbor2.CBORTag(40, [[-1, -1], cbor2.CBORTag(64, b"\x09")]),
        cbor2.CBORTag(40, [[1, 1, 1], cbor2.CBORTag(64, b"\x09")]),
        cbor2.CBORTag(40, [[True, True], cbor2.CBORTag(64, b"\x09")]),
        cbor2.CBORTag(40, ["11", cbor2.CBORTag(64, b"\x09")]),
        cbor2.CBORTag(40, [[1, 1], [9]]),
        cbor2.CBORTag(40, [[1, 1], cbor2.CBORTag(64, "9")]),
        cbor2.CBORTag(40, [[1, 1], cbor2.CBORTag(83, bytes(16))]),
        cbor2.CBORTag(1040, [[1, 1], cbor2.CBORTag(64, b"\x09")]),
        cbor2.CBORTag(40, [[2, 2], cbor2.CBORTag(69, cbor2.CBORTag(56500, ["bslz4", 4, bytes(40)]))]),
        cbor2.CBORTag(40, [[2, 2], cbor2.CBORTag(69, cbor2.CBORTag(56500, ["bslz4", 2]))]),
        cbor2.CBORTag(40, [[2, 2], cbor2.CBORTag(69, cbor2.CBORTag(56500, [1, 2, 3]))]),
        b"\x09",
        None,
    ],
)
def test_an_array_that_makes_no_sense_costs_one_frame(array):
    message = {"type": "image", "series_id": 1, "image_id": 0, "data": {"threshold_1": array}}
    with pytest.raises(Malformed) as caught:
        dectris.decode([cbor2.dumps(message)])
    assert caught.value.frames == 1


@pytest.mark.parametrize(
    "change",
    [
        {"encoding": "zip<"},
        {"encoding": None},
        {"encoding": "bs32-lz4<"},
        {"type": "object"},
        {"type": "complex64"},
        {"shape": [40]},
        {"shape": [40, 25]},
        {"shape": [10**9, 10**9]},
        {"shape": "40x24"},
        {"shape": [40, 24, 2]},
        {"htype": "dimage-1.0"},
    ],
)
def test_a_description_that_makes_no_sense_costs_one_frame(change):
    parts = Version(1).image(frame_of("u2"), "bslz4")
    parts[1] = json.dumps({**json.loads(parts[1]), **change}).encode()
    with pytest.raises(Malformed) as caught:
        dectris.decode(parts)
    assert caught.value.frames == 1


def test_frames_of_one_channel_may_say_so():
    parts = Version(1).image(frame_of("u2"))
    parts[1] = json.dumps({**json.loads(parts[1]), "shape": [40, 24, 1]}).encode()
    assert dectris.decode(parts).frame.shape == SHAPE


def test_big_ends_come_first_where_the_encoding_says_so():
    frame = frame_of("u2")
    parts = Version(1).image(frame)
    parts[1] = json.dumps({**json.loads(parts[1]), "encoding": ">"}).encode()
    parts[2] = frame.astype(">u2").tobytes()
    assert np.array_equal(dectris.decode(parts).frame, frame)


@pytest.mark.parametrize(
    "parts", [[], [b""], [b"{}"], [b"[]"], [b"{" * 5000], [b"\x81" * 5000], [b"{}"] * 40, [b"\xff\xfe"]]
)
def test_anything_else_is_refused(parts):
    with pytest.raises(Malformed):
        dectris.decode(parts)
