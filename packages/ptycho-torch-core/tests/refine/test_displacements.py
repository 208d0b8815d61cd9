"""Functions of the frames that move them together, and the object that moves along."""

from __future__ import annotations

import numpy as np
import torch

from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.displacements import displacements_of, taken_along
from ptycho_torch.refine.robust import robust_fit, robust_step


def raster(side=10):
    grid = np.mgrid[:side, :side].reshape(2, -1).T * 4.0
    return grid + np.random.default_rng(3).uniform(-1, 1, grid.shape) + 20


def test_functions_have_no_common_shift_and_drifts_no_affine_part():
    positions = raster()
    found = displacements_of(positions, affine=True, drift=True)
    values = found.values
    assert found.n_affine == 2
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found.affine.T @ found.drift, 0, atol=1e-9)
    np.testing.assert_allclose(
        found.drift.T @ found.drift / len(positions), np.eye(found.drift.shape[1]), atol=1e-9
    )
    alone = displacements_of(positions, affine=False, drift=True)
    assert alone.n_affine == 0
    assert np.abs(alone.drift.T @ found.affine).max() > 10


def test_over_the_object_they_are_the_mean_of_the_frames_there():
    positions = raster()
    canvas = WorkingCanvas.around(positions, 16, 2)
    found = displacements_of(positions, affine=True, drift=True)
    y, x = np.mgrid[:16, :16] - 8
    fields = found.fields(canvas, np.exp(-(y**2 + x**2) / 8.0))
    assert fields.shape == (found.values.shape[1], *canvas.shape)
    at = np.rint(positions + canvas.origin).astype(int)
    middle = (np.abs(positions - found.middle) < 10).all(axis=1)
    rows, columns = at[middle].T
    np.testing.assert_allclose(fields[:2, rows, columns].T, found.affine[middle], atol=0.6 / found.reach_px)
    # The slowest drift changes little from row to row.
    assert np.abs(fields[2, rows, columns] - found.drift[middle, 0]).max() < 0.5


def test_an_image_moves_by_what_is_said():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    image = torch.polar(1 + 0.3 * torch.sin(y / 5), torch.cos(x / 6))
    moved = torch.stack((torch.full_like(y, 1.5), torch.full_like(x, -2.25)))
    expected = torch.polar(1 + 0.3 * torch.sin((y - 1.5) / 5), torch.cos((x + 2.25) / 6))
    inner = (slice(8, -8), slice(8, -8))
    torch.testing.assert_close(taken_along(image, moved)[inner], expected[inner], atol=2e-3, rtol=0)


def test_wrong_frames_do_not_decide_and_silent_ones_say_nothing():
    generator = torch.Generator().manual_seed(2)
    truth = torch.tensor([0.4, -0.2, 0.1], dtype=torch.float64)
    roots = torch.randn(60, 5, 3, dtype=torch.float64, generator=generator)
    stiffness = roots.transpose(1, 2) @ roots
    pull = -(stiffness @ truth)
    pull[:6] += 30
    pull[50:], stiffness[50:] = 0, 0
    assert (robust_step(pull, stiffness) - truth).abs().max() < 0.02
    assert (robust_step(pull[50:], stiffness[50:]) == 0).all()


def test_a_common_part_is_found_among_frames_that_went_astray():
    generator = torch.Generator().manual_seed(4)
    functions = torch.randn(80, 2, dtype=torch.float64, generator=generator)
    truth = torch.tensor([[0.5, 0.1], [-0.3, 0.2]], dtype=torch.float64)
    values = functions @ truth + 3
    values[::10] += 20
    assert (robust_fit(values, functions) - truth).abs().max() < 0.05
