"""Light between pixels that is computed once is the light that would be computed every time."""

import numpy as np
import pytest
import torch

from ptycho_torch.physics.placement_moved_probe import MovedProbe
from ptycho_torch.refine import kept_light, refine
from ptycho_torch.refine.kept_light import KeptLight

N, COUNT = 8, 6
ONE_FRAME = 2 * N * N * 8


class Counted(MovedProbe):
    """Counts the frames whose light is computed."""

    made = 0

    def light(self, probe):
        Counted.made += len(self)
        return super().light(probe)


@pytest.fixture
def generator():
    Counted.made = 0
    return torch.Generator().manual_seed(5)


@pytest.fixture
def probe(generator):
    return torch.randn(2, N, N, dtype=torch.complex64, generator=generator)


@pytest.fixture
def positions(generator):
    return 8 + 9 * torch.rand(COUNT, 2, dtype=torch.float64, generator=generator)


def at(positions, frames=None):
    where = Counted(positions, N, (30, 30))
    return where if frames is None else where.part(torch.from_numpy(frames))


def asked(kept, probe, positions, frames):
    """Light of frames, and of how many it was computed."""
    frames = np.array(frames)
    before = Counted.made
    light = kept.of(probe, at(positions, frames), frames)
    made = Counted.made - before
    torch.testing.assert_close(light, at(positions, frames).light(probe))
    return made


def test_light_is_computed_once(probe, positions):
    kept = KeptLight(COUNT)
    assert asked(kept, probe, positions, [4, 1]) == 2
    assert asked(kept, probe, positions, [1, 4]) == 0
    assert asked(kept, probe, positions, [0, 1, 5]) == 2
    assert asked(kept, probe.clone(), positions, range(COUNT)) == 2
    assert asked(kept, probe, positions, range(COUNT)) == 0


def test_another_probe_has_other_light(probe, positions):
    kept = KeptLight(COUNT)
    assert asked(kept, probe, positions, range(COUNT)) == COUNT
    assert asked(kept, 1.5 * probe, positions, range(COUNT)) == COUNT
    assert asked(kept, probe[:1], positions, range(COUNT)) == COUNT
    assert asked(kept, probe.to(torch.complex128), positions, range(COUNT)) == COUNT


def test_frames_that_moved_have_other_light(probe, positions):
    kept = KeptLight(COUNT)
    assert asked(kept, probe, positions, range(COUNT)) == COUNT
    positions = positions.clone()
    positions[2] += 0.125
    positions[3] += 1.0
    # By whole pixels the light is the same, up to the rounding of the fraction.
    assert asked(kept, probe, positions, range(COUNT)) in (1, 2)
    assert asked(kept, probe, positions, range(COUNT)) == 0


@pytest.mark.parametrize("room", [0, 1, 4])
def test_frames_without_room_are_computed_every_time(probe, positions, room):
    kept = KeptLight(COUNT, most_bytes=room * ONE_FRAME + ONE_FRAME // 2)
    assert asked(kept, probe, positions, range(COUNT)) == COUNT
    for _ in range(2):
        assert asked(kept, probe, positions, [5, 0, 3, 2, 1, 4]) == COUNT - room
    assert kept.light.numel() * 8 <= room * ONE_FRAME


@pytest.mark.parametrize("fitted", [{}, {"refine_probe": True}, {"refine_positions": True}])
@pytest.mark.rule("REF-068")
def test_a_refinement_is_the_same_with_room_and_without(scan_of, monkeypatch, fitted):
    scan = scan_of("natural")
    results = []
    for most in (1 << 28, scan.N**2 * 8 * 10, 0):
        monkeypatch.setattr(kept_light.KeptLight.__init__, "__defaults__", (most,))
        results.append(refine(scan, epochs=12, sub_pixel="probe", warm_up=3, **fitted))
    for other in results[1:]:
        # Twelve epochs multiply rounding errors of 1e-7.
        assert results[0].residuals == pytest.approx(other.residuals, rel=1e-4)
        lit = other.object.weight > 0.1 * other.object.weight.max()
        assert np.abs(results[0].object.object - other.object.object)[lit].max() < 1e-3
