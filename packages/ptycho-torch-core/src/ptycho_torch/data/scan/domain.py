"""Measurement domain: decide whether a file holds counts or amplitudes, and convert to counts.

Nothing else in the package converts frames from one domain to the other when they are read.

Evidence comes from a bounded sample that is the same on every run: nonzero values of at most 32 evenly spaced
frames, thinned to at most 65,536. A value is informative for a test only where the spacing of its dtype is
fine enough for the test to be able to fail: every float32 above 2**24 is an integer, and says nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.contract import Domain, DomainDecision, frame_chunks
from ptycho_torch.data.scan.lazy import ConvertedFrames, Frames, FrameStack
from ptycho_torch.diagnosis.domain import Witness
from ptycho_torch.errors import DataError, Fault, fault

__all__ = ["DOMAINS", "decide_domain", "to_counts"]

logger = logging.getLogger(__name__)

DOMAINS: tuple[str, ...] = ("auto", "counts", "amplitude")

Hearing: TypeAlias = Callable[[], list[Witness]]

_MAX_FRAMES = 32
_MAX_VALUES = 1 << 16
_MIN_FRACTIONAL = 8
"""Fewer non-integer values than this are too few to call stated counts wrong."""


@dataclass(frozen=True)
class _Evidence:
    integer_dtype: bool
    integer_valued: bool
    squares_integer: bool
    n_fractional: int
    largest: float


def _relative_rounding(dtype: np.dtype[Any]) -> float:
    """Relative error a square may carry when its root was stored as ``dtype`` or passed through float32."""
    coarse = np.finfo(dtype).eps if dtype.kind == "f" else 0.0
    return 2.0 * max(float(coarse), float(np.finfo(np.float32).eps))


def _sample(frames: Frames, bad_pixels: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float64]:
    n = frames.shape[0]
    chosen = np.unique(np.linspace(0, n - 1, min(n, _MAX_FRAMES)).astype(np.intp))
    values = frames[chosen]
    if bad_pixels is not None:
        values = values[:, ~bad_pixels]
    values = values.astype(np.float64).ravel()
    values = values[(values != 0) & np.isfinite(values)]
    return values[:: max(1, -(-values.size // _MAX_VALUES))]


def _gather(frames: Frames, bad_pixels: npt.NDArray[np.bool_] | None) -> _Evidence:
    values = _sample(frames, bad_pixels)
    if frames.dtype.kind in "biu":
        largest = float(values.max(initial=0.0))
        return _Evidence(
            integer_dtype=True, integer_valued=True, squares_integer=True, n_fractional=0, largest=largest
        )
    rounding = _relative_rounding(frames.dtype)
    testable = values[np.abs(values) * rounding < 0.05]
    fractional = testable[testable != np.rint(testable)]
    with np.errstate(over="ignore"):
        squares = np.square(values)
    squares = squares[squares * rounding < 0.05]
    near = np.abs(squares - np.rint(squares)) <= squares * rounding
    # A square far below one rounds to zero counts, which no nonzero amplitude can mean.
    near &= np.rint(squares) > 0
    return _Evidence(
        integer_dtype=False,
        integer_valued=testable.size > 0 and fractional.size == 0,
        squares_integer=squares.size > 0 and bool(near.all()),
        n_fractional=int(fractional.size),
        largest=float(values.max(initial=0.0)),
    )


def _contradiction(domain: Domain, said_by: str, evidence: _Evidence) -> Fault | None:
    """Sentence that says why a stated domain cannot be right, or None."""
    if domain == "counts":
        wrong = (
            not evidence.integer_valued
            and evidence.squares_integer
            and evidence.n_fractional >= _MIN_FRACTIONAL
        )
        if wrong:
            return fault(
                "measurement_domain",
                f"{said_by} says 'counts', but the values are not integers while their "
                "squares are, so they are amplitudes; state 'amplitude' or 'auto'",
            )
    elif evidence.integer_valued and evidence.largest > 1:
        kind = "have an integer dtype" if evidence.integer_dtype else "are all integers"
        return fault(
            "measurement_domain",
            f"{said_by} says 'amplitude', but the values {kind} up to "
            f"{evidence.largest:g}, as only counts do; state 'counts' or 'auto'",
        )
    return None


def _from_values(evidence: _Evidence, hear: Hearing | None) -> DomainDecision:
    if evidence.integer_dtype:
        return DomainDecision(domain="counts", stated=False, reason="the frames have an integer dtype")
    if evidence.integer_valued:
        return DomainDecision(domain="counts", stated=False, reason="the sampled values are integers")
    if evidence.squares_integer:
        return DomainDecision(
            domain="amplitude", stated=False, reason="the squares of the sampled values are integers"
        )
    neither = "neither the sampled values nor their squares are integers"
    heard = [] if hear is None else hear()
    for witness in heard:
        if witness.answer is not None:
            domain: Domain = "counts" if witness.answer == "counts" else "amplitude"
            reason = f"{neither}; {witness.said}, which decides by a factor of {witness.margin:.3g}"
            return DomainDecision(domain=domain, stated=False, reason=reason, is_whole=False)
    said = "".join(f"; {witness.said}" for witness in heard)
    reason = f"{neither}, and amplitude is the usual meaning{said}"
    return DomainDecision(domain="amplitude", stated=False, reason=reason, is_whole=False, is_guess=True)


def decide_domain(
    frames: Frames,
    *,
    requested: str = "auto",
    in_file: str | None = None,
    in_layout: Domain | None = None,
    bad_pixels: npt.NDArray[np.bool_] | None = None,
    hear: Hearing | None = None,
) -> DomainDecision:
    """Decide what the values of ``frames`` are.

    A statement, by the caller or in the file, decides. Without one, integer dtype or integer values mean
    counts, and integer squares mean amplitude. Of anything else the witnesses of
    `ptycho_torch.diagnosis.domain` decide; where none is sure it is taken as amplitude, which is a guess.

    Parameters
    ----------
    frames
        (n, N, N), real dtype.
    requested
        ``"auto"``, ``"counts"`` or ``"amplitude"``: what the caller states.
    in_file
        What the file states; None or ``"auto"`` when it states nothing.
    in_layout
        What the file format means by its frames; decides when neither caller nor file say otherwise.
    bad_pixels
        (N, N) bool; True: leave out of the sample.
    hear
        Gives the witnesses, the surest first; called when the values alone do not decide.

    Returns
    -------
    DomainDecision
        The domain of ``frames`` as they are.

    Raises
    ------
    DataError
        An unknown name, two statements that differ, or a statement that the values disprove: non-integer
        values with integer squares are not counts, and integers above one are not amplitudes.
    """
    for said_by, value in (("the caller", requested), ("the file", in_file or "auto")):
        if value not in DOMAINS:
            raise DataError(
                fault(
                    "measurement_domain",
                    f"{said_by} says {value!r}, expected one of {', '.join(DOMAINS)}; state one",
                )
            )
    stated = {
        said_by: value
        for said_by, value in (("the caller", requested), ("the file", in_file))
        if value is not None and value != "auto"
    }
    if len(set(stated.values())) > 1:
        raise DataError(
            fault(
                "measurement_domain",
                f"the caller says {requested!r} but the file says {in_file!r}; leave it at "
                "'auto' to follow the file, or correct the file",
            )
        )
    if not stated and in_layout is not None:
        stated = {"the file format": in_layout}
    evidence = _gather(frames, bad_pixels)
    if stated:
        said_by, value = next(iter(stated.items()))
        domain: Domain = "counts" if value == "counts" else "amplitude"
        problem = _contradiction(domain, said_by, evidence)
        if problem is not None:
            raise DataError(problem)
        decision = DomainDecision(
            domain=domain,
            stated=True,
            reason=f"stated by {' and '.join(stated)}",
            is_whole=evidence.integer_valued if domain == "counts" else evidence.squares_integer,
        )
    else:
        decision = _from_values(evidence, hear)
    logger.info("measurement domain: %s (%s)", decision.domain, decision.reason)
    return decision


def _squared(values: npt.NDArray[Any], rounding: float) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.square(values, dtype=np.float64)
    whole = np.rint(squares)
    tolerance = squares * rounding
    # Undo the rounding of the stored root, where it is small enough to tell one count from the next.
    return np.where((np.abs(squares - whole) <= tolerance) & (tolerance < 0.25), whole, squares)


def to_counts(
    frames: Frames,
    domain: Domain,
    *,
    bad_pixels: npt.NDArray[np.bool_] | None = None,
    clip: bool = False,
    in_place: bool = False,
) -> Frames:
    """Frames as counts, bad pixels set to zero.

    ``counts = amplitude**2``. A square that is an integer to within the rounding of the stored root becomes
    that integer, so that Poisson counts come back exactly.

    Parameters
    ----------
    frames
        (n, N, N), real dtype, finite and, unless clipped, not negative outside bad pixels.
    domain
        What ``frames`` are.
    bad_pixels
        (N, N) bool; True: not measured.
    clip
        Set negative values to zero.
    in_place
        Reuse the memory of ``frames`` where the dtype allows it.

    Returns
    -------
    Frames
        (n, N, N) counts; an integer dtype is kept in native byte order (bool becomes uint8), everything else
        is float32. Frames in a file (`FrameStack`) stay there and are converted as they are read.
    """
    if isinstance(frames, FrameStack):
        convert = partial(_array_in_counts, domain=domain, bad_pixels=bad_pixels, clip=clip)
        return ConvertedFrames(frames, convert, _dtype_of_counts(frames.dtype, domain))
    return _array_in_counts(np.asanyarray(frames), domain, bad_pixels, clip=clip, in_place=in_place)


def _dtype_of_counts(dtype: np.dtype[Any], domain: Domain) -> np.dtype[Any]:
    native = dtype.newbyteorder("=")
    if domain == "counts" and native.kind in "biu":
        return np.dtype(np.uint8) if native.kind == "b" else native
    return np.dtype(np.float32)


def _array_in_counts(
    frames: npt.NDArray[Any],
    domain: Domain,
    bad_pixels: npt.NDArray[np.bool_] | None,
    *,
    clip: bool = False,
    in_place: bool = False,
) -> npt.NDArray[Any]:
    """Frames in memory as counts; arguments as for `to_counts`."""
    dtype = _dtype_of_counts(frames.dtype, domain)
    reuse = in_place and frames.dtype == dtype and frames.flags.writeable and frames.flags.c_contiguous
    counts = frames if reuse else np.empty(frames.shape, dtype=dtype)
    for part in frame_chunks(frames):
        block: npt.NDArray[Any] = frames[part]
        if bad_pixels is not None:
            block = np.where(bad_pixels, np.zeros((), dtype=block.dtype), block)
        if clip:
            block = np.maximum(block, np.zeros((), dtype=block.dtype))
        if domain == "amplitude":
            block = _squared(block, _relative_rounding(frames.dtype))
        counts[part] = block
    return counts
