"""How the frames and positions of a file lie against each other, where the file does not say it right."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_config.base import Config, config_class
from ptycho_config.fields import setting

__all__ = ["OrientationConfig"]

_JOBS = ("train", "infer", "refine", "live", "tune")
_FRAMES = "Frames"
_POSITIONS = "Positions"


@config_class
@dataclass(frozen=True, kw_only=True)
class OrientationConfig(Config):
    """What is done to the frames and positions of a scan when it is opened.

    Frames are transposed first and flipped then; positions are scaled, their axes swapped, and flipped then.
    Probe and object stay.

    Examples
    --------
    >>> OrientationConfig(flip_frames="rows").transpose_frames
    False
    """

    transpose_frames: bool = setting(
        False,
        help="swap rows and columns of every frame, before flip_frames",
        group=_FRAMES,
        jobs=_JOBS,
        effect="frames and their mask are transposed",
        tests=("test_frames_turn_about_the_zero_frequency", "test_every_job_turns_what_it_reads"),
    )
    flip_frames: str = setting(
        "none",
        help="reverse the order of the rows of every frame (upside down), of its columns (left to right), or "
        "of both",
        choices=("none", "rows", "columns", "both"),
        group=_FRAMES,
        jobs=_JOBS,
        effect="frames and their mask are flipped about the zero frequency",
        tests=("test_frames_turn_about_the_zero_frequency", "test_every_job_turns_what_it_reads"),
    )
    position_scale: float = setting(
        1.0,
        help="factor on the positions, for a wrong unit or pixel size",
        gt=0,
        group=_POSITIONS,
        jobs=_JOBS,
        effect="positions are multiplied by it",
        tests=("test_positions_are_scaled_swapped_and_flipped", "test_every_job_turns_what_it_reads"),
    )
    swap_axes: bool = setting(
        False,
        help="take the x of the positions for their y and the other way round, before flip_x and flip_y",
        group=_POSITIONS,
        jobs=_JOBS,
        effect="the axes of the positions are swapped",
        tests=("test_positions_are_scaled_swapped_and_flipped", "test_every_job_turns_what_it_reads"),
    )
    flip_y: bool = setting(
        False,
        help="reverse the direction of y (down) of the positions, about the middle of the scan",
        group=_POSITIONS,
        jobs=_JOBS,
        effect="y runs the other way",
        tests=("test_positions_are_scaled_swapped_and_flipped", "test_every_job_turns_what_it_reads"),
    )
    flip_x: bool = setting(
        False,
        help="reverse the direction of x (right) of the positions, about the middle of the scan",
        group=_POSITIONS,
        jobs=_JOBS,
        effect="x runs the other way",
        tests=("test_positions_are_scaled_swapped_and_flipped", "test_every_job_turns_what_it_reads"),
    )
