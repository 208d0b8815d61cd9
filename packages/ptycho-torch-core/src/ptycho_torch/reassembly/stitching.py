"""From overlapping patches to one object.

.. math:: O(q) = \\frac{\\sum_j w(q - r_j)\\, e^{i\\varphi_j} O_j(q - r_j)}{\\sum_j w(q - r_j)}

Patches stream through a canvas whose memory does not grow with their number. Numerator and
denominator are resampled by the same operator, so an object cut into patches comes back as it was
wherever the weight is positive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ptycho_torch.control import Progress, RunCancelled, ShouldStop, stop_if_asked
from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.intensity import squared_modulus
from ptycho_torch.physics.placement import WholePixel
from ptycho_torch.reassembly.kept import KeptPatches
from ptycho_torch.reassembly.resampling import ResampledPatches, Resampler
from ptycho_torch.reassembly.team import ALONE, Team
from ptycho_torch.types import ComplexPatches, Positions

__all__ = ["Canvas", "CanvasGeometry", "StitchedObject", "canvas_for", "phases_towards", "stitch"]

_SETTLED_RAD = 1e-2
_FEWEST_PATCHES = 1.5


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
    spread
        Float32, ``(height, width)``: standard deviation of the patches that meet at a pixel about their mean,
        NaN where hardly more than one does; None of an object that no patches were stitched to. Patches that
        disagree are a warning. Patches that agree may all be wrong: it is no error bar.
    """

    object: np.ndarray = field(repr=False)
    weight: np.ndarray = field(repr=False)
    origin: np.ndarray
    spread: np.ndarray | None = field(default=None, repr=False)


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
    """Running sums of weighted patches, of their squares, of weights, and of squared weights.

    Parameters
    ----------
    geometry
        From :func:`canvas_for`.
    weight
        Real, ``(n, n)``: weight of the middle pixels of each patch, zero or more.
    device
        Where the sums live.

    Raises
    ------
    ShapeError
        If the weight is not ``(n, n)``.
    """

    def __init__(
        self, geometry: CanvasGeometry, weight: Tensor, *, device: torch.device | str = "cpu"
    ) -> None:
        if weight.ndim != 2 or weight.shape[0] != weight.shape[1]:
            raise ShapeError("weight", "(N, N)", tuple(weight.shape))
        self.geometry = geometry
        self.origin = torch.tensor(geometry.origin, dtype=torch.float64)
        weight = weight.detach().to(device=device, dtype=torch.float32)
        self._resampler = Resampler(weight, geometry.shape, self.origin)
        self.numerator = torch.zeros(geometry.shape, dtype=torch.complex64, device=device)
        self.denominator, self.squared_weights, self.squares = torch.zeros(
            (3, *geometry.shape), device=device
        )

    def resample(self, patches: ComplexPatches, positions: Positions) -> ResampledPatches:
        """Bring patches ``(batch, N, N)`` at positions ``(batch, 2)``, ``[y, x]`` in px, to whole pixels.

        Raises
        ------
        ShapeError
            If a patch lies outside the canvas or shapes do not match.
        """
        return self._resampler.resample(patches, positions)

    def add(self, resampled: ResampledPatches) -> None:
        """Add patches and their weights to the sums."""
        where, weights = self._resampler.placement(resampled), self._resampler.weights(resampled)
        where.add(weights, self.denominator)
        where.add(weights.square(), self.squared_weights)
        where.add(weights * squared_modulus(resampled.values), self.squares)
        where.add(_times(weights, resampled.values), self.numerator)

    def weighted(self, resampled: ResampledPatches) -> tuple[WholePixel, Tensor]:
        """Where patches lie, and what :meth:`add` sums of them.

        Returns
        -------
        where : WholePixel
            Placement on the canvas, of patches of ``n + 1`` pixels.
        weighted : Tensor
            Complex64, ``(batch, n + 1, n + 1)``: patches times weight.
        """
        return self._resampler.placement(resampled), _times(
            self._resampler.weights(resampled), resampled.values
        )

    def mean(self) -> Tensor:
        """Weighted mean, complex ``(height, width)``; one where no weight was added."""
        covered = self.denominator > 0
        safe = torch.where(covered, self.denominator, torch.ones_like(self.denominator))
        return torch.where(covered, self.numerator / safe, torch.ones_like(self.numerator))

    def spread(self) -> Tensor:
        r"""Standard deviation of the patches about their mean, real ``(height, width)``.

        :math:`\sum w |v - \bar v|^2 / (\sum w - \sum w^2 / \sum w)`, which has no bias for patches that are
        independent. NaN where :math:`(\sum w)^2 / \sum w^2`, the number of patches that count, is below
        1.5. Turning a patch changes none of the sums.
        """
        total = self.denominator.clamp_min(torch.finfo(torch.float32).tiny)
        left = self.squares - squared_modulus(self.numerator) / total
        free = total - self.squared_weights / total
        enough = total.square() >= _FEWEST_PATCHES * self.squared_weights
        found = (left.clamp_min(0) / free.clamp_min(torch.finfo(torch.float32).tiny)).sqrt()
        return torch.where(enough & (self.denominator > 0), found, torch.nan)

    def result(self) -> StitchedObject:
        """The stitched object as NumPy arrays."""
        return StitchedObject(
            object=self.mean().cpu().numpy(),
            weight=self.denominator.cpu().numpy(),
            origin=self.origin.numpy(),
            spread=self.spread().cpu().numpy(),
        )


def stitch(
    batches: Callable[[int], Iterable[tuple[ComplexPatches, Positions]]],
    geometry: CanvasGeometry,
    weight: Tensor,
    *,
    n_kept: int = 0,
    alignment_passes: int = 50,
    device: torch.device | str = "cpu",
    processes: Team = ALONE,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> StitchedObject:
    r"""Stitch streamed patches, turning each to the phase of its neighbours.

    The phases minimise the spread of the patches about their mean. Taken alone, turning every patch
    to the current mean spreads agreement one patch further per pass; the momentum of Nesterov (1983)
    brings it across the scan in the square root of that number.

    Parameters
    ----------
    batches
        Called once per pass with the number of batches to leave out at the beginning; yields the others,
        ``(patches (batch, N, N), positions (batch, 2))``, the same in every pass.
    geometry
        Canvas of the whole scan.
    weight
        Real, ``(n, n)``, zero or more: weight of the middle ``n × n`` pixels of each patch.
    n_kept
        So many patches of the first pass are kept at most, in whole batches, and left out of later calls of
        ``batches``.
    alignment_passes
        At most this many passes after the first; 0 averages the patches as they come. The passes end when no
        phase changes by more than 0.01 rad.
    device
        Where the canvas lives.
    processes
        Those that stitch other patches of the same object. Their canvases are added in every pass, so
        all turn their patches against the same mean and receive the same object.
    progress
        Called with alignment passes done and how many there may be; the last call says all, however early
        the phases had settled.
    should_stop
        Asked with every batch of every pass; its first true answer ends the work, in all processes.

    Returns
    -------
    StitchedObject

    Raises
    ------
    RunCancelled
        When ``should_stop`` said so.
    """
    canvas = Canvas(geometry, weight, device=device)
    source = _Source(canvas, batches, n_kept, processes, should_stop)
    for resampled in source.passed():
        canvas.add(resampled)
    for sums in (canvas.numerator, canvas.denominator, canvas.squared_weights, canvas.squares):
        processes.sum(sums)
    alignment = _Alignment(canvas, source.n_patches)
    for step in range(alignment_passes):
        moved = alignment.turn(source.passed(), momentum=step / (step + 3))
        processes.sum(canvas.numerator)
        settled = processes.largest(moved, canvas.numerator.device) < _SETTLED_RAD
        if progress is not None:
            progress(alignment_passes if settled else step + 1, alignment_passes)
        if settled:
            break
    return canvas.result()


class _Source:
    """Patches at whole pixels, batch by batch; the first batches are kept from the first pass on."""

    def __init__(
        self,
        canvas: Canvas,
        batches: Callable[[int], Iterable[tuple[ComplexPatches, Positions]]],
        n_kept: int,
        processes: Team,
        should_stop: ShouldStop | None,
    ) -> None:
        self.canvas = canvas
        self.n_patches = 0
        self._batches = batches
        self._processes = processes
        self._should_stop = should_stop
        self._anybody_asks = self._largest(should_stop is not None) > 0
        self._kept = KeptPatches(n_kept)

    def passed(self) -> Iterator[ResampledPatches]:
        """All patches once."""
        return self._in_step(self._placed())

    def _in_step(self, batches: Iterator[ResampledPatches]) -> Iterator[ResampledPatches]:
        """Batches of this process; with each of them all processes agree to go on."""
        if self._processes.count == 1 or not self._anybody_asks:
            for batch in batches:
                stop_if_asked(self._should_stop, "reconstruction")
                yield batch
            return
        go_on = True
        while go_on:
            # A process that stopped alone, or asked less often, would leave the others waiting for it.
            own = next(batches, None)
            wanted = self._should_stop is not None and self._should_stop()
            said = self._largest(2 if wanted else own is not None)
            if said == 2:
                raise RunCancelled("reconstruction")
            go_on = said > 0
            if own is not None:
                yield own

    def _largest(self, value: float) -> float:
        return self._processes.largest(float(value), self.canvas.numerator.device)

    def _placed(self) -> Iterator[ResampledPatches]:
        first = self.n_patches == 0
        kept = len(self._kept)
        for number in range(kept):
            yield self._kept[number]
        if not first and self._kept.n_patches == self.n_patches:
            return
        for patches, positions in self._batches(kept):
            resampled = self.canvas.resample(patches, positions)
            if first:
                self.n_patches += len(resampled)
                self._kept.offer(resampled)
            yield resampled


class _Alignment:
    """Phases of all patches, and how they last changed."""

    def __init__(self, canvas: Canvas, n_patches: int) -> None:
        self.canvas = canvas
        self._fitted = torch.zeros(n_patches, device=canvas.numerator.device)
        self._used = torch.zeros_like(self._fitted)

    def turn(self, batches: Iterable[ResampledPatches], *, momentum: float) -> float:
        """Turn patches towards the mean of the canvas and sum them anew; the largest change, in rad."""
        canvas, mean = self.canvas, self.canvas.mean()
        canvas.numerator.zero_()
        largest, start = torch.zeros_like(self._fitted[:1]), 0
        for resampled in batches:
            part = slice(start, start + len(resampled))
            where, weighted = canvas.weighted(resampled)
            fitted = phases_towards(where.cut(mean), weighted)
            turn = fitted + momentum * _wrapped(fitted - self._fitted[part])
            largest = torch.maximum(largest, _wrapped(turn - self._used[part]).abs().max())
            self._fitted[part], self._used[part] = fitted, turn
            where.add(weighted * torch.polar(torch.ones_like(turn), turn)[:, None, None], canvas.numerator)
            start = part.stop
        return float(largest)


def phases_towards(seen: Tensor, weighted: Tensor) -> Tensor:
    """Angles that turn each patch to the phase of what an object shows at its place.

    The global phase of a patch is not measured. The least-squares angle is that of the weighted inner product
    of the patch with the object; zero where the product is.

    Parameters
    ----------
    seen
        Complex, ``(batch, side, side)``: pixels of the object.
    weighted
        Complex, of that shape: patches times weight.

    Returns
    -------
    Tensor
        Real, ``(batch,)``, in rad.
    """
    return torch.linalg.vecdot(weighted.flatten(1), seen.flatten(1)).angle()


def _times(weights: Tensor, values: Tensor) -> Tensor:
    """Real times complex, without making the real numbers complex first."""
    return torch.view_as_complex(torch.view_as_real(values) * weights[..., None])


def _wrapped(phase: Tensor) -> Tensor:
    """Phase differences in [-pi, pi)."""
    return torch.remainder(phase + math.pi, 2 * math.pi) - math.pi
