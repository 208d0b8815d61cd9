"""The verdict separates what explains frames from what does not, at any dose."""

import numpy as np
import pytest

from ptycho_torch.diagnosis.doubts import misled_doubted, scale_doubted
from ptycho_torch.diagnosis.verdict import Verdict, misfits, verdict


def patterns(photons, seed, n=24, size=24):
    """Expected counts of frames whose pattern changes from one to the next, and of empty ones."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((size, size)) - size // 2
    empty = np.broadcast_to(np.exp(-(y**2 + x**2) / 40.0), (n, size, size))
    phases = rng.uniform(0, 2 * np.pi, (2, n, 1, 1))
    light = empty * (1 + 0.7 * np.sin(0.9 * y + phases[0]) * np.sin(0.8 * x + phases[1]))
    scale = photons / light.sum(axis=(1, 2)).mean()
    return light * scale, empty * scale


def judged(counts, made, empty, departure=0.3):
    free = np.ones(counts.shape[1:], bool)
    return verdict(misfits(counts, made, empty, free), departure=departure, n_pixels=free.size)


@pytest.mark.parametrize("photons", [300, 3000, 1e5, 1e7])
def test_right_predictions_pass_and_wrong_ones_do_not(photons):
    light, empty = patterns(photons, 0)
    counts = np.random.default_rng(1).poisson(light).astype(float)
    assert not judged(counts, light, empty).is_bad
    assert judged(counts, np.roll(light, 1, axis=0), empty).is_bad
    assert judged(counts, light[:, ::-1], empty).is_bad
    found = judged(counts, empty, empty)
    assert found.is_bad
    assert found.shows_an_object


def test_the_scale_of_a_prediction_does_not_matter():
    light, empty = patterns(1e5, 0)
    counts = np.random.default_rng(1).poisson(light).astype(float)
    expected = judged(counts, light, empty)
    scale = np.random.default_rng(4).uniform(0.2, 5, (len(counts), 1, 1))
    found = judged(counts, 7 * light * scale, 0.1 * empty)
    assert found.misfit == pytest.approx(expected.misfit)
    assert found.misfit_of_empty_object == pytest.approx(expected.misfit_of_empty_object)


@pytest.mark.parametrize("photons", [30, 1e3, 1e6])
def test_empty_frames_are_no_failure(photons):
    _, empty = patterns(photons, 0)
    counts = np.random.default_rng(2).poisson(empty).astype(float)
    noisy = empty * np.random.default_rng(3).normal(1, 0.02, empty.shape)
    found = judged(counts, noisy, empty, departure=0.05)
    assert not found.is_bad
    assert not found.shows_an_object


def test_noise_as_an_object_is_questioned():
    _, empty = patterns(30, 0)
    counts = np.random.default_rng(2).poisson(empty).astype(float)
    noisy = empty * np.random.default_rng(3).uniform(0, 2, empty.shape)
    assert judged(counts, noisy, empty, departure=0.9).is_bad


def test_a_gap_that_is_predicted_as_light_is_found_by_what_changes():
    """Large values that never change are explained a little by anything; what changes is not."""
    light, empty = patterns(1e5, 0)
    counts = np.random.default_rng(1).poisson(light).astype(float)
    counts[:, 5] = 65535
    made = np.roll(light, 1, axis=0)
    made[:, 5] = 60000 + 5000 * np.random.default_rng(0).random((24, 24))
    assert judged(counts, made, empty).is_bad


def test_one_wrong_frame_of_many_does_not_decide():
    light, empty = patterns(1e5, 0)
    counts = np.random.default_rng(1).poisson(light).astype(float)
    counts[3, 2, 2] = 1e4
    assert not judged(counts, light, empty).is_bad


def test_it_can_be_written_as_json():
    import json

    light, empty = patterns(1e4, 0)
    found = judged(np.rint(light), light, empty)
    entries = json.loads(json.dumps(found.to_dict()))
    assert entries["is_bad"] is False
    assert Verdict.from_dict(entries) == found


def mixed(share, photons=1e5):
    """Counts, and a prediction that leaves this share of the misfit of an empty object."""
    light, empty = patterns(photons, 0)
    counts = np.random.default_rng(1).poisson(light).astype(float)
    return counts, empty + (light - empty) * (1 - share**0.5), empty


def test_half_in_the_root_is_the_limit():
    assert not judged(*mixed(0.2)).is_bad
    assert judged(*mixed(0.3)).is_bad


def test_what_noise_leaves_is_forgiven_up_to_a_half():
    found, held = judged, misfits
    free = np.ones((24, 24), bool)

    def with_noise(share, noise, forgives=True):
        return verdict(
            held(*mixed(share), free),
            forgives_noise=forgives,
            departure=0.3,
            n_pixels=free.size,
            by_noise=lambda: held(*mixed(noise), free),
        )

    assert found(*mixed(0.4)).is_bad
    forgiven = with_noise(0.4, 0.3)
    assert not forgiven.is_bad
    assert forgiven.misfit_by_noise == pytest.approx(0.3, abs=0.01)
    assert with_noise(0.4, 0.1).is_bad
    assert with_noise(0.4, 0.3, forgives=False).is_bad
    noisy = with_noise(0.7, 0.6)
    assert noisy.is_bad
    assert "smoothness" in noisy.sentence


def test_a_result_is_held_to_the_frames_that_it_was_made_from():
    free = np.ones((24, 24), bool)
    held = misfits(*mixed(0.01), free)
    for share, bad in ((0.4, False), (0.6, True)):
        found = verdict(held, departure=0.3, n_pixels=free.size, own=misfits(*mixed(share), free))
        assert found.is_bad is bad


@pytest.mark.parametrize("flicker", [0.0, 0.3])
def test_empty_frames_with_a_probe_that_is_not_quite_right_are_no_failure(flicker):
    """They differ from what the probe says, but all in the same way: there is no object to miss."""
    _, empty = patterns(1e5, 0)
    real = np.roll(empty, 1, axis=2) * np.random.default_rng(0).uniform(1 - flicker, 1, (len(empty), 1, 1))
    counts = np.random.default_rng(2).poisson(real).astype(float)
    found = judged(counts, empty * 1.01, empty, departure=0.05)
    assert not found.is_bad
    assert not found.shows_an_object


@pytest.mark.parametrize("wrong", [False, True])
def test_values_without_noise_are_judged_by_all_of_their_misfit(wrong):
    light, empty = patterns(200, seed=4)
    found = judged(light, np.roll(light, 1, axis=0) if wrong else light, empty)
    assert found.is_bad == wrong


def test_another_scale_is_told_only_where_it_leaves_far_less():
    light, empty = patterns(1e5, seed=5)
    passed = judged(np.random.default_rng(0).poisson(light).astype(float), light, empty)
    assert scale_doubted(passed, (0.95, 0.7)) is passed
    found = scale_doubted(passed, (0.95, 0.3))
    assert found.is_bad
    assert found.better_scale == 0.95


@pytest.mark.rule("REF-053")
def test_a_refinement_that_led_away_is_wrong_whatever_else_is_found():
    light, empty = patterns(1e5, seed=5)
    passed = judged(np.random.default_rng(0).poisson(light).astype(float), light, empty)
    assert misled_doubted(passed, None) is passed
    found = misled_doubted(passed, "the refinement led away from the frames")
    assert found.is_bad
    assert found.sentence == f"the refinement led away from the frames; {passed.sentence}"
