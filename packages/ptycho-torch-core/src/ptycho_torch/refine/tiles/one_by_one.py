"""Refine the tiles of a scan one after the other, and join them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from ptycho_config import RefineConfig, evolve
from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.reassembly import StitchedObject, canvas_for
from ptycho_torch.refine.frames import mean_counts
from ptycho_torch.refine.residual import forward_residual
from ptycho_torch.refine.result import RefinementInterrupted, RefineResult
from ptycho_torch.refine.tiles.joining import JoinedTiles
from ptycho_torch.refine.tiles.layout import Tile, tiles_of

__all__ = ["refine_in_tiles"]

Solve = Callable[[Scan, StitchedObject | None, RefineConfig, Progress | None], RefineResult]


def refine_in_tiles(
    scan: Scan,
    start: StitchedObject | None,
    config: RefineConfig,
    *,
    solve: Solve,
    progress: Progress | None,
    device: torch.device,
) -> RefineResult:
    """Refine a scan in tiles, of which one is in memory at a time.

    A probe that is to be fitted is fitted on the tile with the most counts, which comes first; the rest has
    it as it is. So nothing but a phase is left to tell tiles apart.

    Parameters
    ----------
    scan, start, config, progress, device
        As for :func:`ptycho_torch.refine.refine`; ``tile_px`` is set.
    solve
        Refines one tile.

    Raises
    ------
    RefinementInterrupted
        On Ctrl-C, with all tiles so far; where none of them ended an epoch, a plain KeyboardInterrupt.
    """
    assert config.tile_px is not None
    tiles = tiles_of(scan.positions, scan.N, config.tile_px)
    ordered = _ordered(tiles, _brightest(scan, tiles))
    whole = mean_counts(scan)
    settings = evolve(config, tile_px=None)
    joined: JoinedTiles | None = None
    results: list[RefineResult] = []
    lit = scan
    interrupted = False
    for number, tile in enumerate(ordered):
        part = lit.take(tile.frames)
        try:
            result = solve(part, _met(start, part), settings, _counted(progress, number, len(tiles)))
        except RefinementInterrupted as stop:
            result, interrupted = stop.result, True
        except KeyboardInterrupt:
            if not results:
                raise
            interrupted = True
            break
        if joined is None:
            scale = result.intensity_scale * whole / mean_counts(part)
            joined = JoinedTiles(canvas_for(scan.positions, scan.N), scale)
        joined.add(tile, result)
        # The arrays of a tile go before those of the next one come, also those that refer to each other.
        result = replace(result, object=_EMPTY, error_bars=None)
        results.append(result)
        gc.collect()
        if interrupted:
            break
        if config.refine_probe:
            lit = replace(scan, probe=result.probe)
            settings = evolve(settings, refine_probe=False, probe_modes=None, probe_support=None)
    assert joined is not None
    made = _told(scan, ordered, results, joined, device)
    if interrupted:
        raise RefinementInterrupted(made)
    return made


_EMPTY = StitchedObject(
    object=np.zeros((0, 0), np.complex64), weight=np.zeros((0, 0), np.float32), origin=np.zeros(2)
)


def _brightest(scan: Scan, tiles: Sequence[Tile]) -> Tile:
    counts = scan.counts_per_frame()
    return max(tiles, key=lambda tile: float(counts[tile.frames].sum()))


def _ordered(tiles: Sequence[Tile], first: Tile) -> list[Tile]:
    """Tiles from the first one outwards: each lies beside one before it, where there is one."""
    order, left = [first], [tile for tile in tiles if tile is not first]

    def distance(tile: Tile) -> int:
        return min(sum((a - b) ** 2 for a, b in zip(tile.place, one.place, strict=True)) for one in order)

    while left:
        order.append(min(left, key=distance))
        left = [tile for tile in left if tile is not order[-1]]
    return order


def _met(start: StitchedObject | None, part: Scan) -> StitchedObject | None:
    """The start, where it holds some of what the frames of a tile show."""
    if start is None:
        return None
    canvas = canvas_for(part.positions, part.N)
    first = np.rint(np.asarray(start.origin) - np.asarray(canvas.origin)).astype(int)
    rows, columns = (
        slice(max(0, begin), max(0, begin + size)) for begin, size in zip(first, canvas.shape, strict=True)
    )
    return start if (start.weight[rows, columns] > 0).any() else None


def _counted(progress: Progress | None, number: int, count: int) -> Progress | None:
    """A listener to one tile, that hears of the epochs of all of them."""
    if progress is None:
        return None
    tell = progress

    def told(done: int, total: int, measured: float | None = None, /) -> None:
        tell(number * total + done, count * total, measured)

    return told


def _told(
    scan: Scan,
    tiles: Sequence[Tile],
    results: Sequence[RefineResult],
    joined: JoinedTiles,
    device: torch.device,
) -> RefineResult:
    """The result of the whole scan."""
    made, disagreement = joined.stitched(), joined.disagreement
    index = np.full(scan.n_frames, -1, dtype=np.int64)
    residuals = np.zeros(len(results))
    for number, (tile, result) in enumerate(zip(tiles, results, strict=False)):
        index[tile.own] = number
        residuals[number] = forward_residual(
            scan.take(tile.own), made, result.probe, sub_pixel=result.sub_pixel, background=result.background,
            intensity_scale=joined.intensity_scale, device=device,
        )  # fmt: skip
    words = f"{len(results)} of {len(tiles)} refined, " if len(results) < len(tiles) else f"{len(tiles)}, "
    words += f"residuals from {residuals.min():.4f} to {residuals.max():.4f}"
    if disagreement is not None:
        words += f"; neighbours are {100 * disagreement:.2g} % (rms) apart where they overlap"
    worse = [
        f"tile {number + 1}: {result.worse}"
        for number, result in enumerate(results)
        if result.worse is not None
    ]
    first = results[0]
    return replace(
        first,
        object=made,
        positions=scan.positions.copy(),
        intensity_scale=joined.intensity_scale,
        residuals=_curve(tiles, results),
        stopped_early=any(result.stopped_early for result in results),
        others={**first.others, "tile_index": index, "tile_residual": residuals},
        error_bars=joined.error_bars(),
        said={**first.said, "tiles": words},
        worse="; ".join(worse) or None,
    )


def _curve(tiles: Sequence[Tile], results: Sequence[RefineResult]) -> tuple[float, ...]:
    """Residual of every epoch, on the mean over the frames of all tiles; one that ended stays as it was."""
    length = max(result.n_epochs for result in results)
    curves = [result.residuals + (length - result.n_epochs) * result.residuals[-1:] for result in results]
    weights = [len(tile.frames) for tile, _ in zip(tiles, results, strict=False)]
    return tuple(np.average(curves, axis=0, weights=weights).tolist())
