"""Every kind of unsound file is refused with words that say what to do, all problems at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptycho_config import PartsConfig
from ptycho_torch.data.formats.npz import load_scan
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.assemble import assemble_scan
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import DataError, ScanWarning


def _with(arrays, key, index, value, dtype=np.float32):
    changed = arrays[key].astype(dtype)
    changed[index] = value
    return arrays | {key: changed}


def _without(arrays, *keys):
    return {key: value for key, value in arrays.items() if key not in keys}


CASES = {
    "missing key": (lambda a: _without(a, "ycoords"), "ycoords"),
    "missing frames": (lambda a: _without(a, "diff3d"), "diff3d or diffraction"),
    "rank of frames": (lambda a: a | {"diff3d": a["diff3d"][0]}, "diff3d"),
    "length of frames": (lambda a: a | {"diff3d": a["diff3d"][:5]}, "diff3d"),
    "square frames": (lambda a: a | {"diff3d": a["diff3d"][:, :, :12]}, "diff3d"),
    "complex frames": (lambda a: a | {"diff3d": a["diff3d"] * 1j}, "diff3d"),
    "NaN": (lambda a: _with(a, "diff3d", (4, 1, 1), np.nan), "diff3d"),
    "infinity": (lambda a: _with(a, "diff3d", (0, 1, 1), np.inf), "diff3d"),
    "negative": (lambda a: _with(a, "diff3d", (2, 1, 1), -3), "diff3d"),
    "negative integers": (lambda a: _with(a, "diff3d", (2, 1, 1), -3, np.int32), "diff3d"),
    "all zero": (lambda a: _with(a, "diff3d", [1, 3], 0), "diff3d"),
    "lengths of positions": (lambda a: a | {"ycoords": a["ycoords"][:4]}, "xcoords, ycoords"),
    "rank of positions": (lambda a: a | {"ycoords": a["ycoords"][:, None]}, "ycoords"),
    "text positions": (lambda a: a | {"ycoords": a["ycoords"].astype(str)}, "ycoords"),
    "position not finite": (lambda a: _with(a, "xcoords", 2, np.nan), "xcoords"),
    "position beyond any stage": (lambda a: _with(a, "xcoords", 2, -1e300, np.float64), "xcoords"),
    "metres": (
        lambda a: a | {"xcoords": a["xcoords"] * 1e-8, "ycoords": a["ycoords"] * 1e-8},
        "xcoords, ycoords",
    ),
    "one start": (lambda a: a | {"xcoords_start": a["xcoords"]}, "ycoords_start"),
    "length of start": (
        lambda a: a | {"xcoords_start": a["xcoords"][:3], "ycoords_start": a["xcoords"][:3]},
        "xcoords_start, ycoords_start",
    ),
    "zero probe": (lambda a: a | {"probeGuess": a["probeGuess"] * 0}, "probeGuess"),
    "non-square probe": (lambda a: a | {"probeGuess": a["probeGuess"][:, :12]}, "probeGuess"),
    "modes last": (lambda a: a | {"probeGuess": np.stack([a["probeGuess"]] * 3, axis=2)}, "probeGuess"),
    "rank of probe": (lambda a: a | {"probeGuess": a["probeGuess"][None, None]}, "probeGuess"),
    "larger probe": (lambda a: a | {"probeGuess": np.ones((32, 32), np.complex64)}, "probeGuess"),
    "smaller probe": (lambda a: a | {"probeGuess": np.ones((8, 8), np.complex64)}, "probeGuess"),
    "NaN in probe": (lambda a: _with(a, "probeGuess", (1, 1), np.nan, np.complex64), "probeGuess"),
    "integer probe": (lambda a: a | {"probeGuess": np.ones((16, 16), int)}, "probeGuess"),
    "rank of object": (lambda a: a | {"objectGuess": np.ones((1, 9, 9), complex)}, "objectGuess"),
    "NaN in object": (lambda a: a | {"objectGuess": np.full((9, 9), np.nan + 0j)}, "objectGuess"),
    "origin": (lambda a: a | {"objectGuess_origin": np.zeros(3)}, "objectGuess_origin"),
    "scan_index": (lambda a: a | {"scan_index": np.zeros(5, int)}, "scan_index"),
    "fractional scan_index": (lambda a: a | {"scan_index": np.full(6, 0.5)}, "scan_index"),
    "shape of bad_pixels": (lambda a: a | {"bad_pixels": np.zeros((8, 8), bool)}, "bad_pixels"),
    "values of bad_pixels": (lambda a: a | {"bad_pixels": np.full((16, 16), 2)}, "bad_pixels"),
    "all bad": (lambda a: a | {"bad_pixels": np.ones((16, 16), bool)}, "bad_pixels"),
    "labels": (lambda a: a | {"Y": np.ones((6, 8, 8), complex)}, "Y"),
    "broken JSON": (lambda a: a | {"_metadata": np.array("{")}, "_metadata"),
    "JSON list": (lambda a: a | {"_metadata": np.array("[1]")}, "_metadata"),
    "metadata no text": (lambda a: a | {"_metadata": np.zeros(3)}, "_metadata"),
    "frame_axis": (lambda a: a | {"_metadata": np.array('{"frame_axis": 0}')}, "_metadata"),
    "unknown domain": (lambda a: a | {"measurement_domain": np.array("volts")}, "measurement_domain"),
    "two domains": (
        lambda a: (
            a
            | {
                "measurement_domain": np.array("counts"),
                "_metadata": np.array('{"measurement_domain": "amplitude"}'),
            }
        ),
        "measurement_domain",
    ),
    "counts as amplitude": (
        lambda a: a | {"measurement_domain": np.array("amplitude")},
        "measurement_domain",
    ),
    "amplitude as counts": (
        lambda a: a | {"diff3d": np.sqrt(a["diff3d"]), "measurement_domain": np.array("counts")},
        "measurement_domain",
    ),
}


CLEANED = (
    *("NaN", "infinity", "negative", "negative integers", "all zero"),
    *("position not finite", "position beyond any stage"),
)
"""Refused only where nothing may be masked or left out."""


@pytest.mark.parametrize("case", CLEANED)
def test_what_can_be_cleaned_is_not_refused_and_said(arrays, write, case):
    with pytest.warns(ScanWarning):
        scan = load_scan(write(CASES[case][0](arrays)))
    assert [finding for finding in scan.findings if finding.found and finding.remedy is not None]


@pytest.mark.rule("DATA-001", "DATA-030", "DATA-031", "DATA-032", "DATA-033", "DATA-035")
@pytest.mark.parametrize("case", CASES)
def test_refused_by_name(arrays, write, case):
    change, name = CASES[case]
    path = write(change(arrays))
    with pytest.raises(DataError) as caught:
        load_scan(path, clean=CLEANING if case not in CLEANED else ())
    assert set(caught.value.names) == {name}
    assert caught.value.source == path
    assert str(caught.value).startswith(str(path))


@pytest.mark.rule("DATA-001")
def test_every_problem_in_one_error(arrays, write):
    arrays = _with(_with(_with(arrays, "diff3d", 1, 0), "diff3d", (2, 0, 0), np.nan), "diff3d", (3, 0, 0), -1)
    arrays = _with(_without(arrays, "ycoords"), "xcoords", 0, np.inf) | {
        "probeGuess": np.zeros((16, 16), complex)
    }
    with pytest.raises(DataError) as caught:
        load_scan(write(arrays | {"bad_pixels": np.zeros(3)}), clean=())
    assert caught.value.names == ("ycoords", "xcoords", "probeGuess", "bad_pixels", *["diff3d"] * 3)
    assert str(caught.value).count("\n  - ") == 7


def test_wrong_frames_are_counted_and_numbered(arrays, write):
    path = write(_with(arrays, "diff3d", [1, 3], 0))
    with pytest.warns(ScanWarning, match="2 of 6"):
        scan = load_scan(path)
    assert scan.frame_index.tolist() == [0, 2, 4, 5]
    assert any("2 of 6" in finding.sentence() for finding in scan.findings if finding.found)
    with pytest.raises(DataError, match="2 of 6"):
        load_scan(path, clean=())


def test_caller_against_file_names_both(arrays, write):
    path = write(arrays, {"measurement_domain": "counts"})
    with pytest.raises(DataError, check=lambda error: error.names == ("measurement_domain",)):
        load_scan(path, measurement_domain="amplitude")


@pytest.mark.rule("DATA-040")
@pytest.mark.parametrize("N", [32, 7, 0])
def test_sizes_that_cannot_be_had(arrays, write, N):
    with pytest.raises(DataError, check=lambda error: error.names == ("N",)):
        load_scan(write(arrays), N=N)


@pytest.mark.rule("DATA-037")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04 and the rest is lost", "truncated zip archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "the content is an HDF5 file"),
        (b"\x93NUMPY" + bytes(100), r"a single \.npy array"),
        (b"\x80\x04\x95 a pickle", "not a zip archive"),
    ],
)
def test_other_content_is_named(tmp_path, content, words):
    path = tmp_path / "scan.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_scan(path)


def test_a_directory_is_no_scan(tmp_path):
    with pytest.raises(DataError, check=lambda error: error.names == ("",) and error.source == tmp_path):
        load_scan(tmp_path)


@pytest.mark.rule("DATA-037")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_anywhere(arrays, write, share):
    path = write(arrays)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, check=lambda error: error.names == ("",) and error.source == path):
        load_scan(path)


def test_a_damaged_required_array_is_not_called_missing(arrays, write):
    path = write(arrays)
    content = bytearray(path.read_bytes())
    start = content.index(b"probeGuess.npy") + 400
    content[start : start + 200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(DataError, check=lambda error: error.names == ("probeGuess",)) as caught:
        load_scan(path)
    assert not caught.value.problems[0].startswith("missing")


@pytest.mark.rule("DATA-036")
def test_arrays_of_a_caller_are_never_changed(arrays):
    arrays["diff3d"] = np.sqrt(arrays["diff3d"]).astype(np.float32)
    before = {key: value.copy() for key, value in arrays.items()}
    scan = assemble_scan(arrays)
    assert scan.source is None
    for key, value in before.items():
        np.testing.assert_array_equal(arrays[key], value)


def test_a_single_frame_is_a_scan(arrays):
    assert (
        assemble_scan(
            {key: value if key == "probeGuess" else value[:1] for key, value in arrays.items()}
        ).n_frames
        == 1
    )


@pytest.mark.rule("DATA-127")
@pytest.mark.parametrize("kind", ["npz", "folder", "mask", "positions"])
def test_what_may_not_be_read_is_refused_with_its_name(arrays, write, tmp_path, monkeypatch, kind):
    path = write(arrays) if kind != "folder" else tmp_path
    forbidden = tmp_path / "stated.txt" if kind in ("mask", "positions") else Path(path)
    (tmp_path / "stated.txt").write_text("1 2\n")

    def refuse(real):
        def call(self, *args, **options):
            if Path(self) == forbidden:
                raise PermissionError(13, "Permission denied", str(self))
            return real(self, *args, **options)

        return call

    # The system says no to everybody but the one who owns the machine, as whom tests may run.
    for name in ("open", "iterdir", "read_text"):
        monkeypatch.setattr(Path, name, refuse(getattr(Path, name)))
    parts = {"mask": PartsConfig(mask=forbidden), "positions": PartsConfig(positions=forbidden)}.get(kind)
    with pytest.raises((PermissionError, DataError)) as caught:
        open_scan(path, parts=parts)
    assert str(forbidden) in str(caught.value)
    assert "[Errno" not in str(caught.value)
