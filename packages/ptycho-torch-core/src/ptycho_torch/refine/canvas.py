"""The array that the object is refined on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_torch.errors import ShapeError
from ptycho_torch.reassembly import CanvasGeometry, StitchedObject, canvas_for

__all__ = ["WorkingCanvas"]

_BLOCK = 128


@dataclass(frozen=True, kw_only=True)
class WorkingCanvas:
    """Canvas of a scan with a margin for interpolation and for positions that move.

    Attributes
    ----------
    geometry
        Canvas without the margin.
    margin_px
        Pixels added on every side.
    other
        Another part of the array that is the canvas of the result; None: that without the margin.
    """

    geometry: CanvasGeometry
    margin_px: int
    other: CanvasGeometry | None = None

    @classmethod
    def around(cls, positions: npt.NDArray[np.float64], n_pixels: int, margin_px: int) -> WorkingCanvas:
        """Smallest canvas for positions ``(n, 2)``, with a margin of at least one pixel."""
        return cls(geometry=canvas_for(positions, n_pixels), margin_px=margin_px)

    def with_room(self, positions: npt.NDArray[np.float64], n_pixels: int) -> WorkingCanvas:
        """This canvas if it holds patches at ``positions`` (n, 2); else a larger one, by whole blocks.

        Growing in blocks, a scan that goes on has its canvas copied once in many frames.
        """
        wanted = canvas_for(positions, n_pixels)
        own = self.geometry
        before = np.subtract(wanted.origin, own.origin)
        after = np.subtract(wanted.shape, wanted.origin) - np.subtract(own.shape, own.origin)
        missing = np.maximum(np.array([before, after]), 0)
        grow = np.ceil(missing / _BLOCK) * _BLOCK
        if not grow.any():
            return self
        height, width = (np.array(own.shape) + grow.sum(axis=0)).astype(int).tolist()
        y, x = (np.array(own.origin) + grow[0]).tolist()
        return replace(self, geometry=CanvasGeometry(shape=(height, width), origin=(y, x)))

    def carried(self, values: Tensor, other: WorkingCanvas) -> Tensor:
        """Values ``(height, width)`` of another canvas at their place on this one, zero beside them.

        This canvas holds the other one whole.
        """
        result = values.new_zeros(self.shape)
        top, left = np.rint(self.origin - other.origin).astype(int).tolist()
        result[top : top + values.shape[0], left : left + values.shape[1]] = values
        return result

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` with the margin; px."""
        height, width = self.geometry.shape
        return height + 2 * self.margin_px, width + 2 * self.margin_px

    @property
    def origin(self) -> npt.NDArray[np.float64]:
        """(2,) float64 ``[y, x]``: array index = coordinate + origin."""
        return np.array(self.geometry.origin, dtype=np.float64) + self.margin_px

    def lay(
        self, start: StitchedObject | None, elsewhere: npt.NDArray[np.complex128] | None = None
    ) -> npt.NDArray[np.complex128]:
        """Starting values: the given object where it has weight, and something else elsewhere.

        Parameters
        ----------
        start
            The object; None: there is none.
        elsewhere
            Complex128, of this canvas; one if left out.

        Raises
        ------
        ShapeError
            If arrays of the object do not fit each other, it holds NaN or infinity, it lies a fraction
            of a pixel beside the canvas, or it shares no pixel with it.
        """
        values = np.ones(self.shape, dtype=np.complex128) if elsewhere is None else elsewhere.copy()
        if start is None:
            return values
        image = np.asarray(start.object)
        if image.ndim != 2 or start.weight.shape != image.shape or np.shape(start.origin) != (2,):
            shapes = (image.shape, start.weight.shape, np.shape(start.origin))
            raise ShapeError("start", "object and weight (height, width), origin (2,)", shapes)
        if not np.isfinite(image).all():
            raise ShapeError("start", "finite values", "NaN or infinity", "refine from another object")
        shift = self.origin - start.origin
        whole = np.rint(shift).astype(int)
        if np.abs(shift - whole).max() > 1e-6:
            hint = "resample the object to whole-pixel coordinates"
            raise ShapeError("start", "an origin in whole pixels", start.origin.tolist(), hint)
        here, there = zip(
            *(
                _overlap(own, other, int(by))
                for own, other, by in zip(self.shape, image.shape, whole, strict=True)
            ),
            strict=True,
        )
        part, covered = image[there], np.asarray(start.weight[there] > 0)
        if not covered.any():
            hint = "start and scan must share one coordinate system"
            raise ShapeError("start", f"an object that meets the canvas {self.geometry}", start.origin, hint)
        # In place: the canvas of a large scan is not held twice.
        np.copyto(values[here], part, where=covered)
        return values

    @property
    def shown(self) -> CanvasGeometry:
        """Canvas of the result."""
        return self.geometry if self.other is None else self.other

    def showing(self, positions: npt.NDArray[np.float64], n_pixels: int) -> WorkingCanvas:
        """The same array, whose result is the smallest canvas for positions ``(n, 2)`` that lie on it."""
        return replace(self, other=canvas_for(positions, n_pixels))

    def crop(self, image: Tensor) -> npt.NDArray[np.generic]:
        """The canvas of the result, as a NumPy array."""
        top, left = np.rint(self.origin - self.shown.origin).astype(int).tolist()
        height, width = self.shown.shape
        part = image[top : top + height, left : left + width]
        cropped: npt.NDArray[np.generic] = part.cpu().contiguous().numpy()
        return cropped

    def origin_tensor(self, device: torch.device) -> Tensor:
        """Origin as float64, ``(2,)``."""
        return torch.from_numpy(self.origin).to(device)


def _overlap(own: int, other: int, shift: int) -> tuple[slice, slice]:
    """Slices of two axes that share pixels; index on the first = index on the second + shift."""
    first, last = max(0, shift), max(0, min(own, other + shift))
    first = min(first, last)
    return slice(first, last), slice(first - shift, last - shift) if last > first else slice(0, 0)
