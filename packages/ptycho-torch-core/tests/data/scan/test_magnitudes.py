"""Numbers that no measurement gives: refused in words, by whoever looks at a scan and by whoever uses it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.checks import canonical_index
from ptycho_torch.data.scan.geometry import NEEDED_ENTRIES, ZERO, ScanGeometry
from ptycho_torch.data.scan.magnitudes import LARGEST_NUMBER
from ptycho_torch.data.summary import inspect_scan
from ptycho_torch.errors import DataError, MissingMetadata

ABSURD = (1e300, 1e16)


def _at(name, value, index=...):
    def change(arrays):
        wide = arrays[name].astype(np.complex128 if arrays[name].dtype.kind == "c" else np.float64)
        wide[index] = value
        return {**arrays, name: wide}

    return change


def _times(name, factor):
    def change(arrays):
        wide = np.complex128 if arrays[name].dtype.kind == "c" else np.float64
        return {**arrays, name: arrays[name].astype(wide) * factor}

    return change


def _with(name, value):
    return lambda arrays: {**arrays, name: value}


REFUSED = {
    **{f"frames x {factor:g}": (_times("diff3d", factor), "diff3d") for factor in ABSURD},
    **{f"frames x {factor:g}": (_times("diff3d", factor), "diff3d") for factor in (1e-30, 1e-42, 1e-300)},
    **{f"probe x {factor:g}": (_times("probeGuess", factor), "probeGuess") for factor in ABSURD},
    "one value of the probe": (_at("probeGuess", 1e300, (3, 3)), "probeGuess"),
    "a probe next to nothing": (_times("probeGuess", 1e-30), "probeGuess"),
    "object": (_with("objectGuess", np.full((90, 90), 1e300 + 0j)), "objectGuess"),
    "an object next to nothing": (_with("objectGuess", np.full((90, 90), 1e-30 + 0j)), "objectGuess"),
    "labels": (_with("Y", np.full((6, 16, 16), 1e300 + 0j)), "Y"),
    "origin": (_with("objectGuess_origin", np.array([1e300, 0.0])), "objectGuess_origin"),
    "places": (_times("xcoords", 1e300), "xcoords"),
    "number of a scan": (_with("scan_index", np.full(6, 1e300)), "scan_index"),
    "number of a frame": (_with("frame_index", np.arange(6, dtype=np.uint64) + 2**63), "frame_index"),
}


def _refusal(call, *given):
    with pytest.raises(DataError) as refused:
        call(*given)
    return refused.value.problems


@pytest.mark.rule("DATA-038", "DATA-122")
@pytest.mark.parametrize("change", REFUSED)
def test_absurd_numbers_are_refused_and_inspect_says_the_same(write, arrays, change):
    edit, name = REFUSED[change]
    path = write(edit(arrays))
    problems = _refusal(open_scan, path)
    assert name in {problem.name for problem in problems}
    assert inspect_scan(path).problems == problems


@pytest.mark.rule("DATA-038")
@pytest.mark.parametrize("value", [1e300, -1e300, 1e16, np.inf])
def test_a_pixel_that_holds_an_absurd_value_is_masked(write, arrays, value):
    path = write(_at("diff3d", value, (2, 7, 4))(arrays))
    with pytest.warns(match="gaps|hold|negative"):
        scan = open_scan(path)
    assert scan.bad_pixels is not None
    assert scan.bad_pixels[7, 4]
    assert np.isfinite(scan.diffraction).all()
    assert scan.diffraction.max() < 1e3


@pytest.mark.rule("DATA-038")
def test_large_and_small_numbers_that_can_be_are_taken(write, arrays):
    for factor in (1e12, 1e-12):
        scan = open_scan(write(_times("probeGuess", factor)(arrays)))
        assert np.abs(scan.probe).max() > 0
    arrays["frame_index"] = np.arange(6) + LARGEST_NUMBER - 6
    assert open_scan(write(arrays)).frame_index[-1] == LARGEST_NUMBER - 1


@pytest.mark.rule("DATA-038", "DATA-122")
@pytest.mark.parametrize("value", [0, -1, 1e308, 10**400, float("nan"), float("inf")])
@pytest.mark.parametrize("entry", ["nphotons", "probe_photon_count", "saturation_counts"])
def test_counts_in_the_metadata_that_none_can_be_are_refused_by_all(write, arrays, entry, value):
    path = write(arrays, {entry: value})
    problems = _refusal(open_scan, path)
    assert {problem.name for problem in problems} == {"_metadata"}
    assert inspect_scan(path).problems == problems


@pytest.mark.rule("DATA-122")
@pytest.mark.parametrize("value", [0, 10**400, float("nan")])
def test_settings_say_nothing_else_of_counts_than_the_scan_does(tmp_path, tiny_scan, value):
    path = tmp_path / "scan.npz"
    save_scan(path, replace(tiny_scan, metadata={"nphotons": value}))
    assert create_training_payload(path, tmp_path / "out").provenance["nphotons"].layer == "default"


@pytest.mark.rule("DATA-038", "DATA-122")
@pytest.mark.parametrize("where", ["array", "metadata"])
def test_a_ceiling_below_all_light_is_refused(write, arrays, where):
    known = {"ceiling": np.full((16, 16), 1e-9)} if where == "array" else {}
    path = write({**arrays, **known}, {} if known else {"saturation_counts": 1e-9})
    problems = _refusal(open_scan, path)
    assert {problem.name for problem in problems} == {"ceiling, saturation_counts"}
    assert inspect_scan(path).problems == problems


@pytest.mark.rule("DATA-038")
@pytest.mark.parametrize("value", [None, "many", [1], {"a": 1}, True])
def test_what_is_no_number_states_no_counts(write, arrays, value):
    path = write(arrays, {"nphotons": value, "saturation_counts": value})
    assert open_scan(path).n_frames == 6
    assert inspect_scan(path).is_sound


def test_a_number_of_thousands_of_digits_is_no_crash(write, arrays):
    path = write({**arrays, "_metadata": np.array('{"nphotons": ' + "9" * 5000 + "}")})
    assert [problem.name for problem in _refusal(open_scan, path)] == ["_metadata"]
    assert json.dumps(inspect_scan(path).problems)


@pytest.mark.rule("RUN-007")
@pytest.mark.parametrize("value", [1e308, 1e-308, 10**400])
@pytest.mark.parametrize("entry", [*NEEDED_ENTRIES, *ZERO])
def test_a_geometry_that_no_measurement_has_is_none(optics, entry, value):
    if entry in ZERO and value == 1e-308:
        return
    with pytest.raises(MissingMetadata, check=lambda error: error.names == (entry,)):
        ScanGeometry.from_entries({**optics, entry: value}, 64)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0.5])
def test_a_number_of_a_scan_that_is_no_number_is_refused(value):
    problems = []
    assert canonical_index(np.array([0.0, value]), "scan_index", 2, problems) is None
    assert [problem.name for problem in problems] == ["scan_index"]
