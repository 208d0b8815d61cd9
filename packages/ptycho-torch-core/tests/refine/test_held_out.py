"""Frames that are held out tell a right scan from a wrong one."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import RefineConfig
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.diagnosis.doubts import lack_doubted
from ptycho_torch.diagnosis.evidence import far_field
from ptycho_torch.diagnosis.finding import Finding, Remedy
from ptycho_torch.diagnosis.lacks import WORTH_A_WARNING, Lack
from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.reassembly import StitchedObject, Team
from ptycho_torch.refine import refine
from ptycho_torch.refine.held_out import judge

HIDES = Remedy(bad_pixels=np.zeros((32, 32), bool))


@pytest.fixture(scope="module")
def scan():
    return simulate_scene("random_field", N=32, grid=(8, 8), step_px=3.0, jitter_px=1.0, photons=1e5, seed=5)


def judged(scan):
    config = RefineConfig(refine_epochs=15)
    result = refine(scan, config=config)
    return judge(scan, result.object, result.probe, config=config)


@pytest.mark.rule("RUN-090")
def test_a_right_scan_passes(scan):
    found = judged(scan)
    assert not found.is_bad
    assert found.shows_an_object
    assert found.misfit < 0.1 * found.misfit_of_empty_object
    assert found.n_held_out >= 16
    assert found.misfit_by_noise is None


@pytest.mark.parametrize("wrong", ["shuffled", "transposed"])
def test_wrong_positions_and_frames_do_not(scan, wrong):
    if wrong == "shuffled":
        scan = replace(scan, positions=np.random.default_rng(0).permutation(scan.positions))
    else:
        scan = replace(scan, diffraction=np.ascontiguousarray(scan.diffraction.transpose(0, 2, 1)))
    assert judged(scan).is_bad


def test_a_wrong_object_of_a_right_scan_does_not_pass(scan):
    result = refine(scan, epochs=15)
    turned = replace(result.object, object=result.object.object[::-1, ::-1].copy())
    assert judge(scan, turned, result.probe, config=RefineConfig()).is_bad


@pytest.mark.parametrize("n", [9, 16, 23])
def test_few_frames_are_each_held_out_once(scan, n):
    side = np.arange(64).reshape(8, 8)
    few = scan.take(side[: -(-n // 5), :5].ravel()[:n])
    assert not judged(few).is_bad
    wrong = judged(replace(few, positions=np.random.default_rng(3).permutation(few.positions)))
    assert wrong.is_told
    assert wrong.is_bad


def test_what_cannot_be_told_is_said(scan):
    few = judged(scan.take(np.arange(4)))
    apart = judged(replace(scan, positions=scan.positions * 12))
    for found in (few, apart):
        assert not found.is_told
        assert not found.is_bad
        assert found.misfit is None
    assert few.sentence != apart.sentence


def test_a_rim_that_hardly_any_light_reached_does_not_decide():
    """A compact probe leaves pixels beside the scan of any size; frames held out at the border see them."""
    y, x = np.indices((32, 32)) - 16
    probe = (np.hypot(y, x) < 5)[None] * np.exp(0.05j * (y**2 + x**2))
    base = simulate_scene("lines", N=32, grid=(8, 8), step_px=3.0, jitter_px=0.7, seed=8)
    scan = simulate_scan(base.object_truth, probe, base.positions, photons=3e4, seed=1)
    found = judged(scan)
    assert not found.is_bad
    assert found.misfit < 0.1 * found.misfit_of_empty_object


def test_noise_is_told_from_what_is_wrong(scan):
    """Few counts leave a misfit that a copy of the experiment leaves too; a wrong scan leaves more."""
    faint = simulate_scan(scan.object_truth, scan.probe, scan.positions, photons=120, seed=3)
    config = RefineConfig(refine_epochs=15, smoothness=0.1)
    result = refine(faint, config=config)
    found = judge(faint, result.object, result.probe, config=config)
    assert not found.is_bad
    turned = replace(scan, positions=scan.positions[::-1].copy())
    found = judged(turned)
    assert found.is_bad
    assert found.misfit_by_noise < 0.1
    assert "orientation" in found.sentence


@pytest.mark.rule("RUN-090")
def test_noise_is_answered_with_a_smoothness_beyond_the_one_that_was_given(scan):
    faint = simulate_scan(scan.object_truth, scan.probe, scan.positions, photons=10, seed=3)
    result = refine(faint, epochs=15)
    plain, little = (
        judge(faint, result.object, result.probe, config=RefineConfig(smoothness=value))
        for value in (0.0, 1e-4)
    )
    named = re.search(r"refine with --smoothness (\S+) or near", plain.sentence)
    assert named is not None
    assert 1e-4 < float(named.group(1)) <= 1
    assert little.is_bad
    assert named.group() in little.sentence
    # One unit of charge more or less per photon changes nothing.
    charge = replace(faint, diffraction=np.asarray(faint.diffraction) * 7, statistics=None)
    assert named.group() in judge(charge, result.object, result.probe, config=RefineConfig()).sentence


@pytest.mark.rule("RUN-090")
def test_what_was_found_in_the_scan_and_is_left_there_is_named_before_what_may_be_wrong(scan):
    wrong = replace(scan, positions=np.random.default_rng(0).permutation(scan.positions))
    result = refine(wrong, epochs=15)

    def sentence(**entries):
        found = Finding(name="wrapped", found=True, severity="warning", text="counters wrapped", **entries)
        with_it = replace(wrong, findings=(found,))
        return judge(with_it, result.object, result.probe, config=RefineConfig()).sentence

    left, in_part, mended = sentence(), sentence(remedy=HIDES, is_mended=False), sentence(remedy=HIDES)
    for said in (left, in_part):
        assert "counters wrapped; else positions" in said
    assert "wrapped" not in mended


@pytest.mark.rule("RUN-090")
def test_where_hardly_any_light_was_measured_neither_positions_nor_noise_are_blamed(scan):
    own = far_field(scan.probe)
    hidden = replace(scan, bad_pixels=own > 1e-4 * own.max())
    wrong = replace(hidden, positions=np.random.default_rng(0).permutation(scan.positions))
    found = judged(wrong)
    assert found.is_bad or not found.is_told
    assert "of the light of the probe falls on pixels that were measured" in found.sentence
    assert "positions" not in found.sentence
    assert "smoothness" not in found.sentence


def _with_background(scan):
    frames = np.asarray(scan.diffraction)
    level = 0.06 * frames.sum(axis=(1, 2)).mean() / scan.N**2
    return replace(scan, diffraction=frames + np.random.default_rng(0).poisson(level, frames.shape))


def _with_doses(scan):
    doses = np.random.default_rng(0).uniform(0.3, 1, (scan.n_frames, 1, 1))
    counts = np.asarray(scan.diffraction).astype(np.int64)
    return replace(scan, diffraction=np.random.default_rng(1).binomial(counts, doses))


def _with_another_probe(scan):
    ramp = np.exp(0.4j * np.linspace(-1, 1, scan.N) ** 2 * 9)
    return replace(scan, probe=(scan.probe * ramp * ramp[:, None]).astype(np.complex64))


LACKS = {"background": _with_background, "dose": _with_doses, "probe": _with_another_probe}
FITTED = {
    "background": {"refine_background": "smooth"},
    "dose": {"refine_dose": True},
    "probe": {"refine_probe": True},
}


@pytest.mark.rule("RUN-090")
@pytest.mark.parametrize("kind", LACKS)
def test_an_unknown_that_is_lacking_is_named_with_what_fits_it(scan, kind):
    faulty = LACKS[kind](scan)
    found = judged(faulty)
    assert found.is_bad is (found.misfit > WORTH_A_WARNING[kind] * found.misfit_of_empty_object)
    assert found.lacking is not None
    assert found.lacking.kind == kind
    assert f"--refine-{kind}" in found.sentence
    assert Verdict.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    config = RefineConfig(refine_epochs=30, **FITTED[kind])
    result = refine(faulty, config=config)
    known = {"background": result.background, "device": "cpu"}
    again = judge(faulty, result.object, result.probe, config=config, **known)
    assert again.lacking is None
    assert not again.is_bad


@pytest.mark.rule("RUN-090")
def test_of_a_right_scan_nothing_is_lacking(scan):
    assert judged(scan).lacking is None


def test_what_lacks_a_little_is_said_and_no_failure():
    passed = Verdict(is_bad=False, misfit=0.05, misfit_of_empty_object=1.0, sentence="fine")
    lack = Lack(kind="dose", share=0.3)
    assert not lack_doubted(replace(passed, misfit=0.07), Lack(kind="probe", share=0.3)).is_bad
    little, much = (lack_doubted(replace(passed, misfit=misfit), lack) for misfit in (0.02, 0.07))
    assert (little.is_bad, much.is_bad) == (False, True)
    for found in (little, much):
        assert found.lacking == lack
        assert "--refine-dose" in found.sentence
    assert lack_doubted(passed, None) == passed


def test_processes_that_joined_take_no_part(scan, monkeypatch):
    """One of several judges alone, while the others wait."""
    monkeypatch.setattr(Team, "joined", classmethod(lambda cls: pytest.fail("the others were asked")))
    judge(
        scan,
        StitchedObject(
            object=scan.object_truth, weight=np.ones(scan.object_truth.shape, np.float32), origin=np.zeros(2)
        ),
        scan.probe,
        config=RefineConfig(),
    )


@pytest.mark.rule("RUN-090")
@pytest.mark.parametrize("factor", [1.1, 0.92])
def test_positions_of_another_scale_are_found_by_how_far_better_others_fit(scan, factor):
    middle = scan.positions.mean(axis=0)
    found = judged(replace(scan, positions=middle + factor * (scan.positions - middle)))
    assert found.is_bad
    if found.better_scale is not None:
        assert found.better_scale == pytest.approx(1 / factor, abs=0.06)
    assert judged(scan).better_scale is None


@pytest.mark.rule("RUN-090")
@pytest.mark.parametrize("unit", [1e-5, 12.0])
def test_the_unit_of_the_counts_does_not_matter(scan, unit):
    plain, found = judged(scan), judged(scan.scaled(unit))
    assert not found.is_bad
    assert found.misfit == pytest.approx(plain.misfit, rel=0.05)
    assert judged(replace(scan, positions=scan.positions[:, ::-1].copy()).scaled(unit)).is_bad


def moved(scan, by):
    """The scan whose stated positions lack displacements (n, 2) of the frames."""
    return replace(scan, positions=scan.positions - by)


@pytest.mark.rule("RUN-090")
def test_a_jump_is_named_with_its_frame_and_its_size(scan):
    by = np.where(np.arange(64)[:, None] < 40, 0.0, [3.0, -4.0])
    found = judged(moved(scan, by))
    assert found.is_bad
    assert found.moved.kind == "jump"
    np.testing.assert_allclose(found.moved.by_px, [3, -4], atol=1)
    assert abs(found.moved.from_frame - 40) <= 3
    assert str(found.moved.from_frame) in found.sentence
    assert Verdict.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.rule("RUN-090")
def test_a_drift_is_told_by_how_far_better_it_fits(scan):
    found = judged(moved(scan, np.linspace(0, 1, 64)[:, None] ** 2 * [1.0, 7.0]))
    assert found.is_bad
    assert found.moved.kind == "drift"
    assert found.moved.by_px[1] == pytest.approx(7, abs=1)
    assert "--refine-drift" in found.sentence


@pytest.mark.rule("RUN-090")
def test_a_sheared_scan_is_told(scan):
    middle = scan.positions.mean(axis=0)
    found = judged(replace(scan, positions=middle + (scan.positions - middle) @ [[1, 0.25], [0, 1]]))
    assert found.is_bad
    assert found.moved.kind in ("stretch", "drift")


@pytest.mark.rule("RUN-090")
def test_positions_that_are_right_or_off_by_chance_do_not_move(scan):
    assert judged(scan).moved is None
    off = np.random.default_rng(0).normal(0, 0.5, scan.positions.shape)
    found = judged(moved(scan, off))
    assert not found.is_bad
    assert found.moved is None


@pytest.mark.rule("RUN-090")
def test_a_jump_far_from_the_middle_is_found_where_the_object_fits_worst():
    """Frames around the middle of a large scan know nothing of it."""
    large = simulate_scene(
        "random_field", N=32, grid=(24, 24), step_px=3.0, jitter_px=1.0, photons=1e5, seed=6
    )
    by = np.where(np.arange(576)[:, None] < 72, 0.0, [0.0, 5.0])
    found = judged(moved(large, by))
    assert found.is_bad
    assert found.moved.kind == "jump"
    assert abs(found.moved.from_frame - 72) <= 6
    assert "where the object fits worst" in found.sentence
    assert not judged(large).is_bad
