"""Scans in counts: what a file holds, cropped to a model and brought to one unit."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ptycho_config import OrientationConfig, PartsConfig, TrainingConfig, spec_of
from ptycho_config.errors import ConfigError, Problem, suggest
from ptycho_torch.control import Progress
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.memory import HoldsScan, ScanSource, name_of
from ptycho_torch.data.scan.near_field import require_far_field
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import DataError, fault

__all__ = ["cleaning_of", "read_scan"]

logger = logging.getLogger(__name__)

_SAMPLE_FRAMES = 16


def read_scan(
    source: ScanSource | HoldsScan,
    *,
    n_pixels: int | None,
    measurement_domain: str,
    nphotons: float,
    progress: Progress | None = None,
    reader: Path | None = None,
    orientation: OrientationConfig | None = None,
    parts: PartsConfig | None = None,
    clean: str = "auto",
    strict: bool = False,
) -> Scan:
    """Read a scan for a model of ``n_pixels``; amplitudes of unknown dose get ``nphotons`` per frame.

    Parameters
    ----------
    source
        Whatever :func:`ptycho_torch.data.opening.open_scan` knows: a file, a directory, a scan in memory.
    n_pixels
        Frame size of the model; larger frames are cropped. None: as the scan has them.
    measurement_domain
        ``"auto"``, ``"counts"`` or ``"amplitude"``.
    nphotons
        Mean counts per frame of a scan whose amplitudes are not roots of whole counts.
    progress
        Called with frames checked and frames in all.
    reader
        Python file with a format of the caller's own.
    orientation
        How frames and positions are turned and scaled.
    parts
        What lies elsewhere: positions, probe, mask, optics.
    clean
        What is masked and left out, see :func:`cleaning_of`.
    strict
        Refuse a scan with findings that spoil a result, whether they can be cleaned or not.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    DataError
        If the scan breaks the data contract, ``strict`` refuses it, or frames for a model are those of the
        near field.
    ConfigError
        If ``clean`` names something that is not cleaned.
    """
    scan = open_scan(
        source,
        measurement_domain=measurement_domain,
        N=n_pixels,
        progress=progress,
        reader=reader,
        orientation=orientation,
        parts=parts,
        clean=cleaning_of(clean),
    )
    if n_pixels is not None:
        require_far_field(scan.metadata, "models")
    spoiling = [finding for finding in scan.findings if finding.found and finding.severity == "warning"]
    if strict and spoiling:
        raise DataError([fault(finding.name, finding.text) for finding in spoiling], scan.source)
    name = name_of(source)
    logger.info("%s: %d frames of %d px, %s", name, scan.n_frames, scan.N, scan.domain.reason)
    if scan.domain.domain == "counts" or _are_whole_counts(scan.diffraction[:_SAMPLE_FRAMES]):
        return scan
    factor = nphotons / float(scan.counts_per_frame().mean())
    if nphotons == spec_of(TrainingConfig, "nphotons").default:
        said = "%s: amplitudes of unknown dose, scaled to the default of %g photons per frame; state nphotons"
        logger.warning(said, name, nphotons)
    else:
        logger.info("%s: amplitudes of unknown dose, scaled to %g photons per frame", name, nphotons)
    return scan.scaled(factor)


def cleaning_of(clean: str) -> tuple[str, ...] | None:
    """Names of the findings that are masked or left out.

    Parameters
    ----------
    clean
        ``"auto"``, ``"off"``, or names of :data:`ptycho_torch.diagnosis.table.CLEANING` with commas.

    Returns
    -------
    tuple of str or None
        None: all of them, whatever format the scan has.

    Raises
    ------
    ConfigError
        For a name that is none.
    """
    if clean == "auto":
        return None
    names = tuple(name for name in (part.strip() for part in clean.split(",")) if name not in ("", "off"))
    unknown = [name for name in names if name not in CLEANING]
    if unknown:
        expected = f"auto, off, or some of {', '.join(CLEANING)}"
        raise ConfigError(Problem("clean", clean, expected, suggest(unknown[0], CLEANING)))
    return names


def _are_whole_counts(frames: np.ndarray) -> bool:
    values = frames[frames != 0]
    # Squares of single-precision roots carry a relative error of some 1e-7.
    near = np.allclose(values, np.round(values), rtol=5e-7, atol=0.05)
    # A value that rounds to no count at all is the square of a normalised amplitude.
    return near and bool((values > 0.5).all())
