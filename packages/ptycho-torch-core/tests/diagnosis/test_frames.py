"""Frames that are none are named; dim ones and those of few counts stay."""

import numpy as np
import pytest

FRAMES = ("empty-frames", "crazy-frames", "drift")


def dropped(finding):
    assert finding.found
    return np.flatnonzero(finding.remedy.drop).tolist()


@pytest.mark.parametrize("photons", [50, 500, 1e5])
@pytest.mark.parametrize("phase", [0.0, 0.4, 2.5])
def test_sound_scans_have_no_findings(scene, photons, phase):
    made = scene(64, photons=photons, phase=phase)
    assert [name for name in FRAMES if made.finding(name).found] == []


@pytest.mark.parametrize("size", [32, 64])
def test_empty_and_nearly_empty_frames(scene, size):
    made = scene(size)
    rng = np.random.default_rng(0)
    made.frames[20:30] = rng.poisson(2e-3, (10, size, size))
    made.frames[40] = 0
    assert dropped(made.finding("empty-frames")) == [*range(20, 30), 40]


def test_a_sample_that_dims_by_every_factor_keeps_its_frames(scene):
    made = scene(64, photons=1e6)
    dim = 10.0 ** np.linspace(-3, 0, made.n)
    made.frames = np.random.default_rng(0).binomial(made.frames, dim[:, None, None])
    assert not made.finding("empty-frames").found


def test_a_scan_that_is_mostly_dark_is_not_emptied(scene):
    made = scene(32)
    made.frames[: made.n * 3 // 4] = 0
    finding = made.finding("empty-frames")
    assert finding.found
    assert finding.remedy is None


@pytest.mark.parametrize("level", [30, 10_000])
def test_crazy_frames(scene, level):
    made = scene(64)
    made.frames[[9, 33]] = np.random.default_rng(0).poisson(level, (2, 64, 64))
    assert dropped(made.finding("crazy-frames")) == [9, 33]
    assert not made.finding("empty-frames").found


def test_a_frame_of_broken_values_is_empty(scene):
    made = scene(64)
    made.frames = made.frames.astype(np.float32)
    made.frames[11] = np.nan
    assert dropped(made.finding("empty-frames")) == [11]


def test_light_that_fades(scene):
    made = scene(64)
    fades = np.linspace(1, 0.4, made.n)
    made.frames = np.random.default_rng(0).binomial(made.frames, fades[:, None, None])
    finding = made.finding("drift")
    assert finding.found
    assert finding.numbers["ratio"] == pytest.approx(0.96 / 0.44, rel=0.1)


def test_few_counts(scene):
    assert scene(32, photons=500).finding("low-dose").found
    assert not scene(32, photons=1e4).finding("low-dose").found


def test_few_photons_of_several_units_each(scene):
    """A detector of charge counts some units per photon: it is photons that the noise comes from."""
    photons, charge = scene(32, photons=500), scene(32, photons=500)
    charge.frames = charge.frames * 25
    plain, of_charge = (made.finding("low-dose") for made in (photons, charge))
    assert of_charge.found
    assert of_charge.advice == plain.advice
    assert "--smoothness" in plain.advice


@pytest.mark.parametrize("level", [5, 20, 40])
def test_frames_of_noise_that_follow_each_other_are_crazy(scene, level):
    made = scene(64)
    made.frames[:12] = np.random.default_rng(0).poisson(level, (12, 64, 64))
    assert dropped(made.finding("crazy-frames")) == list(range(12))


def test_frames_that_repeat_the_one_before(scene):
    made = scene(64)
    made.frames[21:25], made.frames[40] = made.frames[20], made.frames[39]
    assert dropped(made.finding("copies")) == [21, 22, 23, 24, 40]
    assert not scene(64, photons=20).finding("copies").found


@pytest.mark.parametrize("kind", ["without noise", "at one place"])
def test_equal_frames_that_may_be_equal(scene, kind):
    made = scene(64, noise=False, phase=0.0) if kind == "without noise" else scene(64)
    if kind == "at one place":
        made.frames[1::2], made.positions[1::2] = made.frames[::2], made.positions[::2]
    assert not made.finding("copies").found


def test_single_bright_frames(scene):
    made = scene(64)
    made.frames[[3, 30, 31]] *= 4
    finding = made.finding("flicker")
    assert finding.found
    assert finding.numbers["frames"] == [3, 30, 31]


def test_a_sample_that_is_opaque_in_places_does_not_flicker(scene):
    made = scene(64)
    dim = np.where(np.arange(made.n) % 8 < 4, 0.05, 1.0)
    made.frames = np.random.default_rng(0).binomial(made.frames, dim[:, None, None])
    assert not made.finding("flicker").found


@pytest.mark.parametrize("size", [48, 64])
@pytest.mark.parametrize("columns", [False, True])
def test_frames_of_which_a_part_is_missing(scene, size, columns):
    made = scene(size)
    lines = made.frames.transpose(0, 2, 1) if columns else made.frames
    lines[[5, 20, 21], size // 2 :] = 0
    assert dropped(made.finding("torn-frames")) == [5, 20, 21]


@pytest.mark.parametrize("photons", [50, 500, 1e5])
def test_dark_lines_of_whole_frames_are_no_torn_ones(scene, photons):
    """Few counts leave lines dark; a sample bends light away from some, which is elsewhere then."""
    made = scene(64, photons=photons)
    made.frames[10:20] = np.roll(made.frames[10:20], 6, axis=1)
    made.frames[30:40] = made.frames[30:40] // 3
    assert not made.finding("torn-frames").found


def test_copies_of_frames_long_gone(scene):
    made = scene(64)
    made.frames[[40, 41, 55]] = made.frames[[3, 4, 3]]
    assert dropped(made.finding("copies")) == [40, 41, 55]
    made.positions[[40, 41, 55]] = made.positions[[3, 4, 3]]
    assert not made.finding("copies").found


def test_faint_frames_of_a_large_scan_are_alike_by_chance(scene):
    """Only those that follow each other are called copies then."""
    made = scene(32, grid=16, photons=4)
    assert not made.finding("copies").found
    made.frames[7] = made.frames[6] = scene(32, photons=300).frames[0]
    assert 7 in dropped(made.finding("copies"))
