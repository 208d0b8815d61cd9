"""Predict every patch of a scan and stitch one object, in memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ptycho_config import ConfigError, Problem
from ptycho_torch.control import Progress, ShouldStop, stage_of
from ptycho_torch.data.groups.dataset import Batch, GroupDataset, as_is
from ptycho_torch.data.groups.grouping import Groups, covering_groups
from ptycho_torch.data.reading import read_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.memory import HoldsScan, InMemory
from ptycho_torch.errors import DataError, Fault
from ptycho_torch.mainguard import require_main_guard
from ptycho_torch.models import PatchModel
from ptycho_torch.physics.placement_bilinear import Bilinear
from ptycho_torch.physics.residual import residual_of_pairs
from ptycho_torch.prediction.prefetch import prefetched
from ptycho_torch.prediction.scan_match import model_for
from ptycho_torch.reassembly import (
    ALONE,
    CanvasGeometry,
    StitchedObject,
    Team,
    canvas_for,
    centred_canvas,
    stitch,
)
from ptycho_torch.types import ComplexPatches, Positions

__all__ = [
    "Observe",
    "PatchStream",
    "default_physics_steps",
    "forward_residual_of",
    "largest_batch",
    "placed_weight",
    "reconstruct",
]

logger = logging.getLogger(__name__)

Observe = Callable[[np.ndarray, np.ndarray], None]
"""Called with patches, complex64 ``(batch, N, N)``, and their positions, float64 ``(batch, 2)``."""

# About what the libraries take themselves: the patches of 2,000 frames of 128 px.
_KEPT_BYTES = 256 * 2**20
# Of the memory that a GPU has free.
_KEPT_SHARE = 0.25
# Frames of a batch: what the network and the steps hold of them is about 200 bytes a pixel.
_LARGEST_BATCH_PX = 2**22
_LOADING_THREADS = 4
_STEPS_ALONE, _STEPS_TOGETHER = 4, 32
_KEPT_PASSES = 20
# Beside the middle of any patch the rims of others count for nothing; alone they fill the margin.
_RIM_SHARE = 1e-6
# Each pass predicts the patches beyond those that are kept again.
_STREAMED_PASSES = 3


@dataclass
class PatchStream:
    """Patches of a scan, predicted in batches; those of this process.

    A call with the number of batches to leave out yields the patches of the others, complex
    ``(batch, N, N)``, and their positions, ``(batch, 2)``, moved by ``shift``.
    """

    model: PatchModel
    scan: Scan
    groups: Groups
    batch_size: int
    num_workers: int = 0
    progress: Progress | None = None
    observe: Observe | None = None
    n_steps: int = 0
    shift: np.ndarray = field(default_factory=lambda: np.zeros(2))
    processes: Team = ALONE
    network: Callable[..., ComplexPatches] | None = None

    def __post_init__(self) -> None:
        self._data = GroupDataset(self.scan.diffraction, self.groups.frames, self.groups.offsets)

    def __call__(self, skip: int) -> Iterator[tuple[ComplexPatches, Positions]]:
        """All batches but the first ``skip``."""
        yield from self._predict(skip)
        # Later passes are part of the same work: progress that starts again would mislead.
        self.progress = self.observe = None

    @torch.no_grad()
    def _predict(self, skip: int) -> Iterator[tuple[ComplexPatches, Positions]]:
        device, n = self.model.intensity_scale.device, self.model.n_pixels
        starts = range(0, len(self._data), self.batch_size)[self.processes.number :: self.processes.count]
        rows = [range(start, min(start + self.batch_size, len(self._data))) for start in starts[skip:]]
        for part, batch in zip(rows, self._loaded(rows), strict=True):
            counts, offsets = (batch[name].to(device, non_blocking=True) for name in ("counts", "offsets"))
            drawn = self.model(counts, offsets, network=self.network)
            positions = self.scan.positions[self.groups.frames[part.start : part.stop].reshape(-1)]
            if self.observe is not None:
                self.observe(drawn.reshape(-1, n, n).cpu().numpy(), positions)
            held = self.model.held_to(counts, drawn, offsets, n_steps=self.n_steps)
            yield held.reshape(-1, n, n), torch.from_numpy(positions + self.shift)
            if self.progress is not None:
                self.progress(part.stop, len(self._data))
        if self.progress is not None and self.processes.count > 1:
            # The last batch may be that of another process.
            self.progress(len(self._data), len(self._data))

    def _loaded(self, rows: list[range]) -> Iterable[Batch]:
        if self.model.intensity_scale.is_cuda and not self.num_workers:
            # Frames that a file is read for are read by one thread at a time.
            in_memory = isinstance(self.scan.diffraction, np.ndarray)
            return prefetched(self._pinned, rows, n_threads=_LOADING_THREADS if in_memory else 1)
        return DataLoader(
            self._data,
            batch_sampler=[list(part) for part in rows],
            collate_fn=as_is,
            num_workers=self.num_workers,
            multiprocessing_context="spawn" if self.num_workers else None,
            # A seed for workers is drawn, which must not come from the random state of the caller.
            generator=torch.Generator(),
        )

    def _pinned(self, part: range) -> Batch:
        """A batch in memory from where it is copied to the GPU while that computes."""
        batch = self._data.__getitems__(part)
        for name in ("counts", "offsets"):
            batch[name] = batch[name].pin_memory()
        return batch


def reconstruct(
    model: PatchModel,
    scan: InMemory | HoldsScan,
    *,
    groups: Groups | None = None,
    batch_size: int = 16,
    num_workers: int = 0,
    middle_trim: int = 0,
    pad_eval: bool = False,
    physics_steps: int | None = None,
    patch_weighting: str = "probe",
    centre: tuple[float, float] | None = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    observe: Observe | None = None,
    processes: Team = ALONE,
    network: Callable[..., ComplexPatches] | None = None,
) -> StitchedObject:
    """Reconstruct the object of a scan, in memory.

    Parameters
    ----------
    model
        Trained model, on the device to use.
    scan
        Frames in counts and their positions, same ``N`` as the model; or arrays by their names in the data
        contract (``diff3d``, ``xcoords``, ``ycoords``, ``probeGuess``), which are checked like a file,
        cropped to the model and converted to counts. Amplitudes of unknown dose get that of the training.
    groups
        Which frames are solved together; if not given, every frame with its nearest neighbours.
    batch_size
        Groups predicted together, at most: as many are taken as fit into about a gigabyte.
    num_workers
        Processes that load frames; 0 loads them in this one.
    middle_trim
        Side in px of the middle of each patch that is used; 0 uses all of it.
    pad_eval
        What becomes of the margin that trimming leaves around the middles. Without it the canvas ends where
        they do. With it the canvas holds every patch whole, and the margin is filled from the rims of the
        patches there, with weights a million times smaller.
    physics_steps
        Classical steps that correct the predicted patches by their frames; if not given,
        :func:`default_physics_steps`.
    patch_weighting
        ``"probe"``: pixels of a patch count as they are lit; ``"uniform"``: all alike.
    centre
        ``(y, x)`` in px of the positions: the point that becomes the middle of the array, to the fraction of
        a pixel. Not given: the array begins at a whole-pixel coordinate.
    progress
        Called with groups done and groups in all; stitching is a stage of its own.
    should_stop
        Asked after every batch, in every process; one that says so ends all.
    observe
        Called once with each batch of patches as the network predicts them, complex64 ``(batch, N, N)``, and
        their positions, float64 ``(batch, 2)``.
    processes
        Those that call this together with the same scan; each predicts its share of the batches and all
        receive the object.
    network
        Does the work of the generator of the model: its compiled form, for example.

    Returns
    -------
    StitchedObject

    Raises
    ------
    DataError
        If the frames do not fit the model, or arrays break the data contract.
    ConfigError
        If ``middle_trim`` is larger than a patch, the scan too small for one group, or processes are to load
        for a script without a main guard.
    RunCancelled
        When ``should_stop`` said so.

    Warns
    -----
    UserWarning
        If the dose differs so much from that of the training that the intensity scale is taken
        from this scan instead of the bundle.
    """
    if num_workers:
        require_main_guard("num_workers", num_workers, without="num_workers=0")
    if not isinstance(scan, Scan):
        scan = read_scan(
            scan, n_pixels=model.n_pixels, measurement_domain="auto", nphotons=float(model.mean_counts)
        )
    if model.n_pixels != scan.N:
        said = f"frames of {scan.N} px do not fit a model of {model.n_pixels} px; read the scan with "
        raise DataError(Fault(f"{said}N={model.n_pixels} or use a model of its size", "frames"), scan.source)
    if groups is None:
        groups = covering_groups(scan.positions, model.n_channels, scan_index=scan.scan_index)
    was_training = model.training
    model.eval()
    try:
        seen = model_for(model, scan)
        weight = placed_weight(seen, patch_weighting, middle_trim, pad_eval=pad_eval)
        steps = default_physics_steps(seen) if physics_steps is None else physics_steps
        geometry, shift = _canvas(scan.positions[np.unique(groups.frames)], len(weight), centre)
        batch_size = largest_batch(batch_size, groups.frames.shape[1], scan.N)
        stream = PatchStream(
            seen, scan, groups, batch_size, num_workers, progress, observe, steps, shift, processes, network
        )
        n_kept = _bytes_to_keep(weight.device) // (8 * (len(weight) + 1) ** 2)
        n_batches = math.ceil(len(groups.frames) / batch_size)
        n_largest = math.ceil(n_batches / processes.count) * batch_size * groups.frames.shape[1]
        passes = _KEPT_PASSES if n_largest <= n_kept else _STREAMED_PASSES
        logger.debug(
            "%d patches of %d px on a canvas of %s px, origin %s, in at most %d passes",
            groups.frames.size,
            len(weight),
            geometry.shape,
            geometry.origin,
            passes,
        )
        result = stitch(
            stream,
            geometry,
            weight,
            n_kept=min(n_kept, n_largest),
            alignment_passes=passes,
            device=weight.device,
            processes=processes,
            progress=stage_of(progress, "stitching", "pass"),
            should_stop=should_stop,
        )
        return result if centre is None else replace(result, origin=result.origin + shift)
    finally:
        model.train(was_training)


def largest_batch(batch_size: int, n_channels: int, N: int) -> int:
    """So many groups of ``n_channels`` frames of ``N`` px as asked for, but no more than fit into memory."""
    return min(batch_size, max(1, _LARGEST_BATCH_PX // (n_channels * N**2)))


def _canvas(
    positions: np.ndarray, side: int, centre: tuple[float, float] | None
) -> tuple[CanvasGeometry, np.ndarray]:
    if centre is None:
        return canvas_for(positions, side), np.zeros(2)
    return centred_canvas(positions, side, centre)


def _patch_weight(model: PatchModel, patch_weighting: str) -> Tensor:
    if patch_weighting == "probe":
        return model.patch_weight()
    if patch_weighting == "uniform":
        return torch.ones_like(model.patch_weight())
    raise ConfigError(Problem("patch_weighting", patch_weighting, "'probe' or 'uniform'"))


def default_physics_steps(model: PatchModel) -> int:
    """Classical steps after the network where none are stated.

    More change little where the object scatters weakly. Frames of a group have to agree, which takes longer.
    """
    return _STEPS_TOGETHER if model.merges else _STEPS_ALONE


def _bytes_to_keep(device: torch.device) -> int:
    """How much the patches may take that are kept between the passes of the stitching."""
    if device.type != "cuda":
        return _KEPT_BYTES
    return max(_KEPT_BYTES, int(_KEPT_SHARE * torch.cuda.mem_get_info(device)[0]))


def forward_residual_of(
    result: StitchedObject,
    model: PatchModel,
    scan: Scan,
    *,
    batch_size: int = 16,
    processes: Team = ALONE,
    progress: Progress | None = None,
) -> float:
    """Forward residual of a stitched object, see :mod:`ptycho_torch.physics.residual`.

    Patches are cut from the object, so that what the stitching lost counts too. One intensity scale for the
    scan makes predicted and measured light equal.

    Parameters
    ----------
    result
        Object with its origin.
    model
        Has the physics of the scan, see :func:`ptycho_torch.prediction.scan_match.model_for`.
    scan
        Frames in counts.
    batch_size
        Frames compared together.
    processes
        Those that call this together with the same arguments; each compares its share.
    progress
        Called with frames compared and frames in all.
    """
    device = model.intensity_scale.device
    values, own_origin = _with_room(result, scan)
    image = torch.from_numpy(values).to(device)
    origin = torch.from_numpy(own_origin)
    starts = range(0, scan.n_frames, batch_size)[processes.number :: processes.count]
    passes = iter((0, 1))

    @torch.no_grad()
    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        # Frames are gone through twice: for the scale, and for the misfit.
        gone = next(passes) * scan.n_frames
        for start in starts:
            part = slice(start, start + batch_size)
            positions = torch.from_numpy(scan.positions[part])
            where = Bilinear(positions.to(device), scan.N, values.shape, origin=origin.to(device))
            patches = where.cut(image)
            counts = torch.from_numpy(scan.diffraction[part].astype(np.float32)).to(device)
            measured = model.measured_in(counts)
            predicted = torch.where(measured, model.predict_counts(patches), 0.0)
            yield predicted, torch.where(measured, counts, 0.0)
            if progress is not None:
                progress((gone + min(start + batch_size, scan.n_frames)) // 2, scan.n_frames)

    def total(sums: Tensor) -> Tensor:
        return processes.sum(sums.to(device)) if processes.count > 1 else sums

    return residual_of_pairs(pairs, total=total)


def _middle(values: Tensor, side: int) -> Tensor:
    """The middle ``side`` × ``side`` pixels; pixel ``side // 2`` of it is pixel ``N // 2`` of the patch."""
    start = values.shape[-1] // 2 - side // 2
    inner = slice(start, start + side)
    return values[..., inner, inner]


def placed_weight(
    model: PatchModel, patch_weighting: str = "probe", middle_trim: int = 0, *, pad_eval: bool = False
) -> Tensor:
    """Weight of what is placed of every patch, real ``(n, n)``; its side is how much that is.

    Parameters
    ----------
    model
        Has the physics of the scan.
    patch_weighting, middle_trim, pad_eval
        As for :func:`reconstruct`.

    Raises
    ------
    ConfigError
        If more is to be used of a patch than there is.
    """
    weight = _patch_weight(model, patch_weighting)
    n = weight.shape[-1]
    if middle_trim > n:
        raise ConfigError(Problem("middle_trim", middle_trim, f"at most {n} px, the side of a patch"))
    if middle_trim == 0:
        return weight
    middle = _middle(weight, middle_trim)
    if not pad_eval:
        return middle
    padded = _RIM_SHARE * weight
    _middle(padded, middle_trim).copy_(middle)
    return padded


def _with_room(result: StitchedObject, scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Object and origin, with ones around it as far as whole patches reach beyond it."""
    needed = canvas_for(scan.positions, scan.N)
    before = np.maximum(0, np.rint(needed.origin - result.origin)).astype(int)
    reach = np.subtract(needed.shape, needed.origin) - np.subtract(result.object.shape, result.origin)
    after = np.maximum(0, np.ceil(reach)).astype(int)
    if not before.any() and not after.any():
        return result.object, result.origin
    widths = tuple(zip(before.tolist(), after.tolist(), strict=True))
    return np.pad(result.object, widths, constant_values=1), result.origin + before
