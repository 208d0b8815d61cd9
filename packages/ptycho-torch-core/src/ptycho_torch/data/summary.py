"""What is in a scan file, for people: shapes, domain, geometry, dose, and what is wrong with it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ptycho_config import OrientationConfig, PartsConfig
from ptycho_torch.control import Progress, stage_of
from ptycho_torch.data.recognition import recognised
from ptycho_torch.data.scan.contract import DomainDecision, Scan
from ptycho_torch.data.scan.header import ArrayHeader
from ptycho_torch.diagnosis.evidence import Evidence
from ptycho_torch.diagnosis.finding import Finding
from ptycho_torch.diagnosis.statistics import FrameStatistics, frame_statistics
from ptycho_torch.diagnosis.table import examine
from ptycho_torch.errors import DataError, ShapeError, fault

__all__ = [
    "Examination",
    "PhotonStatistics",
    "PositionStatistics",
    "ScanSummary",
    "examine_scan",
    "inspect_scan",
    "probe_diameter",
    "summarise_scan",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotonStatistics:
    """Counts of a scan.

    Attributes
    ----------
    mean, minimum, maximum
        Counts per frame.
    max_pixel
        Largest value of one pixel; counts.
    zero_share
        Share of pixels without a count.
    n_hot_pixels
        Pixels that count without light, see `ptycho_torch.diagnosis.pixels.hot`; they are in the mask.
    """

    mean: float
    minimum: float
    maximum: float
    max_pixel: float
    zero_share: float
    n_hot_pixels: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionStatistics:
    """Geometry of a scan; px.

    Attributes
    ----------
    y_min, y_max, x_min, x_max
        Extent of the positions.
    median_step
        Median distance to the nearest different position; NaN for a single one.
    probe_diameter
        See `probe_diameter`.
    overlap
        ``1 - median_step / probe_diameter``, not below zero; NaN for a single position.
    """

    y_min: float
    y_max: float
    x_min: float
    x_max: float
    median_step: float
    probe_diameter: float
    overlap: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanSummary:
    """Content of one scan file; what could not be determined is None.

    Attributes
    ----------
    source
        The file, None for a scan in memory.
    headers
        Key to (shape, dtype) of what is stored; empty for a scan in memory.
    problems
        Why the file is refused; empty when it is sound.
    notes
        Worth knowing, though no reason to refuse: sentences of the findings that found something.
    remarks
        Those of the notes that came up while reading and are no findings.
    findings
        Of all diagnoses, those that found nothing too.
    """

    source: Path | None
    headers: Mapping[str, ArrayHeader]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    domain: DomainDecision | None = None
    n_frames: int | None = None
    N: int | None = None
    n_modes: int | None = None
    has_truth: bool | None = None
    n_bad_pixels: int | None = None
    positions: PositionStatistics | None = None
    photons: PhotonStatistics | None = None
    metadata: dict[str, Any] | None = None

    @property
    def is_sound(self) -> bool:
        """True when the file can be used."""
        return not self.problems


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """A scan file looked through: its summary and, where it is sound, the scan and what its frames hold."""

    summary: ScanSummary
    scan: Scan | None = None
    frames: FrameStatistics | None = None


def probe_diameter(probe: npt.NDArray[Any]) -> float:
    """Diameter of the disk that has the participation area of the probe intensity; px.

    ``A = (sum I)**2 / sum I**2`` with ``I = sum_m |P_m|**2``, and ``D = 2 sqrt(A / pi)``: exact for a uniform
    disk, four standard deviations for a Gaussian, and not misled by fringes as a half-maximum contour is.

    Parameters
    ----------
    probe
        (P, N, N) complex.

    Raises
    ------
    ShapeError
        The array has another rank.
    DataError
        It has no intensity, or is not finite.
    """
    if probe.ndim != 3:
        hint = "add a leading mode axis with probe[None]" if probe.ndim == 2 else ""
        raise ShapeError("probe", "(modes, N, N)", probe.shape, hint)
    intensity = (np.abs(probe).astype(np.float64) ** 2).sum(axis=0)
    peak = float(intensity.max())
    if not (math.isfinite(peak) and peak > 0):
        raise DataError(
            fault("probe", f"expected a positive, finite peak intensity, got {peak}; check the probe")
        )
    intensity /= peak
    area = float(intensity.sum() ** 2 / np.square(intensity).sum())
    return 2.0 * math.sqrt(area / math.pi)


def _positions(scan: Scan) -> PositionStatistics:
    low, high = scan.positions.min(axis=0), scan.positions.max(axis=0)
    diameter = probe_diameter(scan.probe)
    different = np.unique(scan.positions, axis=0)
    step = math.nan
    if len(different) > 1:
        distances, _ = cKDTree(different).query(different, k=2)
        step = float(np.median(distances[:, 1]))
    return PositionStatistics(
        y_min=float(low[0]),
        y_max=float(high[0]),
        x_min=float(low[1]),
        x_max=float(high[1]),
        median_step=step,
        probe_diameter=diameter,
        overlap=math.nan if math.isnan(step) else max(0.0, 1.0 - step / diameter),
    )


def _photons(scan: Scan, frames: FrameStatistics, findings: tuple[Finding, ...]) -> PhotonStatistics:
    measured = scan.N**2 - (0 if scan.bad_pixels is None else int(scan.bad_pixels.sum()))
    hot = next((finding.numbers.get("n_pixels", 0) for finding in findings if finding.name == "hot"), 0)
    return PhotonStatistics(
        mean=float(frames.totals.mean()),
        minimum=float(frames.totals.min()),
        maximum=float(frames.totals.max()),
        max_pixel=float(frames.highest.max()),
        zero_share=float(frames.n_zeros.sum()) / (measured * scan.n_frames),
        n_hot_pixels=int(hot),
    )


def _truth(scan: Scan) -> Finding:
    """Whether the known object, where there is one, reaches as far as the patches."""
    name = "truth"
    if scan.object_truth is None:
        return Finding(name=name, found=False, text="no object is known")
    low = scan.positions.min(axis=0) - scan.N // 2 + scan.object_truth_origin
    high = scan.positions.max(axis=0) - scan.N // 2 + scan.N - 1 + scan.object_truth_origin
    reach = f"rows {low[0]:.1f} to {high[0]:.1f}, columns {low[1]:.1f} to {high[1]:.1f}"
    shape = scan.object_truth.shape
    if (low >= 0).all() and (high <= np.array(shape) - 1).all():
        return Finding(name=name, found=False, text=f"objectGuess {shape} holds all patches")
    return Finding(name=name, found=True, text=f"patches reach beyond objectGuess {shape}: {reach}")


def _looked_through(scan: Scan, frames: FrameStatistics) -> tuple[Finding, ...]:
    """Findings of a scan that was made in memory."""
    return examine(
        Evidence(frames=frames, positions=scan.positions, probe=scan.probe, unmeasured=scan.bad_pixels)
    )


def _statistics_of(scan: Scan, progress: Progress | None = None) -> FrameStatistics:
    if scan.statistics is not None:
        return scan.statistics
    found = frame_statistics(scan.diffraction, unmeasured=scan.bad_pixels, progress=progress)
    if scan.bad_pixels is None:
        return found
    return replace(found, n_zeros=np.where(scan.bad_pixels, 0, found.n_zeros))


def summarise_scan(
    scan: Scan, headers: Mapping[str, ArrayHeader] | None = None, frames: FrameStatistics | None = None
) -> ScanSummary:
    """Summary of a scan in memory.

    Parameters
    ----------
    scan
        The scan.
    headers
        Headers of the file it came from.
    frames
        What its frames hold, if that is known already.
    """
    frames = frames or _statistics_of(scan)
    findings = (*(scan.findings or _looked_through(scan, frames)), _truth(scan))
    return ScanSummary(
        source=scan.source,
        headers=dict(headers or {}),
        notes=tuple(finding.sentence() for finding in findings if finding.found),
        findings=findings,
        domain=scan.domain,
        n_frames=scan.n_frames,
        N=scan.N,
        n_modes=scan.n_modes,
        has_truth=scan.object_truth is not None,
        n_bad_pixels=0 if scan.bad_pixels is None else int(scan.bad_pixels.sum()),
        positions=_positions(scan),
        photons=_photons(scan, frames, findings),
        metadata=dict(scan.metadata),
    )


def inspect_scan(
    path: str | PathLike[str],
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    reader: str | PathLike[str] | None = None,
    orientation: OrientationConfig | None = None,
    clean: Collection[str] | None = None,
    parts: PartsConfig | None = None,
) -> ScanSummary:
    """Summary of a scan file; what is wrong with the data is returned, not raised.

    Parameters
    ----------
    path, measurement_domain, N, reader, orientation, clean, parts
        As for `ptycho_torch.data.opening.open_scan`.

    Raises
    ------
    FileNotFoundError
        There is no such file or directory.
    """
    return examine_scan(
        path,
        measurement_domain=measurement_domain,
        N=N,
        reader=reader,
        orientation=orientation,
        clean=clean,
        parts=parts,
    ).summary


def examine_scan(
    path: str | PathLike[str],
    *,
    measurement_domain: str = "auto",
    N: int | None = None,
    progress: Progress | None = None,
    reader: str | PathLike[str] | None = None,
    orientation: OrientationConfig | None = None,
    clean: Collection[str] | None = None,
    parts: PartsConfig | None = None,
) -> Examination:
    """Summary of a scan file, with the scan itself and what its frames hold, to draw them for example.

    Parameters
    ----------
    path, measurement_domain, N, reader, orientation, clean, parts
        As for `ptycho_torch.data.opening.open_scan`.
    progress
        Called with frames summed up and frames in all; reading is a stage of its own.

    Raises
    ------
    FileNotFoundError
        There is no such file or directory.
    """
    source = Path(path)
    headers: dict[str, ArrayHeader] = {}
    reading = stage_of(progress, "reading", "frame")
    try:
        format, located = recognised(source, reader, parts=parts)
        headers.update(format.header(located).arrays)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            scan = format.read(
                located,
                measurement_domain=measurement_domain,
                N=N,
                progress=reading,
                orientation=orientation,
                clean=clean,
            )
    except DataError as error:
        return Examination(summary=ScanSummary(source=source, headers=headers, problems=error.problems))
    frames = _statistics_of(scan, progress)
    summary = summarise_scan(scan, headers, frames)
    if caught:
        raised = tuple(str(warning.message) for warning in caught)
        summary = replace(summary, notes=raised + summary.notes, remarks=raised)
    return Examination(summary=summary, scan=scan, frames=frames)
