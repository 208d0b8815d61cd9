"""With a network: patches are predicted and placed batch by batch, each turned to the phase of the object.

A new patch is turned towards what the canvas shows at its place; the first one decides the phase of all. When
no frame waits, everything that has come is stitched as at the end of a scan, which takes out the drift that
patch after patch builds up.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_torch.control import RunCancelled
from ptycho_torch.data.groups.grouping import Groups, covering_groups
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.live.engine import GoOn
from ptycho_torch.models import PatchModel
from ptycho_torch.prediction.reconstruction import (
    PatchStream,
    default_physics_steps,
    largest_batch,
    placed_weight,
    reconstruct,
)
from ptycho_torch.prediction.scan_match import model_for
from ptycho_torch.reassembly import Canvas, CanvasGeometry, StitchedObject, canvas_for
from ptycho_torch.reassembly.stitching import phases_towards
from ptycho_torch.refine.canvas import WorkingCanvas

__all__ = ["Predictions"]

_GROWN = 1.25


class Predictions:
    """Engine with a network.

    Parameters
    ----------
    model
        Trained model, on the device to use.
    batch_size
        Groups predicted together.
    middle_trim, pad_eval, physics_steps
        As for `ptycho_torch.prediction.reconstruction.reconstruct`.
    """

    def __init__(
        self,
        model: PatchModel,
        *,
        batch_size: int = 16,
        middle_trim: int = 0,
        pad_eval: bool = False,
        physics_steps: int | None = None,
    ) -> None:
        self.model = model
        self.how = {"middle_trim": middle_trim, "pad_eval": pad_eval, "physics_steps": physics_steps}
        self.batch_size = batch_size
        self.residual: float | None = None
        self._seen: PatchModel | None = None
        self._scan: Scan | None = None
        self._placed = np.empty(0, dtype=np.int64)
        self._canvas: Canvas | None = None
        self._whole = 0

    @property
    def n_unseen(self) -> int:
        """Frames whose patch is not placed yet."""
        return 0 if self._scan is None else self._scan.n_frames - len(self._placed)

    def unseen(self) -> npt.NDArray[np.int64]:
        """Rows of these frames in the scan."""
        n_frames = 0 if self._scan is None else self._scan.n_frames
        return np.setdiff1d(np.arange(n_frames), self._placed, assume_unique=True)

    def begin(self, scan: Scan) -> None:
        """See the frames through the physics of what has come; what is placed stays."""
        placed = self._scan.frame_index[self._placed] if self._scan is not None else self._placed
        first = self._seen is None
        with warnings.catch_warnings():
            if not first:
                warnings.simplefilter("ignore")
            self._seen = model_for(self.model, scan)
        self._scan = scan
        self._placed = np.flatnonzero(np.isin(scan.frame_index, placed))
        self._whole = 0

    def grow(self, scan: Scan) -> None:
        """Take frames more."""
        self._scan = scan

    def work(self, go_on: GoOn) -> bool:
        """Place the newest frames, or else stitch everything."""
        scan, model = self._scan, self._seen
        if scan is None or model is None or scan.n_frames < model.n_channels:
            return False
        waiting = self.unseen()
        was_training = model.training
        model.eval()
        try:
            if len(waiting):
                self._place(model, scan, waiting[-self.batch_size :])
                return True
            if scan.n_frames >= _GROWN * self._whole:
                self._stitch_all(model, scan, go_on)
            return False
        finally:
            model.train(was_training)

    @torch.no_grad()
    def _place(self, model: PatchModel, scan: Scan, chosen: np.ndarray) -> None:
        groups = _groups_around(scan, chosen, model.n_channels)
        steps = self.how["physics_steps"]
        stream = PatchStream(
            model,
            scan,
            groups,
            largest_batch(self.batch_size, model.n_channels, scan.N),
            n_steps=default_physics_steps(model) if steps is None else int(steps),
        )
        canvas = self._canvas_for(model, scan)
        for patches, positions in stream(0):
            placed = canvas.resample(patches, positions)
            where, weighted = canvas.weighted(placed)
            turn = phases_towards(where.cut(canvas.numerator), weighted)
            placed.values.mul_(torch.polar(torch.ones_like(turn), turn)[:, None, None])
            canvas.add(placed)
        self._placed = np.union1d(self._placed, chosen)

    def _canvas_for(self, model: PatchModel, scan: Scan) -> Canvas:
        """The canvas, with room for all patches of the scan."""
        weight = self._weight(model)
        device = weight.device
        if self._canvas is None:
            self._canvas = Canvas(canvas_for(scan.positions, len(weight)), weight, device=device)
            return self._canvas
        here = WorkingCanvas(geometry=self._canvas.geometry, margin_px=0)
        there = here.with_room(scan.positions, len(weight))
        if there is not here:
            larger = Canvas(there.geometry, weight, device=device)
            larger.numerator = there.carried(self._canvas.numerator, here)
            larger.denominator = there.carried(self._canvas.denominator, here)
            self._canvas = larger
        return self._canvas

    def _weight(self, model: PatchModel) -> Tensor:
        return placed_weight(
            model,
            middle_trim=int(self.how["middle_trim"] or 0),
            pad_eval=bool(self.how["pad_eval"]),
        )

    def _stitch_all(self, model: PatchModel, scan: Scan, go_on: GoOn) -> None:
        """The object of everything so far, as at the end of a scan; given up when new frames come."""
        try:
            whole = reconstruct(
                model,
                scan,
                batch_size=self.batch_size,
                should_stop=lambda: not go_on(),
                middle_trim=int(self.how["middle_trim"] or 0),
                pad_eval=bool(self.how["pad_eval"]),
                physics_steps=self.how["physics_steps"],
            )
        except RunCancelled:
            return
        self._whole = scan.n_frames
        weight = self._weight(model)
        geometry = CanvasGeometry(
            shape=(whole.object.shape[0], whole.object.shape[1]),
            origin=(float(whole.origin[0]), float(whole.origin[1])),
        )
        canvas = Canvas(geometry, weight, device=weight.device)
        canvas.denominator = torch.from_numpy(whole.weight).to(weight.device)
        canvas.numerator = torch.from_numpy(whole.object).to(weight.device) * canvas.denominator
        self._canvas = canvas

    def object(self) -> StitchedObject | None:
        """The object as it is stitched so far."""
        # What was carried to a larger canvas or taken from an object has lost how far patches agreed.
        return None if self._canvas is None else replace(self._canvas.result(), spread=None)


def _groups_around(scan: Scan, chosen: np.ndarray, n_channels: int) -> Groups:
    """Groups around some of the frames, of their nearest neighbours among all."""
    if n_channels == 1:
        return Groups(
            frames=chosen[:, None],
            seeds=chosen,
            centres=scan.positions[chosen],
            offsets=np.zeros((len(chosen), 1, 2)),
        )
    # Every frame has a group of its own.
    every = covering_groups(scan.positions, n_channels)
    rows = np.flatnonzero(np.isin(every.seeds, chosen))
    return Groups(
        frames=every.frames[rows],
        seeds=every.seeds[rows],
        centres=every.centres[rows],
        offsets=every.offsets[rows],
    )
