"""How sure an object is, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.plotting import style

__all__ = ["save_error_bar_figure", "save_warning_map"]


def save_error_bar_figure(
    path: str | PathLike[str],
    obj: NDArray[np.complexfloating],
    sigma: NDArray[np.floating],
    null_space: NDArray[np.bool_],
    origin: NDArray[np.floating],
    *,
    pixel_size: float | None = None,
) -> None:
    """Draw the standard deviations of amplitude and phase side by side.

    Parameters
    ----------
    path
        PNG file to write; its directory exists.
    obj
        (height, width) complex.
    sigma
        (height, width): standard deviation of the complex value.
    null_space
        (height, width) bool: pixels that are drawn grey.
    origin
        [y, x], px: array index = coordinate + origin; the axes show coordinates.
    pixel_size
        Length of an object pixel, m. None: axes in px.

    Raises
    ------
    ShapeError
        When the arrays do not fit together.
    """
    obj = style.checked_image("object", obj)
    sigma = style.checked_image("sigma", sigma, obj.shape)
    seen = ~style.checked_image("null_space", null_space, obj.shape)
    rows, columns = style.covered_area(seen)
    part, seen = np.abs(obj[rows, columns]), seen[rows, columns]
    start = np.asarray(origin, dtype=np.float64)
    extent, unit = style.extent_of(rows, columns, part.shape, start, pixel_size)
    of_amplitude = np.where(seen, sigma[rows, columns], 0.0) / np.sqrt(2)
    # Beyond half a turn a phase says nothing.
    of_phase = np.minimum(of_amplitude / np.maximum(part, 1e-12), np.pi)
    panels: Sequence[tuple[str, NDArray[np.float64]]] = (
        ("standard deviation of the amplitude", of_amplitude),
        ("standard deviation of the phase (rad)", of_phase),
    )
    figure = style.new_figure(11.0, float(np.clip(5.0 * part.shape[0] / part.shape[1] + 0.3, 2.5, 12.0)))
    for axes, (label, values) in zip(figure.subplots(1, 2), panels, strict=True):
        limits = style.value_limits(values[seen])
        image = style.show_image(axes, values, seen, style.SIGMA_MAP, limits, extent)
        axes.set_xlabel(f"x ({unit})", fontsize=9)
        axes.set_ylabel(f"y ({unit})", fontsize=9)
        style.add_colorbar(figure, image, axes, label)
    style.write_figure(figure, path)


def save_warning_map(
    path: str | PathLike[str],
    spread: NDArray[np.floating],
    origin: NDArray[np.floating],
    *,
    pixel_size: float | None = None,
) -> None:
    """Draw where overlapping patches disagree.

    Parameters
    ----------
    path
        PNG file to write; its directory exists.
    spread
        (height, width): standard deviation of the patches at a pixel; NaN, drawn grey, where there is one.
    origin
        [y, x], px: array index = coordinate + origin; the axes show coordinates.
    pixel_size
        Length of an object pixel, m. None: axes in px.

    Raises
    ------
    ShapeError
        When the map is no image.
    """
    spread = style.checked_image("spread", spread)
    known = np.isfinite(spread)
    rows, columns = style.covered_area(known)
    part, known = np.where(known, spread, 0.0)[rows, columns], known[rows, columns]
    start = np.asarray(origin, dtype=np.float64)
    extent, unit = style.extent_of(rows, columns, part.shape, start, pixel_size)
    height_in = float(np.clip(5.0 * part.shape[0] / part.shape[1] + 0.3, 2.0, 12.0))
    figure = style.new_figure(6.0, height_in, single_image=True)
    axes = figure.subplots()
    image = style.show_image(axes, part, known, style.SIGMA_MAP, style.value_limits(part[known]), extent)
    axes.set_xlabel(f"x ({unit})", fontsize=9)
    axes.set_ylabel(f"y ({unit})", fontsize=9)
    style.add_colorbar(figure, image, axes, "spread of overlapping patches")
    style.write_figure(figure, path)
