"""Turn the frames and positions of a scan against each other, and scale its positions.

A detector or a stage that is mounted another way than a file says leaves frames that are flipped or
transposed, or positions with swapped or reversed axes. Frames turn about the zero frequency at
``[N // 2, N // 2]``, which stays where it is; of an even frame the first row (or column), which stands for
both signs of the highest frequency, therefore stays too. Positions turn about the middle of their extent, so
that a known object stays under them. Probe and object stay: they are what frames and positions are turned to
fit.

An orientation is written as a matrix of one sign per row and column. Entry ``[i, j]`` says that axis ``i`` of
the result runs along axis ``j`` of the source, or against it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_config import OrientationConfig
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.lazy import Block, ConvertedFrames, Frames, FrameStack

__all__ = [
    "ORIENTATIONS",
    "ORIENTATION_ENTRY",
    "Orientation",
    "flags_of",
    "frame_orientation",
    "orientation_config",
    "oriented",
    "position_orientation",
    "turn_frames",
]

ORIENTATION_ENTRY = "orientation"
"""Metadata entry: a list of the settings that differed from their defaults, one mapping per opening."""

Orientation = tuple[tuple[int, int], tuple[int, int]]
"""One of eight matrices, as a tuple that can be compared and be a key."""

ORIENTATIONS: tuple[Orientation, ...] = tuple(
    ((0, first), (second, 0)) if swapped else ((first, 0), (0, second))
    for swapped, first, second in product((False, True), (1, -1), (1, -1))
)
"""The eight orientations, that of no change first."""

_FLIPS = {"none": (1, 1), "rows": (-1, 1), "columns": (1, -1), "both": (-1, -1)}


def _matrix(swapped: bool, signs: tuple[int, int]) -> Orientation:
    first, second = signs
    return ((0, first), (second, 0)) if swapped else ((first, 0), (0, second))


def _parts(orientation: Orientation) -> tuple[bool, tuple[int, int]]:
    """Whether axes are swapped, and the signs of the result's axes."""
    (a, b), (c, d) = orientation
    return a == 0, (a + b, c + d)


def frame_orientation(config: OrientationConfig) -> Orientation:
    """What the settings do to frames."""
    return _matrix(config.transpose_frames, _FLIPS[config.flip_frames])


def position_orientation(config: OrientationConfig) -> Orientation:
    """What the settings do to positions ``[y, x]``, beside their scale."""
    return _matrix(config.swap_axes, (-1 if config.flip_y else 1, -1 if config.flip_x else 1))


def orientation_config(frames: Orientation, positions: Orientation, scale: float = 1.0) -> OrientationConfig:
    """Settings that turn frames and positions so, and multiply positions by ``scale``."""
    transposed, signs = _parts(frames)
    swapped, (along_y, along_x) = _parts(positions)
    flip = next(name for name, found in _FLIPS.items() if found == signs)
    values: dict[str, Any] = {
        "transpose_frames": transposed,
        "flip_frames": flip,
        "position_scale": scale,
        "swap_axes": swapped,
        "flip_y": along_y < 0,
        "flip_x": along_x < 0,
    }
    return OrientationConfig(**values)


def flags_of(config: OrientationConfig) -> str:
    """Flags of the command line that state these settings; empty where they change nothing."""
    words = []
    for name, value in _changes(config).items():
        flag = f"--{name.replace('_', '-')}"
        words.append(flag if value is True else f"{flag} {value if isinstance(value, str) else f'{value:g}'}")
    return " ".join(words)


def _changes(config: OrientationConfig) -> dict[str, Any]:
    default = OrientationConfig()
    order = ("transpose_frames", "flip_frames", "position_scale", "swap_axes", "flip_y", "flip_x")
    return {name: getattr(config, name) for name in order if getattr(config, name) != getattr(default, name)}


def oriented(scan: Scan, config: OrientationConfig | None, *, is_scaled: bool = False) -> Scan:
    """The scan with its frames and positions turned and scaled, and a note of it in the metadata.

    Parameters
    ----------
    scan
        As read. Frames in a file stay there and are turned as they are read.
    config
        The settings; None, or one that changes nothing, gives the scan itself.
    is_scaled
        Whether the positions were scaled as they were read.
    """
    changes = {} if config is None else _changes(config)
    if config is None or not changes:
        return scan
    frames = frame_orientation(config)
    bad, ceiling = scan.bad_pixels, scan.ceiling
    scale = 1.0 if is_scaled else config.position_scale
    middle = (scan.positions.min(axis=0) + scan.positions.max(axis=0)) / 2
    return replace(
        scan,
        diffraction=turn_frames(scan.diffraction, frames),
        bad_pixels=None if bad is None else np.asarray(turn_frames(bad[None], frames))[0],
        ceiling=None if ceiling is None else np.asarray(turn_frames(ceiling[None], frames))[0],
        positions=_turn_positions(scan.positions, middle, config, scale),
        positions_nominal=_turn_positions(scan.positions_nominal, middle, config, scale),
        metadata={
            **scan.metadata,
            ORIENTATION_ENTRY: [*scan.metadata.get(ORIENTATION_ENTRY, ()), changes],
        },
        statistics=None,
    )


def _turn_positions(
    positions: npt.NDArray[np.float64],
    middle: npt.NDArray[np.float64],
    config: OrientationConfig,
    scale: float,
) -> npt.NDArray[np.float64]:
    """Positions (n, 2) float64 ``[y, x]``; px. Scaled about coordinate 0, turned about the middle."""
    swapped, signs = _parts(position_orientation(config))
    placed, centre = positions * scale, middle * scale
    if swapped:
        placed, centre = placed[:, ::-1], centre[::-1]
    # A coordinate that keeps its sign is not touched, so that whole pixels stay whole to the last bit.
    turned = [
        placed[:, axis] if sign > 0 else 2 * centre[axis] - placed[:, axis] for axis, sign in enumerate(signs)
    ]
    return np.stack(turned, axis=1)


class _Turn:
    """Turn a block of frames; a class so that it can be pickled."""

    def __init__(self, orientation: Orientation) -> None:
        self.swapped, self.signs = _parts(orientation)

    def __call__(self, block: Block) -> Block:
        turned = block.swapaxes(-2, -1) if self.swapped else block
        for axis, sign in zip((-2, -1), self.signs, strict=True):
            if sign < 0:
                # Index i of the result is the frequency opposite to that at i: N // 2 stays N // 2.
                size = turned.shape[axis]
                turned = np.take(turned, (2 * (size // 2) - np.arange(size)) % size, axis=axis)
        return np.ascontiguousarray(turned)


class _TurnedFrames(ConvertedFrames):
    """Frames turned as they are read. What is cropped of them is turned about its own zero frequency."""

    def __init__(self, source: FrameStack, orientation: Orientation) -> None:
        super().__init__(source, _Turn(orientation), source.dtype)
        self.orientation = orientation
        if source._totals is not None:
            self.remember_totals(source._totals)

    def take(self, indices: npt.ArrayLike) -> _TurnedFrames:
        """Stack of the frames at ``indices``; nothing is read."""
        return _TurnedFrames(self.source.take(indices), self.orientation)

    def crop(self, N: int) -> _TurnedFrames:
        """Stack of the central N x N pixels, of which alone is read."""
        return _TurnedFrames(self.source.crop(N), self.orientation)


def turn_frames(frames: Frames, orientation: Orientation) -> Frames:
    """Frames (n, N, N) turned about their zero frequency; of a stack in a file, nothing is read.

    Parameters
    ----------
    frames
        An array of any dtype, or a `FrameStack`.
    orientation
        One of `ORIENTATIONS`.
    """
    if orientation == ORIENTATIONS[0]:
        return frames
    if not isinstance(frames, FrameStack):
        return _Turn(orientation)(np.asarray(frames))
    return _TurnedFrames(frames, orientation)
