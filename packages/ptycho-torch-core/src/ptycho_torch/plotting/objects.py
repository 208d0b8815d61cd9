"""Amplitude and phase of a stitched object."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.errors import DataError, ShapeError, fault
from ptycho_torch.plotting import style

__all__ = ["save_object_figures"]


def save_object_figures(
    directory: str | PathLike[str],
    obj: NDArray[np.complexfloating],
    weight: NDArray[np.floating] | None = None,
    origin: Sequence[float] | NDArray[np.floating] | None = None,
    *,
    pixel_size: float | None = None,
) -> None:
    """Write ``amplitude.png`` and ``phase.png`` of a stitched object.

    The field is cut to the covered area. The phase is shown against the plane wave that fits it best, because
    constant and ramp are free in diffraction; the array itself keeps them.

    Parameters
    ----------
    directory
        Existing directory.
    obj
        (height, width) complex.
    weight
        (height, width) real: coverage; pixels below a tenth of its positive median are grey. None: all
        covered.
    origin
        [y, x], px: array index = coordinate + origin; the axes show coordinates. None: zeros.
    pixel_size
        Length of an object pixel, m. None: axes in px.

    Raises
    ------
    ShapeError
        When the arrays do not fit together.
    DataError
        When ``pixel_size`` is not a positive length, or the object is not finite where it is covered.
    """
    obj = style.checked_image("object", obj)
    covered = style.covered_pixels(weight, obj.shape)
    if not np.isfinite(obj[covered]).all():
        raise DataError(fault("object", "expected finite values where it is covered, got NaN or inf"))
    start = np.zeros(2) if origin is None else np.asarray(origin, dtype=np.float64)
    if start.shape != (2,):
        raise ShapeError("origin", "two numbers [y, x]", start.shape)
    rows, columns = style.covered_area(covered)
    field, covered = obj[rows, columns].astype(np.complex128), covered[rows, columns]
    extent, unit = style.extent_of(rows, columns, field.shape, start, pixel_size)

    amplitude = np.abs(np.where(covered, field, 0))
    phase = style.levelled_phase(np.where(covered, field, 0), covered)
    phase_map, phase_limits = style.phase_style(phase[covered])
    for name, values, cmap, limits, label in (
        ("amplitude", amplitude, style.AMPLITUDE_MAP, style.value_limits(amplitude[covered]), "amplitude"),
        ("phase", phase, phase_map, phase_limits, "phase, constant and ramp removed (rad)"),
    ):
        height_in = float(np.clip(5.0 * field.shape[0] / field.shape[1] + 0.3, 2.0, 12.0))
        figure = style.new_figure(6.0, height_in, single_image=True)
        axes = figure.subplots()
        image = style.show_image(axes, values, covered, cmap, limits, extent)
        axes.set_xlabel(f"x ({unit})", fontsize=9)
        axes.set_ylabel(f"y ({unit})", fontsize=9)
        style.add_colorbar(figure, image, axes, label)
        style.write_figure(figure, Path(directory) / f"{name}.png")
