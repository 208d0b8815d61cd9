"""From overlapping patches to one object.

.. math:: O(q) = \\frac{\\sum_j w(q - r_j)\\, e^{i\\varphi_j} O_j(q - r_j)}{\\sum_j w(q - r_j)}

Patches stream through a canvas whose memory does not grow with their number. Numerator and
denominator are placed by the same operator, so an object cut into patches comes back as it was
wherever the weight is positive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.control import Progress
from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.patches import extract_patches, place_patches
from ptycho_torch.reassembly.processes import ALONE, Processes
from ptycho_torch.types import ComplexPatches, Positions

__all__ = ["Canvas", "CanvasGeometry", "StitchedObject", "canvas_for", "stitch"]


@dataclass(frozen=True, kw_only=True)
class CanvasGeometry:
    """Size and place of an object array.

    Attributes
    ----------
    shape
        ``(height, width)`` in px.
    origin
        ``(y, x)`` in px: array index = coordinate + origin.
    """

    shape: tuple[int, int]
    origin: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class StitchedObject:
    """A reconstruction that can be laid over the truth without guessing.

    Attributes
    ----------
    object
        Complex64, ``(height, width)``; one where nothing was measured.
    weight
        Float32, ``(height, width)``: summed patch weights, the coverage.
    origin
        Float64, ``(2,)``, ``[y, x]``: array index = coordinate + origin.
    """

    object: np.ndarray = field(repr=False)
    weight: np.ndarray = field(repr=False)
    origin: np.ndarray


def canvas_for(positions: np.ndarray, n_pixels: int) -> CanvasGeometry:
    """Smallest canvas that holds every patch whole, on whole-pixel coordinates.

    Parameters
    ----------
    positions
        Float, ``(n, 2)``, ``[y, x]`` in px.
    n_pixels
        Side ``N`` of a patch.

    Raises
    ------
    ShapeError
        If there is no position or the array has another shape.
    """
    if positions.ndim != 2 or positions.shape[1] != 2 or len(positions) == 0:
        raise ShapeError("positions", "(n, 2) with n >= 1", positions.shape)
    half = n_pixels // 2
    low = np.floor(positions.min(axis=0)).astype(int) - half
    high = np.ceil(positions.max(axis=0)).astype(int) - half + n_pixels
    height, width = (high - low).tolist()
    return CanvasGeometry(shape=(height, width), origin=(float(-low[0]), float(-low[1])))


class Canvas:
    """Running sums of weighted patches and of weights.

    Parameters
    ----------
    geometry
        From :func:`canvas_for`.
    weight
        Real, ``(N, N)``: weight of each patch pixel, zero or more.
    device
        Where the sums live.

    Raises
    ------
    ShapeError
        If the weight is not ``(N, N)``.
    """

    def __init__(
        self, geometry: CanvasGeometry, weight: Tensor, *, device: torch.device | str = "cpu"
    ) -> None:
        if weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
            raise ShapeError("weight", "(N, N)", tuple(weight.shape))
        self.geometry = geometry
        self.weight = weight.detach().to(device=device, dtype=torch.float32)
        self.origin = torch.tensor(geometry.origin, dtype=torch.float64, device=device)
        self.numerator = torch.zeros(geometry.shape, dtype=torch.complex64, device=device)
        self.denominator = torch.zeros(geometry.shape, dtype=torch.float32, device=device)

    def add(self, patches: ComplexPatches, positions: Positions) -> None:
        """Add patches ``(batch, N, N)`` at positions ``(batch, 2)``, float64, ``[y, x]`` in px.

        Raises
        ------
        ShapeError
            If a patch lies outside the canvas or shapes do not match.
        """
        shape, side = self.geometry.shape, tuple(self.weight.shape)
        if patches.ndim != 3 or tuple(patches.shape[1:]) != side:
            raise ShapeError("patches", f"(batch, {side[0]}, {side[1]})", tuple(patches.shape))
        weights = self.weight.expand(len(patches), -1, -1)
        self.denominator += place_patches(weights, positions, shape, origin=self.origin)
        self.numerator += self._placed(patches, positions)

    def replace_patches(self, batches: Iterable[tuple[ComplexPatches, Positions]]) -> None:
        """Sum other patches at the positions whose weights the canvas holds already."""
        # The batches may be turned against the mean of this canvas, which must not change before they end.
        numerator = torch.zeros_like(self.numerator)
        for patches, positions in batches:
            numerator += self._placed(patches, positions)
        self.numerator = numerator

    def _placed(self, patches: ComplexPatches, positions: Positions) -> Tensor:
        return place_patches(patches * self.weight, positions, self.geometry.shape, origin=self.origin)

    def merge(self, other: Canvas) -> None:
        """Add the sums of another canvas of the same geometry, from another process for example.

        Raises
        ------
        ShapeError
            If the geometries differ.
        """
        if other.geometry != self.geometry:
            raise ShapeError("canvas", self.geometry, other.geometry, "build both from the whole scan")
        self.numerator += other.numerator.to(self.numerator.device)
        self.denominator += other.denominator.to(self.denominator.device)

    def mean(self) -> Tensor:
        """Weighted mean, complex ``(height, width)``; one where no weight was added."""
        covered = self.denominator > 0
        safe = torch.where(covered, self.denominator, torch.ones_like(self.denominator))
        return torch.where(covered, self.numerator / safe, torch.ones_like(self.numerator))

    def phase_factors(self, patches: ComplexPatches, positions: Positions, against: Tensor) -> Tensor:
        """Unit factors ``(batch,)`` that turn each patch to the phase of an object ``against``.

        The global phase of a patch is not measured. The least-squares factor is the phase of the
        weighted inner product of the object with the patch.
        """
        seen = extract_patches(against, positions, patches.shape[-1], origin=self.origin)
        product = (self.weight * patches.conj() * seen).sum(dim=(-2, -1))
        return torch.where(product == 0, torch.ones_like(product), torch.sgn(product))

    def result(self) -> StitchedObject:
        """The stitched object as NumPy arrays."""
        return StitchedObject(
            object=self.mean().cpu().numpy(),
            weight=self.denominator.cpu().numpy(),
            origin=self.origin.cpu().numpy(),
        )


def stitch(
    batches: Callable[[], Iterable[tuple[ComplexPatches, Positions]]],
    geometry: CanvasGeometry,
    weight: Tensor,
    *,
    alignment_passes: int = 50,
    tolerance: float = 1e-2,
    device: torch.device | str = "cpu",
    processes: Processes = ALONE,
    progress: Progress | None = None,
) -> StitchedObject:
    r"""Stitch streamed patches, turning each to the phase of its neighbours.

    The phases minimise the spread of the patches about their mean. Taken alone, turning every patch
    to the current mean spreads agreement one patch further per pass; the momentum of Nesterov (1983)
    brings it across the scan in the square root of that number.

    Parameters
    ----------
    batches
        Called once per pass; yields ``(patches (batch, N, N), positions (batch, 2))``. It must
        yield the same patches in every pass.
    geometry
        Canvas of the whole scan.
    weight
        Real, ``(N, N)``, zero or more.
    alignment_passes
        At most this many passes after the first; 0 averages the patches as they come.
    tolerance
        The passes end when no phase changes by more than this, in rad.
    device
        Where the canvas lives.
    processes
        Those that stitch other patches of the same object. Their canvases are added in every pass, so
        all turn their patches against the same mean and receive the same object.
    progress
        Called with alignment passes done and how many there may be; the last call says all, however early
        the phases had settled.

    Returns
    -------
    StitchedObject
    """
    canvas = Canvas(geometry, weight, device=device)
    for patches, positions in batches():
        canvas.add(patches, positions)
    processes.sum(canvas.numerator)
    processes.sum(canvas.denominator)
    alignment = _Alignment(canvas)
    for step in range(alignment_passes):
        canvas.replace_patches(alignment.turned(batches(), momentum=step / (step + 3)))
        processes.sum(canvas.numerator)
        settled = processes.largest(alignment.largest_turn, canvas.numerator.device) < tolerance
        if progress is not None:
            progress(alignment_passes if settled else step + 1, alignment_passes)
        if settled:
            break
    return canvas.result()


class _Alignment:
    """Phases of all patches, batch by batch, and how they last changed."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.largest_turn = 0.0
        self._fitted: list[Tensor] = []
        self._used: list[Tensor] = []

    def turned(
        self, batches: Iterable[tuple[ComplexPatches, Positions]], *, momentum: float
    ) -> Iterator[tuple[ComplexPatches, Positions]]:
        """Turn patches towards the mean that the canvas holds when the pass begins."""
        mean = self.canvas.mean()
        last, before = self._fitted, self._used
        self._fitted, self._used, self.largest_turn = [], [], 0.0
        for number, (patches, positions) in enumerate(batches):
            fitted = self.canvas.phase_factors(patches, positions, mean).angle()
            change = _wrapped(fitted - last[number]) if last else torch.zeros_like(fitted)
            turn = fitted + momentum * change
            moved = _wrapped(turn - before[number]) if before else turn
            self.largest_turn = max(self.largest_turn, float(moved.abs().max()))
            self._fitted.append(fitted)
            self._used.append(turn)
            yield patches * torch.exp(1j * turn)[:, None, None].to(patches.dtype), positions


def _wrapped(phase: Tensor) -> Tensor:
    """Phase differences in [-pi, pi)."""
    return torch.remainder(phase + math.pi, 2 * math.pi) - math.pi
