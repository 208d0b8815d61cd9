"""Positions that cannot be right, and the array they would need."""

import numpy as np
import pytest

POSITIONS = ("stray", "repeats", "canvas", "line", "overlap")


def dropped(finding):
    assert finding.found
    return np.flatnonzero(finding.remedy.drop).tolist()


@pytest.mark.parametrize("offset", [0, 1e6, 1e9])
def test_sound_scans_have_no_findings(scene, offset):
    made = scene(32, step=3)
    made.positions = made.positions + offset
    assert [name for name in POSITIONS if made.finding(name).found] == []


@pytest.mark.parametrize("far", [150.0, 3e4, 1e12])
def test_a_stray_position(scene, far):
    made = scene(32)
    made.positions[17] = [far, -far]
    finding = made.finding("stray")
    assert dropped(finding) == [17]
    assert finding.numbers["distances_px"][0] == pytest.approx(np.hypot(far, far), rel=0.3)
    assert made.finding("canvas").found == (far >= 3e4)


def test_two_fields_of_one_scan_are_no_strays(scene):
    made = scene(32)
    made.positions[made.n // 2 :] += 1000
    assert not made.finding("stray").found


@pytest.mark.parametrize("value", [0.0, 40.5])
def test_positions_that_were_not_read(scene, value):
    made = scene(32)
    made.positions[50:] = value
    assert dropped(made.finding("repeats")) == list(range(50, made.n))


def test_several_frames_at_every_point_are_no_repeats(scene):
    made = scene(32)
    made.positions = np.repeat(made.positions[: made.n // 4], 4, axis=0)
    assert not made.finding("repeats").found


def test_a_line(scene):
    made = scene(32)
    made.positions[:, 0] = 20.0
    assert made.finding("line").found
    made.positions = made.positions @ np.array([[0.6, 0.8], [-0.8, 0.6]])
    assert made.finding("line").found


def test_wide_steps(scene):
    made = scene(32)
    made.positions = made.positions * 5
    finding = made.finding("overlap")
    assert finding.found
    assert finding.numbers["overlap"] < 0.5


def test_a_raster(scene):
    made = scene(32)
    assert not made.finding("raster").found
    made.positions = np.indices((8, 8)).reshape(2, -1).T * 4.0
    assert made.finding("raster").found


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_frames_are_looked_at_too(scene, n):
    made = scene(32)
    made.frames, made.positions = made.frames[:n], made.positions[:n]
    for name in ("stray", "repeats", "line", "raster", "canvas"):
        assert not made.finding(name).found


@pytest.mark.parametrize("axes", [(0, 1), (1,)])
@pytest.mark.parametrize("value", [-9999.0, 1e6])
def test_a_value_that_stands_for_none_far_away(scene, value, axes):
    made = scene(32)
    places = [3, 9, 10, 17, 22, 31, 40, 53]
    made.positions[np.ix_(places, axes)] = value
    assert dropped(made.finding("stray")) == places


def test_a_value_that_stands_for_none_amid_the_scan(scene):
    made = scene(32)
    places = [3, 9, 13, 17, 22, 31, 40, 53]
    made.positions[places] = -1.0
    assert dropped(made.finding("repeats")) == places


def test_places_that_a_scan_comes_back_to_are_no_repeats(scene):
    made = scene(32)
    made.positions[[5, 15, 25, 35, 45]], made.positions[[7, 17, 27, 37, 47]] = (
        made.positions[5],
        made.positions[7],
    )
    assert not made.finding("repeats").found


def test_an_axis_in_another_unit_is_asked_about(scene):
    made = scene(32)
    made.positions[:, 1] *= 1e-3
    finding = made.finding("line")
    assert finding.found
    assert "another unit" in finding.advice


def test_frames_that_do_not_overlap_are_more_than_a_note(scene):
    made = scene(64)
    assert made.finding("overlap").severity == "note"
    made.positions = made.positions * 10
    finding = made.finding("overlap")
    assert finding.found
    assert finding.severity == "warning"
    assert "--scale" in finding.advice
