"""What readers of HDF5 layouts have in common: pair frames with positions, convert metres, make a scan."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.control import Progress
from ptycho_torch.data.hdf5.files import Contents, StoredArray, opened
from ptycho_torch.data.scan.assemble import (
    FRAME_AXIS_ENTRY,
    FRAME_INDEX_KEY,
    FRAME_KEYS,
    ORIGIN_KEY,
    REQUIRED_KEYS,
    assemble_scan,
)
from ptycho_torch.data.scan.checks import probe_size_from_shape
from ptycho_torch.data.scan.contract import OBJECT_IS_GUESS, Scan
from ptycho_torch.data.scan.geometry import (
    ENERGY,
    OBJECT_PIXEL,
    ZERO,
    Pair,
    beyond_middle,
    conjugate_pixel_m,
)
from ptycho_torch.data.scan.header import ArrayHeader, Located, ScanHeader
from ptycho_torch.data.scan.lazy import HDF5Frames
from ptycho_torch.errors import DataError, Fault, fault

__all__ = ["Gathered", "pair_by_index", "positions_from_metres"]

logger = logging.getLogger(__name__)

Indices = npt.NDArray[np.int64]
Positions = npt.NDArray[np.float64]

_LARGEST_EXTENT_PX = 1e6
_SAME_PX = 1e-4
_SAME_PIXEL = 0.02


def pair_by_index(
    frame_index: Indices,
    position_index: Indices,
    positions: Positions,
    problems: list[str],
    remarks: list[str],
) -> tuple[Indices, Positions]:
    """Frames that have a position, and their positions.

    A position without a frame is left out. Several positions of one number were measured during one exposure:
    their mean is taken. A frame whose number lies between those of positions gets its place between them, as
    ptychodus does it; other frames without a position are left out. Remarks say how many.

    Parameters
    ----------
    frame_index, position_index
        int64, ``(n,)`` and ``(m,)``: numbers in the measurement; negative: an empty slot.
    positions
        ``(m, 2)``.
    problems
        A sentence is appended when there is no pair at all.
    remarks
        Sentences about what was left out or averaged are appended.

    Returns
    -------
    rows, positions
        int64 ``(k,)`` into the frames, and ``(k, 2)``.
    """
    numbers, inverse = np.unique(position_index, return_inverse=True)
    times = np.bincount(inverse)
    mean = np.stack([np.bincount(inverse, weights=column) / times for column in positions.T], axis=1)
    real = numbers >= 0
    mean, times, numbers = mean[real], times[real], numbers[real]
    exact = np.isin(frame_index, numbers) & (frame_index >= 0)
    rows = np.zeros(0, dtype=np.int64)
    if exact.any():
        rows = np.flatnonzero((frame_index >= numbers[0]) & (frame_index <= numbers[-1]))
    if not rows.size:
        problems.append(
            Fault(
                f"no frame has a position: frames are numbered {frame_index.min()} to {frame_index.max()}, "
                f"positions {position_index.min()} to {position_index.max()}; the files are of different "
                "scans",
                "positions",
            )
        )
        return rows, positions[:0]
    alone = int((frame_index >= 0).sum()) - rows.size
    unused = int((~np.isin(numbers, frame_index)).sum())
    if alone or unused:
        remarks.append(
            f"{alone} frames without a position and {unused} positions without a frame are left out; "
            f"{rows.size} pairs remain"
        )
    several = int((times > 1).sum())
    if several:
        remarks.append(f"{several} frames have several positions; their mean is taken")
    chosen = frame_index[rows]
    filled = int(len(rows) - exact[rows].sum())
    if filled:
        remarks.append(
            f"{filled} frames have no position of their number; it is put between those of their neighbours"
        )
    places = [np.interp(chosen, numbers, column) for column in mean.T]
    return rows, np.stack(places, axis=1)


def positions_from_metres(
    y_m: Positions,
    x_m: Positions,
    *,
    pixel_m: Pair,
    centre_m: Pair,
    shape: tuple[int, int],
    problems: list[str],
) -> Positions | None:
    """Positions (n, 2) ``[y, x]`` in px of an object array, or None with a problem.

    ``px = (metres - centre) / pixel + (size - 1) / 2`` along each axis.

    Parameters
    ----------
    y_m, x_m
        (n,) each.
    pixel_m, centre_m
        ``(y, x)``: object pixel, and centre of the object array.
    shape
        ``(height, width)`` of the object array; px.
    problems
        A sentence is appended when the positions are in another unit.
    """
    columns = [
        (metres - centre) / pixel + (size - 1) / 2
        for metres, centre, pixel, size in zip((y_m, x_m), centre_m, pixel_m, shape, strict=True)
    ]
    positions = np.stack(columns, axis=1)
    if len(positions) < 2 or not np.isfinite(positions).all():
        return positions
    extent = np.ptp(positions, axis=0)
    spans = f"x spans {np.ptp(x_m):g} m, y spans {np.ptp(y_m):g} m, an object pixel is {pixel_m[1]:g} m wide"
    if extent.max() < 1.0:
        problems.append(
            fault(
                "positions",
                f"all {len(positions)} positions lie inside one pixel ({spans}); they and the pixel "
                "size must be metres",
            )
        )
        return None
    if extent.max() > _LARGEST_EXTENT_PX:
        problems.append(
            fault(
                "positions",
                f"they reach over {extent.max():.3g} object pixels ({spans}); they must be metres, so "
                "multiply micrometres by 1e-6 and pixels by the object pixel size",
            )
        )
        return None
    return positions


def check_pixel(
    stated_m: Pair,
    detector_m: Pair,
    shape: tuple[int, int],
    remarks: list[str],
    *,
    energy_eV: float,
    distance_m: float,
) -> None:
    """Remark when the object pixel is not the one that detector, energy and distance make."""
    for stated, detector, size, axis in zip(stated_m, detector_m, shape, ("height", "width"), strict=True):
        expected = conjugate_pixel_m(detector, size, energy_eV=energy_eV, distance_m=distance_m)
        if abs(stated / expected - 1) > _SAME_PIXEL:
            remarks.append(
                f"object pixel {axis} is {stated:.4g} m, but energy, distance and detector pixel make it "
                f"{expected:.4g} m; the stated one is used"
            )


@dataclass
class Gathered:
    """Parts of a scan found in HDF5 files; what is None is absent or had a problem.

    Header and scan are made from the same parts by `settle`, so they agree about the frames.

    Attributes
    ----------
    located
        The files.
    names
        Name in the data contract to name in the file, for messages.
    remarks
        Sentences for a log, said when the scan is made.
    positions
        (m, 2) ``[y, x]``; px. In a file, of the middle of each patch; from `settle` on, of pixel ``N // 2``.
    object
        (H, W), left in its file until the scan is made.
    object_is_guess
        Whether the layout holds what somebody has reconstructed so far, and no known object.
    own
        What this package wrote beside the layout, see `ptycho_torch.data.hdf5.extension`.
    """

    located: Located
    names: Mapping[str, str]
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    frames: HDF5Frames | None = None
    frame_index: Indices | None = None
    positions: Positions | None = None
    position_index: Indices | None = None
    probe: npt.NDArray[Any] | None = None
    object: StoredArray | None = None
    bad_pixels: npt.NDArray[Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] | None = None
    object_is_guess: bool = False

    @property
    def source(self) -> Path:
        """File with the frames."""
        return self.located.frames

    def settle(self) -> Gathered:
        """Choose the rows that are frames with a position, and take over what was stored exactly."""
        if self.positions is not None and self.frames is not None:
            self.positions = self.positions + beyond_middle(self.frames.shape[1])
        self._keep_complete()
        whole = self._pair()
        if self.own is not None and not (whole and self._belongs(self.own)):
            self.own = None
        if self.own is not None:
            self.metadata = self.own["metadata"]
        elif self.object_is_guess:
            self.metadata[OBJECT_IS_GUESS] = True
        return self

    def header(self) -> ScanHeader:
        """Sizes and metadata, and what is in the files; no frame is read."""
        arrays: dict[str, ArrayHeader] = {}
        for path in self.located.files:
            with opened(path) as file:
                arrays |= Contents(file, []).headers()
        frames, positions = self.frames, self.positions
        paired = frames is not None and positions is not None and len(frames) == len(positions)
        return ScanHeader(
            located=self.located,
            n_frames=len(positions) if paired and positions is not None else None,
            N=None if frames is None else frames.shape[1],
            probe_size=None if self.probe is None else probe_size_from_shape(self.probe.shape),
            metadata=self.metadata,
            arrays=arrays,
        )

    def scan(
        self, *, measurement_domain: str = "auto", N: int | None = None, progress: Progress | None = None
    ) -> Scan:
        """The scan, frames left in their file.

        Raises
        ------
        DataError
            With every problem, in the names of the file.
        """
        for remark in self.remarks:
            logger.warning("%s: %s", self.source, remark)
        arrays = self._arrays()
        if self.own is not None:
            arrays = self._with_own(arrays, self.own)
        arrays["_metadata"] = np.array(json.dumps({**self.metadata, FRAME_AXIS_ENTRY: "first"}))
        try:
            return assemble_scan(
                arrays,
                measurement_domain=measurement_domain,
                layout_domain="counts",
                N=N,
                source=self.source,
                problems=self.problems,
                # What is missing was reported in the names of the file.
                keys=(*REQUIRED_KEYS, *FRAME_KEYS),
                progress=progress,
            )
        except DataError as error:
            raise DataError([self._translated(problem) for problem in error.problems], self.source) from error

    def _keep_complete(self) -> None:
        """Of a file that a writer fills, keep what is complete: as many frames as positions, in order."""
        frames, positions = self.frames, self.positions
        if frames is None or not frames.is_growing:
            return
        n = len(frames) if positions is None else min(len(frames), len(positions))
        self.remarks.append(f"the file is being written; the {n} frames that are complete so far are read")
        if n == 0:
            self.problems.append(
                Fault("the file is being written, and no frame is complete yet; wait for the first ones")
            )
        self.frames = frames.take(np.arange(n))
        self.positions = None if positions is None else positions[:n]
        for name in ("frame_index", "position_index"):
            index = getattr(self, name)
            setattr(self, name, None if index is None else index[:n])

    def _pair(self) -> bool:
        """Pair frames and positions; whether all of both are used in the order stored."""
        if self.frames is None or self.positions is None:
            return False
        if self.frame_index is None or self.position_index is None:
            return len(self.positions) == len(self.frames)
        rows, positions = pair_by_index(
            self.frame_index, self.position_index, self.positions, self.problems, self.remarks
        )
        if not rows.size:
            self.positions = None
            return False
        whole = len(rows) == len(self.frames) == len(self.positions)
        self.positions, self.frame_index = positions, self.frame_index[rows]
        self.frames = self.frames.take(rows)
        return whole

    def _belongs(self, own: Mapping[str, Any]) -> bool:
        """Whether what was stored exactly still belongs to the positions in metres."""
        assert self.positions is not None
        exact = own["positions"]
        difference = (
            np.abs(self.positions - own["file_origin"] - exact)
            if exact.shape == self.positions.shape
            else np.inf
        )
        if np.max(difference) < _SAME_PX:
            return True
        self.remarks.append("the positions were changed since the file was written")
        return False

    def _arrays(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            FRAME_KEYS[0]: self.frames,
            "probeGuess": self.probe,
            "objectGuess": None if self.object is None else self.object.load(self.problems),
            FRAME_INDEX_KEY: self.frame_index,
        }
        if self.bad_pixels is not None and self.bad_pixels.any():
            found["bad_pixels"] = self.bad_pixels
        if self.positions is not None:
            found["ycoords"], found["xcoords"] = self.positions.T
        return {name: value for name, value in found.items() if value is not None}

    def _with_own(self, arrays: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
        """Arrays with what was stored exactly."""
        result = dict(arrays)
        for suffix, name in (("", "positions"), ("_start", "positions_nominal")):
            result[f"ycoords{suffix}"], result[f"xcoords{suffix}"] = own[name].T
        result |= {
            ORIGIN_KEY: own["object_origin"],
            "scan_index": own["scan_index"],
            FRAME_INDEX_KEY: own["frame_index"],
        }
        labels = None if own["labels"] is None else own["labels"].load(self.problems)
        if labels is not None:
            result["Y"] = labels
        if not own["has_object"]:
            result.pop("objectGuess", None)
        if own["has_bad_pixels"] and self.bad_pixels is not None:
            result["bad_pixels"] = self.bad_pixels
        return result

    def _translated(self, problem: Fault) -> Fault:
        return Fault(self._in_the_file(problem), self._in_the_file(problem.name))

    def _in_the_file(self, said: str) -> str:
        for ours, theirs in self.names.items():
            said = re.sub(rf"\b{ours}\b", theirs, said)
        return said


def zero_entries(pixel_m: Pair, centre_m: Pair, shape: tuple[int, int]) -> dict[str, float]:
    """Metadata of the pixel grid: pixel size, and where index zero of an object array of ``shape`` lies."""
    zero = [c - (size - 1) / 2 * p for c, size, p in zip(centre_m, shape, pixel_m, strict=True)]
    return {name: float(value) for name, value in zip((*OBJECT_PIXEL, *ZERO), (*pixel_m, *zero), strict=True)}


def check_energy(energy_eV: float | None, name: str, problems: list[str]) -> float | None:
    """Energy when it is one, else None with a problem."""
    if energy_eV is None:
        return None
    if not 1e-3 < energy_eV < 1e9:
        problems.append(
            fault(
                name,
                f"a photon energy of {energy_eV:g} eV; expected electronvolts in {ENERGY} and joules in CXI",
            )
        )
        return None
    return energy_eV
