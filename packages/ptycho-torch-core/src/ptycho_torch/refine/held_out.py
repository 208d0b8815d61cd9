"""Hold frames out, refine an object from the others, and see whether it explains those held out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import RefineConfig, evolve
from ptycho_torch.data import Scan
from ptycho_torch.diagnosis.verdict import Misfits, Verdict, misfits, verdict
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.residual import predicted_pairs
from ptycho_torch.refine.result import SubPixel
from ptycho_torch.refine.solver import refine
from ptycho_torch.refine.subsets import z_order

__all__ = ["judge"]

_EVERY = 4
_LEAST_FRAMES = 24
_MOST_FRAMES = 256
_MOST_VALUES = 1 << 20
_EPOCHS = 20
_LIMIT_OF_SEEN = 0.9


def judge(
    scan: Scan,
    made: StitchedObject,
    probe: npt.NDArray[np.complexfloating],
    *,
    config: RefineConfig,
    sub_pixel: SubPixel = "object",
    device: torch.device | str = "cpu",
) -> Verdict | None:
    """Verdict on a result, see :mod:`ptycho_torch.diagnosis.verdict`.

    Some hundred neighbouring frames are taken at most, every fourth held out, and an object refined from the
    others with the probe and the positions of the result. The result itself must explain the frames too.

    Parameters
    ----------
    scan
        The frames, with the positions that belong to the object.
    made
        The object.
    probe
        (modes, N, N) complex, as it belongs to the object.
    config
        Likelihood and smoothness are taken from it.
    sub_pixel
        What moves by fractions of a pixel.
    device
        Where to compute.

    Returns
    -------
    Verdict or None
        None where there are too few frames to tell.
    """
    rows = _neighbours(scan)
    if len(rows) < _LEAST_FRAMES:
        return None
    lit = replace(scan.take(rows), probe=np.asarray(probe, dtype=np.complex64))
    order = z_order(lit.positions)
    held = np.sort(order[_EVERY // 2 :: _EVERY])
    rest = lit.take(np.setdiff1d(np.arange(len(rows)), held))
    quick = evolve(
        config,
        refine_epochs=_EPOCHS,
        refine_probe=False,
        probe_modes=None,
        refine_positions=False,
        refine_batch_size=None,
        sub_pixel=sub_pixel,
    )
    refit = refine(rest, config=quick, device=device).object
    outside = lit.take(held)
    found = _compared(outside, refit, sub_pixel, device)
    own = _compared(outside, made, sub_pixel, device)
    free = lit.N**2 - (0 if lit.bad_pixels is None else int(lit.bad_pixels.sum()))
    first = verdict(found, departure=_departure(made), n_pixels=free)
    second = verdict(own, departure=_departure(made), n_pixels=free, limit=_LIMIT_OF_SEEN)
    # What the result saw of these frames only helps it: if it fails on them, it is wrong.
    return second if second.is_bad and not first.is_bad and second.shows_an_object else first


def _neighbours(scan: Scan) -> npt.NDArray[np.int64]:
    """Frames around the middle of the scan, as many as are looked at."""
    count = min(scan.n_frames, _MOST_FRAMES, max(_LEAST_FRAMES, _MOST_VALUES // scan.N**2))
    middle = np.median(scan.positions, axis=0)
    distance = np.hypot(*(scan.positions - middle).T)
    return np.sort(np.argsort(distance, kind="stable")[:count])


def _compared(scan: Scan, made: StitchedObject, sub_pixel: SubPixel, device: torch.device | str) -> Misfits:
    geometry = WorkingCanvas.around(scan.positions, scan.N, 2).geometry
    shape = geometry.shape
    empty = StitchedObject(
        object=np.ones(shape, np.complex64),
        weight=np.ones(shape, np.float32),
        origin=np.array(geometry.origin, dtype=np.float64),
    )
    predicted, counts = _gathered(scan, made, sub_pixel, device)
    without, _ = _gathered(scan, empty, sub_pixel, device)
    free = np.ones((scan.N, scan.N), np.bool_) if scan.bad_pixels is None else ~scan.bad_pixels
    return misfits(counts, predicted, without, free)


def _gathered(
    scan: Scan, made: StitchedObject, sub_pixel: SubPixel, device: torch.device | str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Predicted and measured counts of all frames, (n, N, N) each."""
    pairs = predicted_pairs(scan, made, sub_pixel=sub_pixel, device=device)()
    predicted, counts = (torch.cat(parts).cpu().double().numpy() for parts in zip(*pairs, strict=True))
    return predicted, counts


def _departure(made: StitchedObject) -> float:
    """Root mean square distance of the well lit part of an object from its own mean."""
    weight = np.asarray(made.weight)
    values = np.asarray(made.object)[weight > 0.3 * weight.max()]
    if not values.size:
        return 0.0
    mean = values.mean()
    return (
        float(np.sqrt((np.abs(values - mean) ** 2).mean()) / max(abs(mean), 1e-6))
        if math.isfinite(abs(mean))
        else 0.0
    )
