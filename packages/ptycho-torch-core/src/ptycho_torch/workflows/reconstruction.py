"""Predict every patch of a scan and stitch one object, in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ptycho_config import ConfigError, Problem
from ptycho_torch.control import Progress, RunCancelled, ShouldStop, stage_of, stop_if_asked
from ptycho_torch.data.contract import Scan
from ptycho_torch.data.dataset import Batch, GroupDataset, as_is
from ptycho_torch.data.grouping import Groups, covering_groups
from ptycho_torch.data.memory import InMemory
from ptycho_torch.errors import DataError
from ptycho_torch.models import PatchModel
from ptycho_torch.physics.patches import extract_patches
from ptycho_torch.reassembly import ALONE, Processes, StitchedObject, canvas_for, stitch
from ptycho_torch.types import ComplexPatches, Positions
from ptycho_torch.workflows.preparation import read_scan
from ptycho_torch.workflows.scan_match import model_for

__all__ = ["forward_residual_of", "reconstruct"]

logger = logging.getLogger(__name__)

Observe = Callable[[np.ndarray, np.ndarray], None]

_PATCH_MEMORY_BYTES = 512 * 2**20
_KEPT_PASSES = 20
# Beside the middle of any patch the rims of others count for nothing; alone they fill the margin.
_RIM_SHARE = 1e-6
# Where patches are not kept, each pass predicts them again.
_STREAMED_PASSES = 3


@dataclass
class _PatchStream:
    """Patches of a scan in batches, kept in memory when they are few, predicted anew when not."""

    model: PatchModel
    scan: Scan
    groups: Groups
    side: int
    batch_size: int
    num_workers: int
    progress: Progress | None
    should_stop: ShouldStop | None
    observe: Observe | None
    processes: Processes = ALONE

    def __post_init__(self) -> None:
        self._data = GroupDataset(self.scan.diffraction, self.groups.frames, self.groups.offsets)
        self._kept: list[tuple[ComplexPatches, Positions]] | None = None
        self._device = self.model.intensity_scale.device
        self._anybody_asks = self.processes.largest(float(self.should_stop is not None), self._device) > 0

    @property
    def fits_in_memory(self) -> bool:
        """Whether all patches may be kept between the passes of the stitching."""
        values = self.groups.frames.size * self.side**2 / self.processes.count
        return values * 8 <= _PATCH_MEMORY_BYTES

    def __call__(self) -> Iterator[tuple[ComplexPatches, Positions]]:
        kept = []
        for batch in self._in_step(self._predict() if self._kept is None else self._kept):
            if self._kept is None and self.fits_in_memory:
                kept.append(batch)
            yield batch
        if self._kept is not None:
            return
        # Later passes are part of the same work: progress that starts again would mislead.
        self.progress = self.observe = None
        if self.fits_in_memory:
            self._kept = kept

    def _in_step(
        self, batches: Iterable[tuple[ComplexPatches, Positions]]
    ) -> Iterator[tuple[ComplexPatches, Positions]]:
        """Batches of this process; all processes ask as often as the one that has the most."""
        remaining = iter(batches)
        for _ in range(-(-len(self._data) // (self.batch_size * self.processes.count))):
            batch = next(remaining, None)
            self._stop_if_asked()
            if batch is not None:
                yield batch
        yield from remaining

    def _stop_if_asked(self) -> None:
        if self.processes.count == 1:
            stop_if_asked(self.should_stop, "reconstruction")
        elif self._anybody_asks:
            # A process that stopped alone would leave the others waiting for it.
            wanted = float(self.should_stop is not None and self.should_stop())
            if self.processes.largest(wanted, self._device) > 0:
                raise RunCancelled("reconstruction")

    @torch.no_grad()
    def _predict(self) -> Iterator[tuple[ComplexPatches, Positions]]:
        device, n = self._device, self.model.n_pixels
        starts = range(0, len(self._data), self.batch_size)[self.processes.number :: self.processes.count]
        rows = [range(start, min(start + self.batch_size, len(self._data))) for start in starts]
        for part, batch in zip(rows, self._loaded(rows), strict=True):
            drawn = self.model(batch["counts"].to(device), batch["offsets"].to(device)).reshape(-1, n, n)
            positions = self.scan.positions[self.groups.frames[part.start : part.stop].reshape(-1)]
            if self.observe is not None:
                self.observe(drawn.cpu().numpy(), positions)
            yield _middle(drawn, self.side), torch.from_numpy(positions).to(device)
            if self.progress is not None:
                self.progress(part.stop, len(self._data))
        if self.progress is not None and self.processes.count > 1:
            # The last batch may be that of another process.
            self.progress(len(self._data), len(self._data))

    def _loaded(self, rows: list[range]) -> DataLoader[Batch]:
        return DataLoader(
            self._data,
            batch_sampler=[list(part) for part in rows],
            collate_fn=as_is,
            num_workers=self.num_workers,
            multiprocessing_context="spawn" if self.num_workers else None,
            # A seed for workers is drawn, which must not come from the random state of the caller.
            generator=torch.Generator(),
        )


def reconstruct(
    model: PatchModel,
    scan: InMemory,
    *,
    groups: Groups | None = None,
    batch_size: int = 16,
    num_workers: int = 0,
    middle_trim: int = 0,
    pad_eval: bool = False,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
    observe: Observe | None = None,
    processes: Processes = ALONE,
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
        Groups predicted together.
    num_workers
        Processes that load frames; 0 loads them in this one.
    middle_trim
        Side in px of the middle of each patch that is used; 0 uses all of it.
    pad_eval
        What becomes of the margin that trimming leaves around the middles. Without it the canvas ends where
        they do. With it the canvas holds every patch whole, and the margin is filled from the rims of the
        patches there, with weights a million times smaller.
    progress
        Called with groups done and groups in all; stitching is a stage of its own.
    should_stop
        Asked after every batch, in every process; one that says so ends all.
    observe
        Called once with each batch of patches as the network draws them, complex64 ``(batch, N, N)``, and
        their positions, float64 ``(batch, 2)``.
    processes
        Those that call this together with the same scan; each predicts its share of the batches and all
        receive the object.

    Returns
    -------
    StitchedObject

    Raises
    ------
    DataError
        If the frames do not fit the model, or arrays break the data contract.
    ConfigError
        If ``middle_trim`` is larger than a patch, or the scan too small for one group.
    RunCancelled
        When ``should_stop`` said so.

    Warns
    -----
    UserWarning
        If the dose differs so much from that of the training that the intensity scale is taken
        from this scan instead of the bundle.
    """
    if not isinstance(scan, Scan):
        scan = read_scan(
            scan, n_pixels=model.n_pixels, measurement_domain="auto", nphotons=float(model.mean_counts)
        )
    if model.n_pixels != scan.N:
        raise DataError(
            f"frames of {scan.N} px do not fit a model of {model.n_pixels} px; read the scan with "
            f"N={model.n_pixels} or use a model of its size",
            scan.source,
        )
    if groups is None:
        groups = covering_groups(scan.positions, model.n_channels, scan_index=scan.scan_index)
    was_training = model.training
    model.eval()
    try:
        seen = model_for(model, scan)
        weight = _placed_weight(seen.patch_weight(), middle_trim, pad_eval=pad_eval)
        stream = _PatchStream(
            seen,
            scan,
            groups,
            len(weight),
            batch_size,
            num_workers,
            progress,
            should_stop,
            observe,
            processes,
        )
        geometry = canvas_for(scan.positions[np.unique(groups.frames)], len(weight))
        passes = _KEPT_PASSES if stream.fits_in_memory else _STREAMED_PASSES
        logger.debug(
            "%d patches of %d px on a canvas of %s px, origin %s, in at most %d passes",
            groups.frames.size,
            len(weight),
            geometry.shape,
            geometry.origin,
            passes,
        )
        return stitch(
            stream,
            geometry,
            weight,
            alignment_passes=passes,
            device=weight.device,
            processes=processes,
            progress=stage_of(progress, "stitching", "pass"),
        )
    finally:
        model.train(was_training)


def forward_residual_of(
    result: StitchedObject,
    model: PatchModel,
    scan: Scan,
    *,
    batch_size: int = 16,
    processes: Processes = ALONE,
    progress: Progress | None = None,
) -> float:
    r"""Misfit of a stitched object to the frames, :math:`\sum|\sqrt\lambda-\sqrt I| / \sum\sqrt I`.

    Patches are cut from the object, so that what the stitching lost counts too. The intensity of
    each frame is scaled to its measured total: the flux of a source varies from frame to frame.

    Parameters
    ----------
    result
        Object with its origin.
    model
        Has the physics of the scan, see :func:`ptycho_torch.workflows.scan_match.model_for`.
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
    misfit = total = 0.0
    starts = range(0, scan.n_frames, batch_size)
    with torch.no_grad():
        for start in starts[processes.number :: processes.count]:
            part = slice(start, start + batch_size)
            positions = torch.from_numpy(scan.positions[part])
            patches = extract_patches(image, positions.to(device), scan.N, origin=origin.to(device))
            counts = torch.from_numpy(scan.diffraction[part].astype(np.float32)).to(device)
            counts = counts * model.measured
            predicted = model.predict_counts(patches) * model.measured
            sums = predicted.sum(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
            predicted = predicted * counts.sum(dim=(-2, -1), keepdim=True) / sums
            misfit += float((predicted.sqrt() - counts.sqrt()).abs().sum())
            total += float(counts.sqrt().sum())
            if progress is not None:
                progress(min(start + batch_size, scan.n_frames), scan.n_frames)
    if processes.count > 1:
        misfit, total = processes.sum(
            torch.tensor([misfit, total], dtype=torch.float64, device=device)
        ).tolist()
    return misfit / total


def _middle(values: Tensor, side: int) -> Tensor:
    """The middle ``side`` × ``side`` pixels; pixel ``side // 2`` of it is pixel ``N // 2`` of the patch."""
    start = values.shape[-1] // 2 - side // 2
    inner = slice(start, start + side)
    return values[..., inner, inner]


def _placed_weight(weight: Tensor, middle_trim: int, *, pad_eval: bool) -> Tensor:
    """Weight of what is placed of every patch; its side is how much that is."""
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
