"""Shape checks at the public boundary of the physics.

Broadcasting accepts almost any pair of arrays: a probe whose mode axis lands on the batch axis
multiplies every frame by the batch size and nothing fails. Each public operator therefore states
what it takes and refuses the rest.
"""

from __future__ import annotations

from torch import Tensor

from ptycho_torch.errors import ShapeError

__all__ = ["check_field", "check_frames", "check_patches", "check_positions", "check_probe"]


def check_probe(probe: Tensor, *, name: str = "probe") -> None:
    """Refuse a probe that is not complex with shape ``(modes, N, N)``.

    Raises
    ------
    ShapeError
        With the name of the array, its shape and what to do.
    """
    shape = tuple(probe.shape)
    if probe.ndim == 2:
        raise ShapeError(name, "(modes, N, N)", shape, f"add a leading mode axis with {name}[None]")
    if probe.ndim != 3 or shape[-1] != shape[-2] or shape[0] == 0:
        raise ShapeError(name, "(modes, N, N) with at least one mode", shape)
    if not probe.is_complex():
        raise ShapeError(name, "a complex tensor", probe.dtype)


def check_patches(patches: Tensor, probe: Tensor, *, name: str = "patches") -> None:
    """Refuse object patches that are not complex ``(..., N, N)`` with the probe's ``N``.

    Raises
    ------
    ShapeError
        With both shapes.
    """
    shape, side = tuple(patches.shape), probe.shape[-1]
    if patches.ndim < 2 or shape[-2:] != (side, side):
        raise ShapeError(name, f"(..., {side}, {side}) to match the probe {tuple(probe.shape)}", shape)
    if not patches.is_complex():
        raise ShapeError(name, "a complex tensor", patches.dtype)


def check_field(field: Tensor, probe: Tensor, *, name: str = "field") -> None:
    """Refuse detector fields that are not complex ``(..., modes, N, N)`` with the axes of the probe.

    Raises
    ------
    ShapeError
        With both shapes.
    """
    shape, modes = tuple(field.shape), tuple(probe.shape)
    if shape[-3:] != modes:
        raise ShapeError(name, f"(..., {', '.join(map(str, modes))}) to match the probe", shape)
    if not field.is_complex():
        raise ShapeError(name, "a complex tensor", field.dtype)


def check_frames(
    frames: Tensor, n_pixels: int, *, n_channels: int | None = None, name: str = "frames"
) -> None:
    """Refuse detector frames that are not real ``(batch, channel, N, N)``.

    Raises
    ------
    ShapeError
        With the shape that came and the one expected.
    """
    shape = tuple(frames.shape)
    wrong_channels = n_channels is not None and shape[1:2] != (n_channels,)
    if frames.ndim != 4 or shape[-2:] != (n_pixels, n_pixels) or wrong_channels:
        channel = "channel" if n_channels is None else n_channels
        raise ShapeError(name, f"(batch, {channel}, {n_pixels}, {n_pixels})", shape)
    if frames.is_complex():
        raise ShapeError(name, "a real tensor", frames.dtype)


def check_positions(positions: Tensor, n_patches: int, *, name: str = "positions") -> None:
    """Refuse positions that are not real ``(n_patches, 2)`` in the order ``[y, x]``.

    Raises
    ------
    ShapeError
        With the shape that came and the one expected.
    """
    if tuple(positions.shape) != (n_patches, 2):
        raise ShapeError(name, f"({n_patches}, 2) in the order [y, x]", tuple(positions.shape))
    if positions.is_complex():
        raise ShapeError(name, "a real tensor", positions.dtype)
