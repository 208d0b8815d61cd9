"""What every unknown has: a start, a step, momentum, and a state to go back to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_config import RefineConfig
from ptycho_torch.refine import unknowns
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.unknowns import ObjectUnknown, PositionsUnknown, ProbeUnknown, Unknown


class Doses(Unknown):
    """Intensity of every frame as a share of the mean: an unknown that acts on the light."""

    is_factor = False
    moves_light = True

    @classmethod
    def of(cls, setup):
        doses = torch.ones(setup.scan.n_frames, dtype=torch.float64, device=setup.device)
        return cls(doses, fitted=True, first_epoch=0)

    def lit(self, light, frames):
        return light * self._roots(frames, light)

    def gathered_light(self, waves, frames):
        return waves * self._roots(frames, waves)

    def _roots(self, frames, like):
        return self.value[torch.from_numpy(frames)].sqrt().to(like.real.dtype)[:, None, None, None]

    def start_batch(self):
        self.moves = []

    def add_wave(self, chunk):
        power = chunk.field.abs().square().sum(dim=1)
        self.moves.append((chunk.weight * power).sum(dim=(1, 2)) / power.sum(dim=(1, 2)))

    def step(self, step):
        moves = torch.zeros_like(self.value)
        moves[torch.from_numpy(step.mine)] = torch.cat(self.moves).double()
        self.value *= 1 - step.processes.sum(moves)

    def settle(self):
        self.value /= self.value.mean()

    def publish(self, result):
        result.others["dose"] = self.now.cpu().numpy()


@pytest.fixture
def uneven(scan_of, rng):
    """A scan whose frames got between half and twice the light, and the doses."""
    scan = scan_of("natural", noise=False)
    doses = rng.uniform(0.5, 2.0, scan.n_frames)
    doses /= doses.mean()
    frames = (scan.diffraction * doses[:, None, None]).astype(np.float32)
    return replace(scan, diffraction=frames), doses


def _refined(scan, config):
    iteration = Iteration(scan, None, config, device=torch.device("cpu"), dtype=torch.complex64)
    with torch.no_grad():
        residuals = [iteration.run_epoch(epoch, 1).residual for epoch in range(40)]
    return iteration.result(residuals, stopped=False)


def test_another_unknown_is_a_class_and_takes_part_in_the_model(uneven, monkeypatch):
    scan, doses = uneven
    config = RefineConfig()
    without = _refined(scan, config)
    monkeypatch.setattr(unknowns, "_other_kinds", lambda: [Doses])
    found = _refined(scan, config)
    assert dict(without.others) == {}
    assert found.residuals[-1] < 0.3 * without.residuals[-1]
    assert np.corrcoef(found.others["dose"], doses)[0, 1] > 0.9


def test_the_light_of_an_unknown_and_its_gathering_are_adjoint(generator, monkeypatch):
    doses = Doses(1 + torch.rand(5, dtype=torch.float64, generator=generator), fitted=True, first_epoch=0)
    light = torch.randn(5, 2, 8, 8, dtype=torch.complex128, generator=generator)
    waves = torch.randn(5, 2, 8, 8, dtype=torch.complex128, generator=generator)
    frames = np.arange(5)
    left = torch.vdot(doses.lit(light, frames).flatten(), waves.flatten())
    right = torch.vdot(light.flatten(), doses.gathered_light(waves, frames).flatten())
    torch.testing.assert_close(left, right)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


def _iteration(scan, **settings):
    config = RefineConfig(**settings)
    return Iteration(scan, None, config, device=torch.device("cpu"), dtype=torch.complex64)


def test_unknowns_begin_one_after_the_other(scan_of):
    scan = scan_of()
    iteration = _iteration(scan, refine_probe=True, refine_positions=True)
    begun = {}
    for epoch in range(7):
        for unknown in iteration.unknowns:
            unknown.begin(epoch)
            if unknown.moving:
                begun.setdefault(type(unknown), epoch)
    assert begun == {ObjectUnknown: 0, ProbeUnknown: 2, PositionsUnknown: 5}
    assert iteration.last_start == 5
    stated = _iteration(scan, refine_probe=True, refine_positions=True, refine_warm_up=3)
    assert stated.last_start == 3
    assert _iteration(scan).last_start == 0


def test_an_epoch_that_does_not_end_leaves_no_trace(scan_of, monkeypatch):
    iteration = _iteration(scan_of(), refine_probe=True, refine_positions=True, refine_warm_up=0)
    with torch.no_grad():
        iteration.run_epoch(0, 2)
        before = iteration.result([1.0], stopped=True)
        monkeypatch.setattr(iteration, "_accelerate", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            iteration.run_epoch(1, 2)
        after = iteration.result([1.0], stopped=True)
    for name in ("probe", "positions"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_array_equal(after.object.object, before.object.object)
    np.testing.assert_array_equal(after.object.weight, before.object.weight)


def _interrupt(*_):
    raise KeyboardInterrupt


def test_momentum_carries_the_next_start_ahead():
    unknown = PositionsUnknown(torch.zeros(3, 2, dtype=torch.float64), fitted=True)
    unknown.begin(0)
    unknown.value += 2.0
    unknown.advance(0.5)
    assert (unknown.now == 2).all()
    assert (unknown.ahead == 3).all()
    unknown.begin(1)
    assert (unknown.value == 3).all()


def test_every_file_of_the_folder_is_looked_at(tmp_path, monkeypatch):
    (tmp_path / "toy_unknown.py").write_text(
        "from ptycho_torch.refine.unknowns.base import Unknown\n\n\n"
        "class Toy(Unknown):\n    of = None\n    step = None\n    publish = None\n"
    )
    own = [kind.__name__ for kind in unknowns._other_kinds()]
    assert own == ["BackgroundUnknown", "DoseUnknown", "GeometryUnknown", "SlicesUnknown"]
    monkeypatch.setattr(unknowns, "__path__", [*unknowns.__path__, str(tmp_path)])
    assert [kind.__name__ for kind in unknowns._other_kinds()] == [*own, "Toy"]
