"""What readers of HDF5 layouts have in common: pair frames with positions, convert metres, make a scan."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ptycho_config import PartsConfig
from ptycho_torch.control import Progress
from ptycho_torch.data.hdf5.files import Contents, StoredArray, opened
from ptycho_torch.data.hdf5.positions import pair_by_index
from ptycho_torch.data.hdf5.stated import PARTS_ENTRY, ProbeGuess, apply_stated, record_of, stated_optics
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
from ptycho_torch.data.scan.geometry import beyond_middle
from ptycho_torch.data.scan.header import ArrayHeader, Located, ScanHeader
from ptycho_torch.data.scan.lazy import FrameStack
from ptycho_torch.data.scan.orientation import ORIENTATIONS, Orientation, turn_frames
from ptycho_torch.data.scan.probe_guess import mean_frame, probe_of_mean_frame
from ptycho_torch.diagnosis.finding import Finding
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import DataError, Fault, fault

__all__ = ["Gathered"]

logger = logging.getLogger(__name__)

Indices = npt.NDArray[np.int64]
Positions = npt.NDArray[np.float64]

_SAME_PX = 1e-4
_NOTHING = PartsConfig()
_NO_PROBE = (
    "refine it with --refine-probe, or state a probe (--probe FILE), or a model of its optics (--probe-model)"
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
    holders
        Files with arrays that a header lists; None: those that were located.
    guess
        Where the layout has no room for a probe: from the mean frame to a probe to begin with.
    object_is_guess
        Whether the layout holds what somebody has reconstructed so far, and no known object.
    window
        Shape of the frames in the file, and top, left and edge of what is taken of them; None: all.
    turn
        How the frames are to be turned, where the layout says so.
    own
        What this package wrote beside the layout, see `ptycho_torch.data.hdf5.extension`.
    """

    located: Located
    names: Mapping[str, str]
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    frames: FrameStack | None = None
    frame_index: Indices | None = None
    positions: Positions | None = None
    position_index: Indices | None = None
    probe: npt.NDArray[Any] | None = None
    object: StoredArray | None = None
    bad_pixels: npt.NDArray[Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] | None = None
    object_is_guess: bool = False
    holders: tuple[Path, ...] | None = None
    guess: ProbeGuess | None = None
    window: tuple[tuple[int, ...], int, int, int] | None = None
    turn: Orientation = ORIENTATIONS[0]

    def __post_init__(self) -> None:
        self._is_made = False
        self.metadata |= {**self.located.metadata, **stated_optics(self.located.parts)}

    @property
    def parts(self) -> PartsConfig:
        """What is stated beside the file, and outranks it."""
        return self.located.parts or _NOTHING

    @property
    def needs_positions(self) -> bool:
        """Whether the file has to say the positions."""
        return self.parts.positions is None and self.parts.raster_step is None

    @property
    def needs_probe(self) -> bool:
        """Whether the file has to hold a probe, where its layout has one."""
        return self.parts.probe is None and self.parts.probe_model is None

    @property
    def source(self) -> Path:
        """File with the frames."""
        return self.located.frames

    def lengths(self, contents: Contents, name: str) -> Positions | None:
        """Positions of a dataset, m: in the unit that is stated for them, else in that of the file."""
        unit = self.parts.position_unit
        if unit == "px":
            said = "this layout states lengths; name the dataset in positions too, if it holds pixels"
            self.problems.append(Fault(f"position_unit px: {said}", "position_unit"))
            return None
        return contents.quantities(name, "m", instead=unit)

    def settle(self) -> Gathered:
        """Take what is stated elsewhere, choose the rows that are frames with a position, and take over what
        was stored exactly.
        """
        stated = record_of(self.located.parts)
        if stated:
            apply_stated(self)
        if self.positions is not None and self.frames is not None:
            self.positions = self.positions + beyond_middle(self.frames.shape[1])
        self._keep_complete()
        whole = self._pair()
        if self.own is not None and stated:
            # What is stated now outranks what was stored then.
            self.metadata, self.own = {**self.own["metadata"], **self.metadata}, None
        if self.own is not None and not (whole and self._belongs(self.own)):
            self.own = None
        if self.own is not None:
            self.metadata = self.own["metadata"]
        elif self.object_is_guess:
            self.metadata[OBJECT_IS_GUESS] = True
        if stated:
            self.metadata[PARTS_ENTRY] = stated
        self._mask_unmapped()
        if self.frames is not None and self.turn != ORIENTATIONS[0]:
            self.frames = cast(FrameStack, turn_frames(self.frames, self.turn))
            if self.bad_pixels is not None:
                self.bad_pixels = np.asarray(turn_frames(self.bad_pixels[None], self.turn))[0]
        return self

    def _mask_unmapped(self) -> None:
        """Count pixels that a virtual dataset maps to nothing as not measured."""
        unmapped = None if self.frames is None else self.frames.unmapped
        if unmapped is None or not unmapped.any():
            return
        count = np.count_nonzero(unmapped)
        self.remarks.append(f"{count} pixels of the frames are in no file; they count as not measured")
        if self.bad_pixels is None:
            self.bad_pixels = unmapped
        elif self.bad_pixels.shape == unmapped.shape:
            self.bad_pixels = (self.bad_pixels != 0) | unmapped

    def header(self) -> ScanHeader:
        """Sizes and metadata, and what is in the files; no frame is read."""
        arrays: dict[str, ArrayHeader] = {}
        for path in self.located.files if self.holders is None else self.holders:
            with opened(path) as file:
                arrays |= Contents(file, []).headers()
        frames, positions = self.frames, self.positions
        paired = frames is not None and positions is not None and len(frames) == len(positions)
        return ScanHeader(
            n_frames=len(positions) if paired and positions is not None else None,
            N=None if frames is None else frames.shape[1],
            probe_size=self._probe_size(),
            metadata=self.metadata,
            arrays=arrays,
        )

    def _probe_size(self) -> int | None:
        if self.probe is not None:
            return probe_size_from_shape(self.probe.shape)
        return None if self.guess is None or self.frames is None else self.frames.shape[1]

    def _guess_probe(self) -> None:
        """Begin with a probe that is made from the frames, where the layout holds none."""
        if self.probe is not None or self.guess is None or self.frames is None:
            return
        lacks = self.frames.unwritten
        frames = self.frames if lacks is None else self.frames.take(np.flatnonzero(~lacks))
        mean = mean_frame(frames, self.bad_pixels)
        if not mean.any():
            return
        self.probe = self.guess(mean)
        self._is_made = self.guess is probe_of_mean_frame

    def scan(
        self,
        *,
        measurement_domain: str = "auto",
        N: int | None = None,
        progress: Progress | None = None,
        clean: Collection[str] = CLEANING,
        position_scale: float = 1.0,
    ) -> Scan:
        """The scan, frames left in their file.

        Raises
        ------
        DataError
            With every problem, in the names of the file.
        """
        self._guess_probe()
        for remark in self.remarks:
            logger.warning("%s: %s", self.source, remark)
        arrays = self._arrays()
        if self.own is not None:
            arrays = self._with_own(arrays, self.own)
        arrays["_metadata"] = np.array(json.dumps({**self.metadata, FRAME_AXIS_ENTRY: "first"}))
        try:
            scan = assemble_scan(
                arrays,
                measurement_domain=measurement_domain,
                layout_domain="counts",
                N=N,
                source=self.source,
                problems=self.problems,
                # What is missing was reported in the names of the file.
                keys=(*REQUIRED_KEYS, *FRAME_KEYS),
                progress=progress,
                clean=clean,
                position_scale=position_scale,
            )
        except DataError as error:
            raise DataError([self._translated(problem) for problem in error.problems], self.source) from error
        return replace(scan, findings=(*scan.findings, *self._as_read()))

    def _as_read(self) -> tuple[Finding, ...]:
        """What came up while the files were read, as findings."""
        said = "; ".join(self.remarks) or "the files were taken as they are"
        made = self._is_made and self.needs_probe
        missing = "the file holds no probe: one to begin with is made from the mean frame, in focus"
        return (
            Finding(name="as-read", found=bool(self.remarks), text=said),
            Finding(
                name="no-probe",
                found=made,
                severity="warning",
                text=missing if made else "there is a probe",
                advice=_NO_PROBE if made else "",
            ),
        )

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
        labels = None if own["labels"] is None else self._labels(own["labels"])
        if labels is not None:
            result["Y"] = labels
        if not own["has_object"]:
            result.pop("objectGuess", None)
        if own["has_bad_pixels"] and self.bad_pixels is not None:
            result["bad_pixels"] = self.bad_pixels
        return result

    def _labels(self, stored: StoredArray) -> npt.NDArray[Any] | None:
        """One patch per frame; None with a problem."""
        shape = () if self.frames is None else self.frames.shape
        if stored.shape == shape:
            return stored.load(self.problems)
        self.problems.append(
            fault(
                "Y", f"expected one patch per frame, {shape}, got {stored.shape}; cut them so, or leave Y out"
            )
        )
        return None

    def _translated(self, problem: Fault) -> Fault:
        return problem.reworded(self._in_the_file(problem), self._in_the_file(problem.name))

    def _in_the_file(self, said: str) -> str:
        for ours, theirs in self.names.items():
            said = re.sub(rf"\b{ours}\b", theirs, said)
        return said
