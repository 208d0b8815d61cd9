"""Checks and canonical forms of the single arrays of a scan.

Each function returns the canonical array, or None, and appends one sentence per problem to the list it is
given, so that a file is refused once, with everything that is wrong with it.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.control import Progress
from ptycho_torch.data.advice import AS_FRAMES, AS_STACK, SQUARE_PROBE
from ptycho_torch.data.scan.contract import frame_chunks
from ptycho_torch.data.scan.lazy import Frames, FrameStack
from ptycho_torch.data.scan.magnitudes import FARTHEST_PX, LARGEST_NUMBER, are_in_range
from ptycho_torch.diagnosis.statistics import LARGEST_VALUE, are_counts
from ptycho_torch.errors import fault

__all__ = [
    "canonical_bad_pixels",
    "canonical_ceiling",
    "canonical_complex",
    "canonical_coordinate",
    "canonical_index",
    "canonical_probe",
    "check_frame_values",
    "check_positions",
    "frames_first",
    "parse_metadata",
    "parse_text",
    "probe_size_from_shape",
]

Problems = list[str]

_SHOWN = 5
_PHOTONS = "nphotons"
_LARGEST_EXTENT_PX = 1e6
_AS_MANY = "leave out the frames without a position, or the positions without a frame"
_COMPLEX = "store amplitude and phase as one complex array"
_REMEDY = (
    "they are in another unit: state it with position_unit and where needed pixel_size, or multiply them "
    "with position_scale"
)
_REFERENCE_PHYSICS = "physics_parameters"
"""Where PtychoPINN writes the photons per frame, one level down."""


def _indices(flags: npt.NDArray[np.bool_], what: str = "") -> str:
    """Count and first indices of the True entries, for a message: ``2 of 9 frames (first indices 3, 4)``."""
    where = np.flatnonzero(flags)
    shown = ", ".join(str(index) for index in where[:_SHOWN])
    name = f" {what}" if what else ""
    return f"{where.size} of {flags.size}{name} ({'index' if where.size == 1 else 'first indices'} {shown})"


def frames_first(
    frames: Frames, n_positions: int | None, name: str, stated: str | None, problems: Problems
) -> Frames | None:
    """Frames as (n, N, N), from (n, N, N) or (N, N, n).

    Parameters
    ----------
    frames
        Array as stored.
    n_positions
        Length of xcoords, which tells the two layouts apart; None when it is not known.
    name
        Key, for messages.
    stated
        ``"first"`` or ``"last"`` when the file says where its frame axis is; decides where n equals N.
    """
    shape = frames.shape
    if frames.dtype.kind not in "biuf":
        problems.append(
            fault(name, f"expected a real dtype, got {frames.dtype}; frames are intensities or their roots")
        )
        return None
    if frames.ndim != 3 or 0 in shape:
        problems.append(
            fault(name, f"expected shape (frames, N, N) with at least one frame, got {shape}; {AS_STACK}")
        )
        return None
    if n_positions is None:
        return None
    first = shape[0] == n_positions
    # Nothing moves the axes of frames in a file, and the layouts of such files have the frames first.
    last = shape[2] == n_positions and not isinstance(frames, FrameStack)
    if first and last and shape[0] == shape[1]:
        if stated not in ("first", "last"):
            problems.append(
                fault(
                    name,
                    f"shape {shape} with {n_positions} positions is ambiguous, the frame axis may be the "
                    "first or the last; state it with "
                    '"frame_axis": "first" or "last" in _metadata',
                )
            )
            return None
        first = stated == "first"
    elif first and last:
        first = shape[1] == shape[2]
    if not (first or last):
        problems.append(
            fault(
                name,
                f"shape {shape} has no frame axis of the length of xcoords ({n_positions}); expected "
                f"({n_positions}, N, N); {_AS_MANY}",
            )
        )
        return None
    found = frames if first else np.moveaxis(np.asarray(frames), 2, 0)
    if found.shape[1] != found.shape[2]:
        problems.append(
            fault(
                name,
                f"frames are {found.shape[1]} x {found.shape[2]} px, expected square frames; crop them "
                "around the zero frequency",
            )
        )
        return None
    return found


def check_frame_values(
    frames: Frames,
    bad_pixels: npt.NDArray[np.bool_] | None,
    name: str,
    problems: Problems,
    progress: Progress | None = None,
) -> npt.NDArray[np.float64]:
    """Refuse values that are not finite, negative values and empty frames, bad pixels aside.

    Parameters
    ----------
    frames
        (n, N, N), real dtype.
    bad_pixels
        (N, N) bool or None; True: not measured.
    progress
        Called with frames checked and frames in all.

    Returns
    -------
    ndarray
        Sum of each frame without bad pixels, (n,) float64: the frames are gone through once.
    """
    n = frames.shape[0]
    sums = np.zeros(n)
    broken, negative, empty = (np.zeros(n, dtype=np.bool_) for _ in range(3))
    lowest = 0.0
    for part in frame_chunks(frames):
        block: npt.NDArray[Any] = frames[part]
        if bad_pixels is not None:
            block = np.where(bad_pixels, np.zeros((), dtype=block.dtype), block)
        with np.errstate(invalid="ignore", over="ignore"):
            sums[part] = block.sum(axis=(1, 2), dtype=np.float64)
        if block.dtype.kind == "f":
            broken[part] = ~are_counts(block).all(axis=(1, 2))
        if block.dtype.kind in "if":
            below = block < 0
            negative[part] = below.any(axis=(1, 2))
            lowest = min(lowest, float(block.min(initial=0, where=below)))
        empty[part] = ~block.any(axis=(1, 2))
        if progress is not None:
            progress(min(part.stop, n), n)
    if broken.any():
        problems.append(
            fault(
                name,
                f"NaN, infinity or more than {LARGEST_VALUE:g} in {_indices(broken, 'frames')}; repair these "
                "pixels or mark them in bad_pixels",
            )
        )
    if negative.any():
        problems.append(
            fault(
                name,
                f"negative counts, down to {lowest:g}, in {_indices(negative, 'frames')}; counts and "
                "amplitudes are zero or more, so set background-subtracted pixels to zero or mark them in "
                "bad_pixels",
            )
        )
    if empty.any():
        problems.append(
            fault(name, f"all-zero frames: {_indices(empty)}; remove these frames and their positions")
        )
    return sums


def canonical_coordinate(
    values: npt.NDArray[Any], name: str, problems: Problems, *, unread: bool = False
) -> npt.NDArray[np.float64] | None:
    """One coordinate per frame as (n,) float64; px. Finite, unless ``unread`` ones are seen to later.

    What is farther away than any stage goes counts as not finite.
    """
    if values.ndim != 1 or values.size == 0:
        problems.append(
            fault(name, f"expected shape (frames,), got {values.shape}; store one number per frame")
        )
        return None
    if values.dtype.kind not in "iuf":
        problems.append(fault(name, f"expected a real dtype, got {values.dtype}; store numbers of pixels"))
        return None
    places = values.astype(np.float64)
    # Distances between such numbers would not be numbers.
    places[np.abs(places) > FARTHEST_PX] = np.nan
    finite = np.isfinite(places)
    if not finite.all() and not (unread and finite.any()):
        problems.append(
            fault(name, f"positions that are not finite: {_indices(~finite)}; remove them and their frames")
        )
        return None
    return places


def check_positions(
    positions: npt.NDArray[np.float64], problems: Problems, *, pixel_m: float | None = None
) -> None:
    """Refuse positions that all lie inside one pixel, or over millions: they are in another unit.

    Parameters
    ----------
    positions
        (n, 2) float64 ``[y, x]``; px. NaN where they were not read.
    problems
        A sentence is appended.
    pixel_m
        Edge of an object pixel, where it is known, for the sentence.
    """
    read = positions[np.isfinite(positions).all(axis=1)]
    if not len(read):
        said = "no position is finite in both; store the positions of the frames"
        problems.append(fault("xcoords, ycoords", said))
        return
    extent = np.ptp(read, axis=0)
    # A stray position is no other unit.
    usual = np.ptp(np.percentile(read, (5, 95), axis=0), axis=0)
    if len(read) > 1 and not extent.any():
        problems.append(
            fault(
                "xcoords, ycoords",
                f"all {len(positions)} positions are one and the same point (y {read[0, 0]:g}, "
                f"x {read[0, 1]:g}); store where each frame was taken",
            )
        )
    elif len(read) > 1 and extent.max() < 1.0:
        problems.append(
            fault(
                "xcoords, ycoords",
                f"all {len(positions)} positions lie inside one pixel ({_spans(extent, pixel_m)}); {_REMEDY}",
            )
        )
    elif usual.max() > _LARGEST_EXTENT_PX:
        problems.append(
            fault(
                "xcoords, ycoords",
                f"they reach over {usual.max():.3g} object pixels ({_spans(usual, pixel_m)}); {_REMEDY}",
            )
        )


def _spans(extent: npt.NDArray[np.float64], pixel_m: float | None) -> str:
    """How far positions reach, for a message."""
    said = f"x spans {extent[1]:g}, y spans {extent[0]:g} px"
    if pixel_m is None:
        return said
    return f"{said}, {extent[1] * pixel_m:g} and {extent[0] * pixel_m:g} m with pixels of {pixel_m:.4g} m"


def probe_size_from_shape(shape: tuple[int, ...]) -> int | None:
    """Edge N of a probe of this shape: (N, N), (P, N, N) or (N, N, 1); None when it is none of these."""
    if len(shape) == 3 and shape[2] == 1 and shape[1] != 1:
        shape = shape[:2]
    if len(shape) not in (2, 3) or 0 in shape or shape[-1] != shape[-2]:
        return None
    return shape[-1]


def canonical_probe(
    probe: npt.NDArray[Any], problems: Problems, name: str = "probeGuess"
) -> npt.NDArray[np.complex64] | None:
    """Probe as (P, N, N) complex64 from (N, N), (P, N, N) or (N, N, 1), stored under ``name``."""
    shape = probe.shape
    if probe_size_from_shape(shape) is None:
        said = SQUARE_PROBE.format(shape=shape)
        if len(shape) == 3 and shape[0] == shape[1]:
            said += ", or move the mode axis to the front with numpy.moveaxis(probe, -1, 0)"
        problems.append(fault(name, said))
        return None
    if probe.dtype.kind not in "cf":
        problems.append(fault(name, f"expected a complex dtype, got {probe.dtype}; {_COMPLEX}"))
        return None
    if not are_in_range(probe, name, problems):
        return None
    if not probe.any():
        problems.append(fault(name, "the probe is zero everywhere; store a guess of the illumination"))
        return None
    if probe.ndim == 3 and shape[2] == 1 and shape[1] != 1:
        probe = probe[:, :, 0]
    modes = probe if probe.ndim == 3 else probe[None]
    return np.ascontiguousarray(modes, dtype=np.complex64)


def canonical_complex(
    values: npt.NDArray[Any], name: str, axes: tuple[str, ...], problems: Problems
) -> npt.NDArray[np.complex64] | None:
    """Optional complex array of the rank of ``axes`` as complex64, finite."""
    if values.ndim != len(axes) or 0 in values.shape:
        problems.append(
            fault(
                name,
                f"expected shape ({', '.join(axes)}), got {values.shape}; leave the key out if there is none",
            )
        )
        return None
    if values.dtype.kind not in "cf":
        problems.append(fault(name, f"expected a complex dtype, got {values.dtype}; {_COMPLEX}"))
        return None
    if not are_in_range(values, name, problems):
        return None
    return np.ascontiguousarray(values, dtype=np.complex64)


def canonical_index(
    values: npt.NDArray[Any], name: str, n: int, problems: Problems
) -> npt.NDArray[np.int64] | None:
    """One whole number per frame as (n,) int64: the scan it belongs to, or its number in the measurement."""
    if values.shape != (n,):
        problems.append(
            fault(name, f"expected shape ({n},), got {values.shape}; store one entry per position, or none")
        )
        return None
    whole = values.dtype.kind in "biuf" and np.isfinite(values).all() and (values == np.rint(values)).all()
    if not whole:
        problems.append(
            fault(name, f"expected integers, got {values.dtype} with other values; number them from 0")
        )
        return None
    if values.dtype.kind != "b" and max(abs(int(values.min())), abs(int(values.max()))) > LARGEST_NUMBER:
        said = f"numbers from {values.min():g} to {values.max():g}"
        problems.append(fault(name, f"{said}, expected at most {LARGEST_NUMBER}; number them anew"))
        return None
    return values.astype(np.int64)


def canonical_bad_pixels(
    values: npt.NDArray[Any], size: int, problems: Problems
) -> npt.NDArray[np.bool_] | None:
    """Mask of pixels that were not measured as (size, size) bool."""
    name = "bad_pixels"
    if values.shape != (size, size):
        problems.append(
            fault(name, f"expected shape ({size}, {size}) as the frames, got {values.shape}; {AS_FRAMES}")
        )
        return None
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        problems.append(
            fault(
                name,
                f"expected True and False, got {values.dtype} with others; store True where a pixel is bad",
            )
        )
        return None
    mask = values.astype(np.bool_)
    if mask.all():
        problems.append(fault(name, "every pixel is marked as not measured; store the opposite of it"))
        return None
    return mask


def canonical_ceiling(
    values: npt.NDArray[Any], size: int, problems: Problems, name: str = "ceiling"
) -> npt.NDArray[np.float64] | None:
    """Counts from which on values were not measured as (size, size) float64."""
    if values.shape != (size, size):
        problems.append(
            fault(name, f"expected shape ({size}, {size}) as the frames, got {values.shape}; {AS_FRAMES}")
        )
        return None
    if values.dtype.kind not in "iuf" or not (values > 0).all():
        problems.append(
            fault(name, f"expected counts above zero, got {values.dtype} with others; leave it out")
        )
        return None
    return values.astype(np.float64)


def parse_text(values: npt.NDArray[Any], name: str, problems: Problems) -> str | None:
    """Single string from a zero-dimensional or one-element array."""
    if values.size != 1 or values.dtype.kind not in "US":
        problems.append(
            fault(name, f"expected a string, got {values.dtype} {values.shape}; store one, or none")
        )
        return None
    value = values.reshape(-1)[0]
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        problems.append(fault(name, f"bytes that are not UTF-8 ({error})"))
        return None


def parse_metadata(values: npt.NDArray[Any], problems: Problems) -> dict[str, Any]:
    """Entries of the JSON object in ``_metadata``; empty when it cannot be read.

    The photons per frame are an entry of their own, also where PtychoPINN wrote them among its parameters.
    """
    text = parse_text(values, "_metadata", problems)
    if text is None:
        return {}
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(fault("_metadata", f"not valid JSON ({error})"))
        return {}
    if not isinstance(parsed, dict):
        problems.append(
            fault(
                "_metadata",
                f"expected a JSON object with names and values, got {type(parsed).__name__}; store one",
            )
        )
        return {}
    physics = parsed.get(_REFERENCE_PHYSICS)
    if _PHOTONS not in parsed and isinstance(physics, dict) and _PHOTONS in physics:
        parsed[_PHOTONS] = physics[_PHOTONS]
    return parsed
