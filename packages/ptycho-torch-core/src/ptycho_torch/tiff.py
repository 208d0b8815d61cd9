"""Images of an object as TIFF files of 32-bit numbers, with the size of a pixel, for other programs."""

from __future__ import annotations

import json
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.atomic import atomic_write
from ptycho_torch.errors import ShapeError

__all__ = ["save_tiff"]


def save_tiff(
    path: str | PathLike[str],
    values: NDArray[np.floating],
    *,
    quantity: str,
    unit: str,
    pixel_m: tuple[float, float] | None = None,
    **facts: Any,
) -> None:
    """Write an image as float32, complete or not at all.

    The size of a pixel stands in the tags of the resolution, in pixels per centimetre, and in metres with
    everything else in the description, which is JSON.

    Parameters
    ----------
    path
        File to create or replace.
    values
        (height, width) real; NaN where nothing is known.
    quantity, unit
        What the numbers are, and in which unit.
    pixel_m
        Height and width of a pixel, m; None where they are not known.
    **facts
        Further entries of the description, plain data.

    Raises
    ------
    ShapeError
        If the image has another rank.
    """
    import tifffile

    if np.ndim(values) != 2:
        raise ShapeError("values", "(height, width)", np.shape(values))
    told = {
        "quantity": quantity,
        "unit": unit,
        "pixel_m": None if pixel_m is None else list(pixel_m),
        **facts,
    }
    scale: dict[str, Any] = {}
    if pixel_m is not None:
        height, width = pixel_m
        scale = {"resolution": (0.01 / width, 0.01 / height), "resolutionunit": "CENTIMETER"}
    with atomic_write(path) as stream:
        tifffile.imwrite(
            stream,
            np.asarray(values, dtype=np.float32),
            photometric="minisblack",
            description=json.dumps(told),
            metadata=None,
            software="ptycho-torch",
            **scale,
        )
