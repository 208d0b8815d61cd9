"""Counts and amplitudes are told apart after a division by a flat field or a monitor."""

import numpy as np
import pytest

from ptycho_torch.diagnosis.domain import hear_witnesses, unit_of
from ptycho_torch.diagnosis.evidence import far_field
from ptycho_torch.diagnosis.statistics import frame_statistics


def answers(frames, probe):
    found = frame_statistics(frames)
    heard = hear_witnesses(
        sample=found.sample,
        mean=found.mean,
        mean_square=found.mean_square,
        own=far_field(probe),
        free=~found.left_out,
    )
    return {witness.name: witness.answer for witness in heard}


def divided(frames, by):
    rng = np.random.default_rng(4)
    if by == "flat field":
        return frames / rng.normal(1, 0.05, frames.shape[1:])
    if by == "monitor":
        return frames / rng.normal(1, 0.05, (len(frames), 1, 1))
    return frames / frames.max()


@pytest.mark.parametrize("photons", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("by", ["flat field", "monitor", "largest"])
@pytest.mark.parametrize("truth", ["counts", "amplitude"])
def test_grains_tell(scene, photons, by, truth):
    made = scene(64, photons=photons)
    values = divided(made.frames, by)
    heard = answers((values if truth == "counts" else np.sqrt(values)).astype(np.float32), made.probe)
    assert heard["grains"] == truth
    assert heard["probe"] in (None, truth)


def test_the_unit_is_found(scene):
    frames = scene(64).frames
    assert unit_of(frames[:8] * 0.37) == pytest.approx(0.37)
    assert unit_of(scene(64, noise=False).frames[:8]) is None


@pytest.mark.parametrize("truth", ["counts", "amplitude"])
def test_a_probe_with_a_structured_far_field_tells_without_grains(scene, truth):
    rows = np.arange(64) - 32
    probe = np.exp(-np.add.outer(rows**2, rows**2) / 60 + 0.02j * np.add.outer(rows**2, rows**2))[None]
    made = scene(64, probe=probe / np.linalg.norm(probe), noise=False, phase=0.3)
    heard = answers(made.frames if truth == "counts" else np.sqrt(made.frames), made.probe)
    assert heard == {"probe": truth}


def test_nothing_is_said_where_neither_reading_fits_better(scene):
    """A lens lights the detector as a flat disk, which is one in both readings."""
    made = scene(64, noise=False)
    assert set(answers(made.frames, made.probe).values()) == {None}
    assert set(answers(np.sqrt(made.frames), made.probe).values()) == {None}
