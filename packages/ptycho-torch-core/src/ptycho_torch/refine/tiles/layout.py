"""Which frames belong to which tile of a scan, and what each tile says of a pixel that several show.

The rectangle of all positions is divided into equal cores. A tile takes the frames of its core and those
beside it by no more than a frame is wide: the whole probe lies in a frame, so that every frame that lights a
pixel up to half a frame beyond the core is among them. There one tile fades into the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Tile", "tiles_of"]

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Part of a scan.

    Attributes
    ----------
    place
        Row and column among the tiles.
    frames, own
        (k,) int64, rising: rows of all its frames, and of those in its core.
    fades
        For y and x, the coordinates of the borders that it shares with another tile; -inf and inf where it is
        the outermost; px.
    reach_px
        How far beyond such a border it says something.
    """

    place: tuple[int, int]
    frames: npt.NDArray[np.int64]
    own: npt.NDArray[np.int64]
    fades: tuple[Span, Span]
    reach_px: float

    def shares(self, origin: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Share of the tile in every pixel, ``(height, width)`` from 0 to 1.

        Those of all tiles add up to one, where there is a frame in each core.

        Parameters
        ----------
        origin
            (2,) ``[y, x]``: array index = coordinate + origin.
        shape
            Of the array.
        """
        down, right = (
            self._along(np.arange(size) - start, borders)
            for size, start, borders in zip(shape, origin, self.fades, strict=True)
        )
        return down[:, None] * right

    def _along(self, places: npt.NDArray[np.float64], borders: Span) -> npt.NDArray[np.float32]:
        inside = np.minimum(places - borders[0], borders[1] - places)
        share: npt.NDArray[np.float32] = np.clip(0.5 + inside / (2 * self.reach_px), 0, 1).astype(np.float32)
        return share


def tiles_of(positions: npt.NDArray[np.float64], n_pixels: int, tile_px: int) -> list[Tile]:
    """Tiles of a scan, row by row; places without a frame have none.

    Parameters
    ----------
    positions
        (n, 2) ``[y, x]``; px.
    n_pixels
        Size of a frame: the width of the halo.
    tile_px
        Largest side of a core; at least the size of a frame; px.
    """
    low, high = positions.min(axis=0), positions.max(axis=0)
    counts = np.maximum(1, np.ceil((high - low) / tile_px)).astype(int)
    edges = [np.linspace(start, end, count + 1) for start, end, count in zip(low, high, counts, strict=True)]
    cells = np.stack(
        [np.searchsorted(edge[1:-1], at, side="right") for edge, at in zip(edges, positions.T, strict=True)]
    )
    found = []
    for place in np.ndindex(*counts.tolist()):
        own = np.flatnonzero((cells == np.array(place)[:, None]).all(axis=0))
        if not len(own):
            continue
        begins, ends = np.array([[edge[k], edge[k + 1]] for edge, k in zip(edges, place, strict=True)]).T
        near = ((positions >= begins - n_pixels) & (positions <= ends + n_pixels)).all(axis=1)
        found.append(
            Tile(
                place=(place[0], place[1]),
                frames=np.flatnonzero(near),
                own=own,
                fades=_fades(edges, place),
                reach_px=n_pixels / 2,
            )
        )
    return found


def _fades(edges: Sequence[npt.NDArray[np.float64]], place: tuple[int, ...]) -> tuple[Span, Span]:
    down, right = (
        (
            float(edge[k]) if k else -np.inf,
            float(edge[k + 1]) if k + 2 < len(edge) else np.inf,
        )
        for edge, k in zip(edges, place, strict=True)
    )
    return down, right
