"""Which pixels of a reconstruction and its truth may be compared.

A stitched object is only as good as its illumination. At the rim of a scan few frames contribute and the
reconstruction is free to take any value, so scores are computed where the coverage weight is a stated share
of its median, inset from the edge of that area.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ptycho_torch.errors import ShapeError

__all__ = ["COVERAGE_SHARE", "MIN_REGION_SIDE", "common_region", "coverage_region", "lit_pixels"]

#: Shortest side of a region, in pixels, that a structural similarity window of 11 pixels still describes.
MIN_REGION_SIDE = 16
COVERAGE_SHARE = 0.1
"""Share of the median positive weight that a pixel must exceed to count as covered."""


def lit_pixels(
    weight: NDArray[np.floating], shape: tuple[int, ...], share: float = COVERAGE_SHARE
) -> NDArray[np.bool_]:
    """Pixels whose weight exceeds a share of the median of the positive weights.

    Parameters
    ----------
    weight
        (height, width) real, any unit: how much illumination each pixel received.
    shape
        (height, width) of the result, px.
    share
        That share.

    Returns
    -------
    NDArray[np.bool_]
        (height, width); False everywhere without a positive weight.
    """
    positive = weight[weight > 0]
    if not positive.size:
        return np.zeros(shape, dtype=bool)
    return np.asarray(weight > share * float(np.median(positive)))


def common_region(
    shape: tuple[int, int],
    origin: Sequence[float] | NDArray[np.floating],
    other_shape: tuple[int, int],
    other_origin: Sequence[float] | NDArray[np.floating],
) -> tuple[tuple[slice, slice], tuple[slice, slice], NDArray[np.float64]]:
    """Cut two arrays to the coordinates that both cover.

    Parameters
    ----------
    shape, other_shape
        (height, width) of the two arrays, px.
    origin, other_origin
        [y, x] of each, px: array index = coordinate + origin. Fractions are allowed.

    Returns
    -------
    window, other_window
        Slices that cut equally large pieces.
    offset
        [y, x] in px, each within ±0.5: what remains of the difference of the origins after cutting at whole
        pixels. Pixel ``r`` of the other piece lies at ``r + offset`` of the first.

    Raises
    ------
    ShapeError
        When the arrays share no pixel.
    """
    difference = np.asarray(origin, dtype=np.float64) - np.asarray(other_origin, dtype=np.float64)
    whole = np.rint(difference).astype(int)
    first: list[slice] = []
    second: list[slice] = []
    for size, other_size, step in zip(shape, other_shape, whole.tolist(), strict=True):
        start = max(0, -step)
        stop = min(other_size, size - step)
        if stop <= start:
            raise ShapeError(
                "reconstruction and truth",
                "fields that overlap",
                f"shape {shape} with origin {np.asarray(origin).tolist()} and shape {other_shape} with "
                f"origin {np.asarray(other_origin).tolist()}, which share no coordinate",
                "check that array index = coordinate + origin holds for both, in pixels",
            )
        second.append(slice(start, stop))
        first.append(slice(start + step, stop + step))
    return (first[0], first[1]), (second[0], second[1]), difference - whole


def coverage_region(
    weight: NDArray[np.floating] | None,
    shape: tuple[int, int],
    *,
    coverage_share: float = COVERAGE_SHARE,
    inset_px: float = 0.0,
) -> NDArray[np.bool_]:
    """Mark the well-covered pixels.

    Parameters
    ----------
    weight
        (height, width) real, any unit: how much illumination each pixel received. None: every pixel counts.
    shape
        (height, width) of the result, px.
    coverage_share
        A pixel is covered when its weight exceeds this share of the median of the positive weights.
    inset_px
        Covered pixels nearer than this to an uncovered one, or to the border of the array, are dropped, px.

    Returns
    -------
    NDArray[np.bool_]
        (height, width).

    Raises
    ------
    ShapeError
        When fewer pixels remain than the scores need.
    """
    covered = np.ones(shape, dtype=bool) if weight is None else lit_pixels(weight, shape, coverage_share)
    region = covered
    if inset_px > 0:
        # The border of the array counts as uncovered: nothing is known beyond it.
        distance = ndimage.distance_transform_edt(np.pad(covered, 1))[1:-1, 1:-1]
        region = distance > inset_px
    sides = [int(np.ptp(np.flatnonzero(region.any(axis=axis)))) + 1 if region.any() else 0 for axis in (1, 0)]
    if min(sides) < MIN_REGION_SIDE:
        raise ShapeError(
            "well-covered region",
            f"at least {MIN_REGION_SIDE} x {MIN_REGION_SIDE} px",
            f"{int(region.sum())} pixels within {sides[0]} x {sides[1]} px, from a common field of "
            f"{shape[0]} x {shape[1]} px, an inset of {inset_px:g} px and a coverage share of "
            f"{coverage_share:g}",
            "lower probe_diameter or coverage_share, or check the origins and the weight map",
        )
    return region
