"""From named arrays, as a file holds them, to one sound `Scan` or one `DataError` with every problem."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.control import Progress
from ptycho_torch.data.advice import BOTH_FOR_EACH
from ptycho_torch.data.scan import checks
from ptycho_torch.data.scan.cleaning import Cleaned, clean_frames
from ptycho_torch.data.scan.contract import Domain, Scan
from ptycho_torch.data.scan.crop import CROP_ENTRY, crop_detector, crop_frames, crop_middle
from ptycho_torch.data.scan.domain import to_counts
from ptycho_torch.data.scan.geometry import OBJECT_PIXEL, finite_number, rescaled_entries
from ptycho_torch.data.scan.lazy import Frames, FrameStack, take_frames
from ptycho_torch.data.scan.magnitudes import canonical_origin, counts_of, wrong_counts
from ptycho_torch.data.scan.near_field import as_far_field, cannot_be_cropped, near_field_of
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import DataError, Fault, fault

__all__ = [
    "CEILING_KEY",
    "COUNT_ENTRIES",
    "DOMAIN_ENTRY",
    "FRAME_AXIS_ENTRY",
    "FRAME_INDEX_KEY",
    "FRAME_KEYS",
    "KNOWN_KEYS",
    "ORIGIN_KEY",
    "PHOTON_ENTRIES",
    "REQUIRED_KEYS",
    "SATURATION_ENTRY",
    "assemble_scan",
    "metadata_in",
]

logger = logging.getLogger(__name__)

FRAME_KEYS = ("diff3d", "diffraction")
"""Names of the frames, the preferred one first."""

REQUIRED_KEYS = ("xcoords", "ycoords", "probeGuess")
"""Required beside the frames."""

ORIGIN_KEY = "objectGuess_origin"
"""(2,) float ``[y, x]``: index into objectGuess = coordinate + origin; zeros when the key is absent."""

FRAME_INDEX_KEY = "frame_index"
"""(n,) int: number of each frame in the measurement; 0 to n - 1 when the key is absent."""

FRAME_AXIS_ENTRY = "frame_axis"
"""Metadata entry, ``"first"`` or ``"last"``; settles the layout where n equals N."""

DOMAIN_ENTRY = "measurement_domain"
"""Metadata entry, and key, that states what the frames are."""

SATURATION_ENTRY = "saturation_counts"
"""Metadata entry: the largest value that the detector counts to."""

PHOTON_ENTRIES = ("nphotons", "probe_photon_count")
"""Metadata entries: mean counts of a frame, the one that is believed first at the front."""

COUNT_ENTRIES = (*PHOTON_ENTRIES, SATURATION_ENTRY)

CEILING_KEY = "ceiling"
"""(N, N) real: counts from which on a value of a pixel was not measured, infinity where there is no such
count."""

KNOWN_KEYS = (
    *FRAME_KEYS,
    *REQUIRED_KEYS,
    "objectGuess",
    ORIGIN_KEY,
    "scan_index",
    FRAME_INDEX_KEY,
    "bad_pixels",
    CEILING_KEY,
    "xcoords_start",
    "ycoords_start",
    "Y",
    "measurement_domain",
    "_metadata",
)
"""Every key that is read; others are left alone."""


@dataclass
class _Draft:
    """Canonical parts found so far; what is None is absent or had a problem."""

    frames_name: str = FRAME_KEYS[0]
    frames: Frames | None = None
    positions: npt.NDArray[np.float64] | None = None
    nominal: npt.NDArray[np.float64] | None = None
    probe: npt.NDArray[np.complex64] | None = None
    optional: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    stated_domain: str | None = None
    layout_domain: Domain | None = None
    clean: Collection[str] = CLEANING
    position_scale: float = 1.0
    cleaned: Cleaned | None = None
    problems: list[str] = field(default_factory=list)


def _report_missing(keys: set[str], problems: list[str]) -> None:
    missing = [name for name in REQUIRED_KEYS if name not in keys]
    if not keys.intersection(FRAME_KEYS):
        missing.insert(0, " or ".join(FRAME_KEYS))
    if missing:
        found = ", ".join(sorted(keys)) or "none"
        problems.append(
            Fault(
                f"missing {'key' if len(missing) == 1 else 'keys'} {', '.join(missing)}; keys found: {found}",
                ", ".join(missing),
            )
        )


def _pixel_width(metadata: Mapping[str, Any]) -> float | None:
    return finite_number(metadata.get(OBJECT_PIXEL[1]))


def _pair(
    arrays: Mapping[str, npt.NDArray[Any]], suffix: str, draft: _Draft
) -> npt.NDArray[np.float64] | None:
    """Positions (n, 2) ``[y, x]`` from the two coordinate arrays with this suffix."""
    names = (f"ycoords{suffix}", f"xcoords{suffix}")
    present = [name for name in names if name in arrays]
    if suffix and len(present) == 1:
        missing = next(name for name in names if name not in arrays)
        draft.problems.append(fault(missing, f"missing beside {present[0]}; store both or neither"))
        return None
    unread = "unread" in draft.clean and not suffix
    columns = [
        checks.canonical_coordinate(arrays[name], name, draft.problems, unread=unread) for name in present
    ]
    y, x = (columns[0], columns[1]) if len(columns) == 2 else (None, None)
    if y is None or x is None:
        return None
    if y.size != x.size:
        said = f"{x.size} and {y.size} entries, expected as many; {BOTH_FOR_EACH}"
        draft.problems.append(fault(", ".join(names[::-1]), said))
        return None
    return np.stack([y, x], axis=1) * draft.position_scale


def metadata_in(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Metadata as `assemble_scan` gives them out, without what they state about the file; never refused."""
    found = checks.parse_metadata(arrays["_metadata"], []) if "_metadata" in arrays else {}
    return {name: value for name, value in found.items() if name not in (DOMAIN_ENTRY, FRAME_AXIS_ENTRY)}


def _statements(arrays: Mapping[str, npt.NDArray[Any]], draft: _Draft) -> str | None:
    """Read metadata and the stated domain into ``draft``; return the stated frame axis."""
    if "_metadata" in arrays:
        draft.metadata = checks.parse_metadata(arrays["_metadata"], draft.problems)
        draft.problems.extend(wrong_counts(draft.metadata, COUNT_ENTRIES))
    stated = {}
    if DOMAIN_ENTRY in draft.metadata:
        stated["_metadata"] = str(draft.metadata.pop(DOMAIN_ENTRY))
    if "measurement_domain" in arrays:
        text = checks.parse_text(arrays["measurement_domain"], "measurement_domain", draft.problems)
        if text is not None:
            stated["its own key"] = text
    if len(set(stated.values())) > 1:
        draft.problems.append(
            fault(
                "measurement_domain",
                f"_metadata says {stated['_metadata']!r}, the key says "
                f"{stated['its own key']!r}; correct one of them",
            )
        )
    draft.stated_domain = next(iter(stated.values()), None)
    axis = draft.metadata.pop(FRAME_AXIS_ENTRY, None)
    if axis not in (None, "first", "last"):
        draft.problems.append(
            fault("_metadata", f"{FRAME_AXIS_ENTRY} is {axis!r}, expected 'first' or 'last'; state one")
        )
    return axis


def _frames(arrays: Mapping[str, npt.NDArray[Any]], axis: str | None, draft: _Draft) -> None:
    names = [name for name in FRAME_KEYS if name in arrays]
    if not names:
        return
    draft.frames_name = names[0]
    if len(names) > 1:
        logger.warning("both %s are present; %s is read", " and ".join(names), names[0])
    n = _n_positions(arrays)
    draft.frames = checks.frames_first(arrays[names[0]], n, names[0], axis, draft.problems)


def _n_positions(arrays: Mapping[str, npt.NDArray[Any]]) -> int | None:
    for name in ("xcoords", "ycoords"):
        if name in arrays and arrays[name].ndim == 1 and arrays[name].size:
            return int(arrays[name].size)
    return None


def _optional(arrays: Mapping[str, npt.NDArray[Any]], draft: _Draft) -> None:
    problems = draft.problems
    found: dict[str, npt.NDArray[Any] | None] = {}
    if "objectGuess" in arrays:
        found["objectGuess"] = checks.canonical_complex(
            arrays["objectGuess"], "objectGuess", ("height", "width"), problems
        )
    if ORIGIN_KEY in arrays:
        found[ORIGIN_KEY] = canonical_origin(arrays[ORIGIN_KEY], ORIGIN_KEY, problems)
    for name in ("scan_index", FRAME_INDEX_KEY):
        if draft.positions is not None and name in arrays:
            found[name] = checks.canonical_index(arrays[name], name, len(draft.positions), problems)
    if draft.frames is not None and "bad_pixels" in arrays:
        found["bad_pixels"] = checks.canonical_bad_pixels(
            arrays["bad_pixels"], draft.frames.shape[1], problems
        )
    if draft.frames is not None and CEILING_KEY in arrays:
        found[CEILING_KEY] = checks.canonical_ceiling(arrays[CEILING_KEY], draft.frames.shape[1], problems)
    if draft.frames is not None and "Y" in arrays:
        labels = checks.canonical_complex(arrays["Y"], "Y", ("frames", "N", "N"), problems)
        if labels is not None and labels.shape != draft.frames.shape:
            problems.append(
                fault(
                    "Y", f"expected {draft.frames.shape}, a patch per frame, got {labels.shape}; cut them so"
                )
            )
        elif labels is not None:
            found["Y"] = labels
    draft.optional = {name: value for name, value in found.items() if value is not None}


def _sizes(draft: _Draft, N: int | None) -> bool:
    """Whether frames and probe fit each other and ``N``, as they are or cropped."""
    if draft.frames is None or draft.probe is None:
        return False
    size, probe_size = int(draft.frames.shape[1]), int(draft.probe.shape[1])
    before = len(draft.problems)
    if N is not None and size < N:
        draft.problems.append(
            fault("N", f"{N} was asked for but the frames are {size} x {size} px; ask for {size} or less")
        )
    if N is not None and size > N and (N < 2 or N % 2):
        draft.problems.append(fault("N", f"cropping frames of {size} px to {N}; ask for an even N"))
    if probe_size > size:
        draft.problems.append(
            fault(
                "probeGuess",
                f"the probe ({probe_size} px) is larger than the frames ({size} px); crop the probe "
                "to the frames",
            )
        )
    elif probe_size != size and probe_size != N:
        draft.problems.append(
            fault(
                "probeGuess",
                f"the probe is {probe_size} px but the frames are {size} px; store a probe of the "
                f"size of the frames, or ask for N={probe_size} to crop the frames to a probe that was made "
                "for cropped frames",
            )
        )
    return len(draft.problems) == before


def assemble_scan(
    arrays: Mapping[str, npt.NDArray[Any]],
    *,
    measurement_domain: str = "auto",
    layout_domain: Domain | None = None,
    N: int | None = None,
    source: Path | None = None,
    problems: Iterable[str] = (),
    keys: Iterable[str] | None = None,
    owned: bool = False,
    progress: Progress | None = None,
    clean: Collection[str] = CLEANING,
    position_scale: float = 1.0,
) -> Scan:
    """Check named arrays against the data contract, bring them to canonical form and convert to counts.

    Pixels that did not measure are added to the mask and frames that are none are left out, as
    `ptycho_torch.diagnosis` finds them; what it says is in ``findings`` of the scan.

    Parameters
    ----------
    arrays
        Arrays under the names of the data contract (`KNOWN_KEYS`); others are left alone.
    measurement_domain
        ``"auto"``, ``"counts"`` or ``"amplitude"``: what the caller states about the frames.
    layout_domain
        What frames in a file of this format are, unless the caller or the file say otherwise.
    N
        Edge of the frames to return; px. Smaller than the frames: crop, see `ptycho_torch.data.scan.crop`.
    source
        Where the arrays come from, for messages and for the result.
    problems
        Problems found while reading, reported with those found here.
    keys
        All keys of the source, read or not; they are named when one is missing. The keys of ``arrays`` when
        left out.
    owned
        The arrays belong to this call, which may convert them in place.
    progress
        Called with frames checked and frames in all.
    clean
        Names of the diagnoses whose findings are masked or left out, see `ptycho_torch.diagnosis.table`.
    position_scale
        Factor on the positions, before anything is said about them.

    Returns
    -------
    Scan
        Counts, positions ``[y, x]`` in px, probe (P, N, N).

    Raises
    ------
    DataError
        With every problem of the scan.
    """
    draft = _Draft(
        problems=list(problems), layout_domain=layout_domain, clean=clean, position_scale=position_scale
    )
    _report_missing(set(arrays if keys is None else keys), draft.problems)
    axis = _statements(arrays, draft)
    draft.positions = _pair(arrays, "", draft)
    draft.nominal = _pair(arrays, "_start", draft)
    wanted = None if draft.positions is None else len(draft.positions)
    if wanted is not None and draft.nominal is not None and len(draft.nominal) != wanted:
        said = f"{len(draft.nominal)} entries, expected {wanted} as xcoords; store as many, or none"
        draft.problems.append(fault("xcoords_start, ycoords_start", said))
    if draft.positions is not None:
        checks.check_positions(draft.positions, draft.problems, pixel_m=_pixel_width(draft.metadata))
    _frames(arrays, axis, draft)
    if "probeGuess" in arrays:
        draft.probe = checks.canonical_probe(arrays["probeGuess"], draft.problems)
    _optional(arrays, draft)
    fits = _sizes(draft, N)
    _values(draft, measurement_domain, N if fits else None, progress)
    if draft.problems or draft.cleaned is None:
        raise DataError(draft.problems, source)
    return _finish(draft, draft.cleaned, N, source, owned)


def _values(draft: _Draft, measurement_domain: str, N: int | None, progress: Progress | None) -> None:
    """Look through the frames that will be used, decide their domain, and refuse what cannot be cleaned."""
    if draft.frames is None:
        return
    bad, ceilings = draft.optional.get("bad_pixels"), draft.optional.get(CEILING_KEY)
    frames = draft.frames
    if N is not None and frames.shape[1] > N:
        refusal = cannot_be_cropped(draft.metadata, N)
        if refusal is not None:
            draft.problems.append(refusal)
            return
        frames = crop_frames(frames, N)
        bad = None if bad is None else crop_middle(bad, N)
        ceilings = None if ceilings is None else crop_middle(ceilings, N)
        if bad is not None and bad.all():
            draft.problems.append(
                fault("bad_pixels", f"no pixel of the central {N} x {N} was measured; ask for a larger N")
            )
            return
    if draft.positions is None or draft.probe is None or len(draft.positions) != len(frames):
        # Refused already; what the frames hold is told with it.
        checks.check_frame_values(frames, bad, draft.frames_name, draft.problems, progress)
        return
    try:
        optics = near_field_of(draft.metadata, int(draft.frames.shape[1]))
        draft.cleaned = clean_frames(
            frames,
            positions=draft.positions,
            probe=as_far_field(draft.probe, optics),
            unmeasured=bad,
            requested=measurement_domain,
            in_file=draft.stated_domain,
            in_layout=draft.layout_domain,
            clean=draft.clean,
            ceiling=counts_of(draft.metadata, SATURATION_ENTRY),
            ceilings=ceilings,
            progress=progress,
        )
    except DataError as error:
        draft.problems.extend(error.problems)
        return
    if draft.cleaned.is_dark:
        said = "no value with light is below it, so none is measured; correct it or leave it out"
        draft.problems.append(fault(f"{CEILING_KEY}, {SATURATION_ENTRY}", said))
    draft.problems.extend(draft.cleaned.why_too_faint(draft.frames_name))
    if draft.cleaned.is_refused:
        asked = [finding for finding in draft.cleaned.findings if finding.name == "mask" and finding.found]
        draft.problems.extend(fault("bad_pixels", finding.sentence()) for finding in asked)
        rest = take_frames(frames, draft.cleaned.rows)
        checks.check_frame_values(rest, draft.cleaned.bad_pixels, draft.frames_name, draft.problems)


def _finish(draft: _Draft, cleaned: Cleaned, N: int | None, source: Path | None, owned: bool) -> Scan:
    assert draft.frames is not None
    assert draft.positions is not None
    assert draft.probe is not None
    frames, rows = draft.frames, cleaned.rows
    n = len(draft.positions)
    crop_to = N if N is not None and frames.shape[1] > N else None
    if crop_to is not None:
        frames = crop_frames(frames, crop_to)
    if len(rows) != n:
        frames, owned = take_frames(frames, rows), owned or not isinstance(frames, FrameStack)
    decision = cleaned.decision
    mask, in_place = cleaned.bad_pixels, owned and crop_to is None
    counts = to_counts(frames, decision.domain, bad_pixels=mask, clip=cleaned.clip, in_place=in_place)
    if isinstance(counts, FrameStack) and decision.domain == "counts" and cleaned.is_final:
        counts.remember_totals(cleaned.statistics.totals)
    nominal = draft.nominal if draft.nominal is not None else draft.positions.copy()
    numbers = draft.optional.get(FRAME_INDEX_KEY, np.arange(n))
    parts: dict[str, Any] = {
        "positions": draft.positions[rows],
        "positions_nominal": nominal[rows],
        "probe": draft.probe,
        "object_truth": draft.optional.get("objectGuess"),
        "object_truth_origin": draft.optional.get(ORIGIN_KEY, np.zeros(2)),
        "frame_index": numbers[rows],
    }
    for name, key in (("labels", "Y"), ("scan_index", "scan_index")):
        value = draft.optional.get(key)
        parts[name] = value if value is None or len(rows) == n else value[rows]
    metadata = dict(draft.metadata)
    if crop_to is not None:
        parts, note = crop_detector(parts, int(draft.frames.shape[1]), crop_to)
        metadata = {**rescaled_entries(metadata, 1 / note["position_scale"]), CROP_ENTRY: note}
    return Scan(
        diffraction=counts,
        bad_pixels=cleaned.bad_pixels,
        ceiling=cleaned.ceiling,
        domain=decision,
        metadata=metadata,
        source=source,
        findings=cleaned.findings,
        statistics=cleaned.statistics if cleaned.is_final else None,
        **parts,
    )
