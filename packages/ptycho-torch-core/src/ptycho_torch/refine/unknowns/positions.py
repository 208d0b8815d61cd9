r"""The position of every frame, their mean kept: with the object it forms one unknown too many.

Beside a probe that varies there is almost another one. A beam whose astigmatism grows along the scan shows an
object that is stretched in y and squeezed in x by an amount that grows with it, where its wavefront is curved
(the scaling theorem of Fresnel holograms, for each axis). So positions that moved along quadratic
functions of the place, as :math:`(y^2 - x^2, -2yx)`, with the object bent like them, are hardly seen in any
frame. They go there in the first epochs, when they make up for what the probe does not do yet, and come back
slowly. So for 30 epochs what is a polynomial of degree two of the place stays as it was stated.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from ptycho_torch.refine.unknowns.base import Chunk, Published, Setup, Step, Unknown

__all__ = ["POSITION_MARGIN_PX", "PositionsUnknown"]

POSITION_MARGIN_PX = 16
"""Pixels of canvas around the scan for positions that move."""
_LARGEST_MOVE_PX = 0.5
_EPOCHS_FROM_FLAT = 5
_EPOCHS_AFTER_GEOMETRY = 15
"""From a flat start where frames move together: what they have in common goes first."""
_EPOCHS_UNBENT = 30
_DEGREE = 2
_INDEPENDENT = 1e-6


class PositionsUnknown(Unknown):
    """float64, ``(n, 2)``, ``[y, x]`` in px."""

    moves_light = True

    def __init__(self, value: Tensor, *, fitted: bool, first_epoch: int = 0, unbent_epochs: int = 0) -> None:
        super().__init__(value, fitted=fitted, first_epoch=first_epoch)
        self.start = value.clone()
        self.moves: list[Tensor] = []
        self.unbent_epochs, self.is_unbent = unbent_epochs, False
        self.in_common = _in_common(value) if unbent_epochs else value[:, :0]

    @property
    def moves_places(self) -> bool:
        """They are the places."""
        return True

    @classmethod
    def of(cls, setup: Setup) -> Self:
        """The positions of the scan; fitted if ``refine_positions`` says so."""
        config = setup.config
        moves = config.refine_geometry or config.refine_drift
        return cls(
            torch.from_numpy(setup.scan.positions.copy()).to(setup.device),
            fitted=config.refine_positions,
            first_epoch=setup.first_epoch(_EPOCHS_AFTER_GEOMETRY if moves else _EPOCHS_FROM_FLAT),
            unbent_epochs=setup.first_epoch(_EPOCHS_UNBENT) if config.probe_variation else 0,
        )

    def begin(self, epoch: int) -> None:
        """Start an epoch from where momentum carried the last one."""
        super().begin(epoch)
        self.is_unbent = epoch < self.unbent_epochs

    def start_batch(self) -> None:
        """Forget the moves of the last batch."""
        self.moves = []

    def add_patches(self, chunk: Chunk) -> None:
        """Moves of the frames of a chunk."""
        products = chunk.arithmetic.slope_products(chunk.image, chunk.where, chunk.light, chunk.wave)
        self.moves.append(position_moves(products))

    def step(self, step: Step) -> None:
        """Move the frames of the batch, none farther from its start than the canvas allows."""
        moves = torch.zeros_like(self.value)
        if self.moves:
            moves[torch.from_numpy(step.mine)] = torch.cat(self.moves)
        step.processes.sum(moves)
        self.value += moves
        limit = POSITION_MARGIN_PX - 2.0
        self.value = torch.clamp(self.value, self.start - limit, self.start + limit)

    def settle(self) -> None:
        """Keep the mean, which the object would follow, and at first all that bends the object."""
        moves = self.value - self.start
        self.value -= moves.mean(dim=0)
        if self.is_unbent:
            self.value -= self.in_common @ (self.in_common.T @ moves)

    def publish(self, result: Published) -> None:
        """The positions."""
        result.positions = self.now


def _in_common(positions: Tensor) -> Tensor:
    """Orthonormal columns ``(n, k)`` that span the polynomials of positions ``(n, 2)``, but no constant."""
    place = positions.cpu() - positions.cpu().mean(dim=0)
    y, x = (place / place.std().clamp(min=1.0)).T
    columns = torch.stack(
        [y**a * x**b for a in range(_DEGREE + 1) for b in range(_DEGREE + 1 - a) if a + b], dim=1
    )
    left, sizes, _ = torch.linalg.svd(columns - columns.mean(dim=0), full_matrices=False)
    return left[:, sizes > _INDEPENDENT * sizes[0]].to(positions.device)


def position_moves(products: Tensor) -> Tensor:
    r"""Displacements :math:`-(J^T J)^{-1} J^T \chi` with :math:`J = P\,\partial O_j/\partial(y, x)`.

    One Gauss-Newton step per frame (Odstrcil, Menzel and Guizar-Sicairos, Opt. Express 26, 3108, 2018,
    treat each axis alone).

    Parameters
    ----------
    products
        float64, ``(batch, 5)``, of :meth:`ptycho_torch.refine.arithmetic.Arithmetic.slope_products`.

    Returns
    -------
    Tensor
        float64, ``(batch, 2)``, ``[y, x]`` in px.
    """
    yy, xy, xx, towards_y, towards_x = products.unbind(dim=1)
    # A patch without structure says nothing about its position: the small term keeps it in place.
    small = 1e-2 * (yy + xx).mean() + 1e-30
    yy, xx = yy + small, xx + small
    determinant = yy * xx - xy * xy
    moves = torch.stack((xy * towards_x - xx * towards_y, xy * towards_y - yy * towards_x), dim=1)
    return (moves / determinant[:, None]).clamp(-_LARGEST_MOVE_PX, _LARGEST_MOVE_PX)
