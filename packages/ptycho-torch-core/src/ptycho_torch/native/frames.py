"""Arithmetic on frames around their Fourier transforms, on the CPU in single precision."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Protocol, TypeGuard

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ptycho_torch.native.building import load

__all__ = ["Counts", "FrameKernels", "Places", "frame_kernels"]

_POINTER, _WHOLE, _REAL, _CHOICE = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
_PLACES = (_POINTER, _WHOLE, _POINTER, _POINTER)
_SIZES = (_WHOLE, _WHOLE, _WHOLE)
_SIGNATURES = {
    "exit_waves": (*_PLACES, _POINTER, _WHOLE, _REAL, _POINTER, _POINTER, *_SIZES),
    "weigh": (
        *(_POINTER, _POINTER, _CHOICE, _POINTER, _REAL, _POINTER, _CHOICE, _REAL),
        *(_POINTER, _POINTER, _POINTER, *_SIZES),
    ),
    "lay_waves": (*_PLACES, _POINTER, _WHOLE, _POINTER, *_SIZES),
    "lay_values": (*_PLACES, _POINTER, _WHOLE, _WHOLE, _WHOLE),
    "gather_waves": (_POINTER, _POINTER, _POINTER, _POINTER, *_SIZES),
    "slope_products": (*_PLACES, _WHOLE, _POINTER, _WHOLE, _POINTER, _POINTER, *_SIZES),
}
_KINDS = ("f4", "f8", "u1", "u2", "u4", "i1", "i2", "i4")


class Places(Protocol):
    """Where patches lie on an image.

    Attributes
    ----------
    corner
        int64, ``(batch, 2)``: index of pixel ``(0, 0)`` of every patch. Not checked.
    fractions
        float32, ``(batch, 2)``, in ``[0, 1)`` px: how much further patches lie; they are bilinear means then,
        and the image has a row and a column more below and right of each. None: patches are copies.
    """

    corner: Tensor

    @property
    def fractions(self) -> Tensor | None:
        """See the class."""

    def __len__(self) -> int: ...


class Counts:
    """Frames of a scan, in whatever kind of numbers they are stored.

    Parameters
    ----------
    frames
        ``(n, N, N)``, contiguous.
    index
        int64, ``(batch,)``: which of them are meant.
    per_count
        What one count is in normalised units.
    """

    def __init__(self, frames: npt.NDArray[np.generic], index: Tensor, per_count: float) -> None:
        self.address, self.kind = frames.ctypes.data, _KINDS.index(frames.dtype.str[1:])
        self.index, self.per_count = index, per_count
        self._frames = frames

    @staticmethod
    def can_hold(frames: object) -> TypeGuard[npt.NDArray[np.generic]]:
        """Whether frames are an array in memory, or mapped to it, of numbers that the functions read."""
        return (
            isinstance(frames, np.ndarray)
            and frames.flags.c_contiguous
            and frames.dtype.isnative
            and frames.dtype.str[1:] in _KINDS
        )


class FrameKernels:
    """Functions of ``frames.c`` on tensors.

    All arrays are contiguous, on the CPU, float32 or complex64. Light is ``(modes, N, N)`` or
    ``(batch, modes, N, N)``. ``first`` and ``count`` choose patches of the places.

    Parameters
    ----------
    library
        The compiled source.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
        self._library = library

    def exit_waves(
        self,
        image: Tensor,
        places: Places,
        light: Tensor,
        scale: float,
        *,
        first: int = 0,
        waves: Tensor,
        patches: Tensor | None = None,
    ) -> None:
        """Put ``scale`` times patch times light into ``waves`` ``(batch, modes, N, N)``; keep the patches."""
        count, modes, n = waves.shape[:3]
        self._library.exit_waves(
            *_on(image, places, first), *_light(light), scale, _at(patches), _at(waves), count, modes, n
        )

    def weigh(
        self,
        field: Tensor,
        counts: Counts,
        first: int,
        mask: Tensor | None,
        *,
        poisson: bool,
        scale: float,
        sums: Tensor,
        residual: Tensor,
        weight: Tensor | None = None,
    ) -> None:
        """Put ``scale`` times weight times field into ``residual``, which may be the field.

        ``sums``, float64 ``(4,)``, gains those of |a - A|, A, the objective and I; see
        :func:`ptycho_torch.refine.likelihood.field_weight`.
        """
        count, modes, n = field.shape[:3]
        self._library.weigh(
            *(_at(field), counts.address, counts.kind, _at(counts.index) + 8 * first, counts.per_count),
            *(_at(mask), int(poisson), scale, _at(residual), _at(weight), _at(sums), count, modes, n * n),
        )

    def lay_waves(
        self, waves: Tensor, light: Tensor, image: Tensor, places: Places, *, first: int = 0
    ) -> None:
        """Add to an image what :meth:`exit_waves` would take from it: its adjoint for a scale of one."""
        count, modes, n = waves.shape[:3]
        self._library.lay_waves(*_on(image, places, first), *_light(light), _at(waves), count, modes, n)

    def lay_values(self, values: Tensor, image: Tensor, places: Places) -> None:
        """Add real values to a real image, ``(batch, N, N)`` or one ``(N, N)`` for all patches."""
        n = values.shape[-1]
        stride = n * n if values.ndim == 3 else 0
        self._library.lay_values(*_on(image, places, 0), _at(values), stride, len(places), n)

    def gather_waves(self, patches: Tensor, waves: Tensor, gradient: Tensor, power: Tensor) -> None:
        """Add to ``gradient`` ``(modes, N, N)`` what waves say of light that all patches share.

        ``power``, real ``(N, N)``, gains the intensity of the patches ``(batch, N, N)``.
        """
        count, modes, n = waves.shape[:3]
        self._library.gather_waves(_at(patches), _at(waves), _at(gradient), _at(power), count, modes, n * n)

    def slope_products(
        self, image: Tensor, places: Places, light: Tensor, waves: Tensor, products: Tensor
    ) -> None:
        """Put into ``products``, float64 ``(batch, 5)``, what waves say of the places of patches.

        See :meth:`ptycho_torch.refine.arithmetic.Arithmetic.slope_products`.
        """
        count, modes, n = waves.shape[:3]
        self._library.slope_products(
            *_on(image, places, 0), image.shape[0], *_light(light), _at(waves), _at(products), count, modes, n
        )


def _at(values: Tensor | None) -> int:
    """Address of an array; zero stands for none."""
    if values is None:
        return 0
    assert values.is_contiguous()
    return values.data_ptr()


def _on(image: Tensor, places: Places, first: int) -> tuple[int, int, int, int]:
    rest = 0 if places.fractions is None else _at(places.fractions) + 8 * first
    return _at(image), image.shape[1], _at(places.corner) + 16 * first, rest


def _light(light: Tensor) -> tuple[int, int]:
    """Where light begins, and how many floats it goes on by from frame to frame."""
    return _at(light), 2 * light[0].numel() if light.ndim == 4 else 0


@functools.cache
def frame_kernels() -> FrameKernels | None:
    """The functions, compiled when they are first asked for; None where that is not possible."""
    library = load(Path(__file__).with_name("frames.c"))
    return None if library is None else FrameKernels(library)
