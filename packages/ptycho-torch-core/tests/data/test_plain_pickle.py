"""Text that another program pickled is read; whatever else a pickle may hold is refused and never run."""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pytest

from ptycho_torch.data.plain_pickle import plain_value


def _body(value: object, protocol: int = 4) -> bytes:
    array = np.array(None, dtype=object)
    array[()] = value
    return pickle.dumps(array, protocol=protocol)


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


PLAIN = ['{"a": 1}', "", None, 3, 1.5, True, {"a": [1, {"b": (2.0, None)}]}]


@pytest.mark.parametrize("value", PLAIN, ids=str)
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_data_comes_back(value, protocol):
    assert plain_value(_body(value, protocol)) == value


def test_the_spelling_of_older_numpy_is_known():
    body = _body("text", 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core" in body
    assert plain_value(body) == "text"


def test_what_numpy_writes_is_read_behind_its_header():
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array("text", dtype=object))
    stream.seek(0)
    np.lib.format.read_magic(stream)
    np.lib.format.read_array_header_1_0(stream)
    assert plain_value(stream.read()) == "text"


def _with_text(value: object) -> bytes:
    return _body([value])


LOOP: list[object] = []
LOOP.append(LOOP)
WRONG = {
    "a call": _body(_Bomb()),
    "a call, deeper": _with_text({"a": _Bomb()}),
    "a call without an array": pickle.dumps(_Bomb()),
    "another name of numpy": pickle.dumps(np.load),
    "the name of a module": _body(1).replace(b"_reconstruct", b"_restructure"),
    "a class": _body(pytest.Item),
    "an array in the array": _body(np.ones(3)),
    "a set": _body({1, 2}),
    "bytes": _body(b"text"),
    "a list that holds itself": _body(LOOP),
    "several objects": pickle.dumps(np.array(["a", "b"], dtype=object)),
    "no array": pickle.dumps("text"),
    "cut off": _body("text" * 50)[:-20],
    "nothing": b"",
    "no pickle": b"neither pickle nor text",
    "too large": _body("x" * (1 << 20)),
    "a far place in the memo": b"\x80\x02]r" + struct.pack("<I", 0xFFFFFFF0) + b".",
}


@pytest.mark.rule("DATA-003")
@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_refused_and_nothing_is_run(name):
    with pytest.raises(ValueError, match=r"no pickled text|not plain data|values|bytes"):
        plain_value(WRONG[name])


def test_references_that_multiply_are_not_followed_for_ever():
    value: object = "lol"
    for _ in range(60):
        value = [value, value]
    with pytest.raises(ValueError, match="values"):
        plain_value(_body(value))
