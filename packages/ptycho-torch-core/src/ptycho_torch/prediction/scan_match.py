"""Which of the scans that a model knows a given scan is, or whether it is a new one."""

from __future__ import annotations

import logging
import warnings

import torch

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.models import PatchModel, ScanPhysics
from ptycho_torch.physics.scaling import calibrate

__all__ = ["closest_scan", "model_for"]

logger = logging.getLogger(__name__)

_SAME_OPTICS = 0.95
_LARGEST_DOSE_CHANGE = 2.0


def closest_scan(model: PatchModel, scan: Scan) -> tuple[int, float]:
    """Number of the scan of a model whose probe is most like that of ``scan``, and how like it is.

    Parameters
    ----------
    model
        Model with the physics of one or more scans.
    scan
        Scan with frames of the size of the model.

    Returns
    -------
    number : int
        From 0; the first of those that are equally like it.
    likeness : float
        0 to 1, see :meth:`ptycho_torch.models.ScanPhysics.overlap`.
    """
    probe = torch.from_numpy(scan.probe)
    likeness = [physics.overlap(probe) for physics in model.scans if isinstance(physics, ScanPhysics)]
    # Rounding must not decide between equals.
    number = max(range(len(likeness)), key=lambda i: (round(likeness[i], 6), -i))
    return number, likeness[number]


def model_for(model: PatchModel, scan: Scan) -> PatchModel:
    """The network of a model with the physics of a scan.

    A scan whose probe is that of a training scan is seen through the probe and the intensity scale of that
    training, which may be better than those of the file. Any other scan brings its own. Pixels that the
    scan calls bad are not used in either case.

    Parameters
    ----------
    model
        Trained model; it is not changed.
    scan
        Scan with frames of the size of the model, in counts.

    Returns
    -------
    PatchModel
        Shares the weights of ``model``.

    Warns
    -----
    UserWarning
        If the probe is none that the network was trained with, or the dose differs so much from that of the
        training that the intensity scale is taken from this scan.
    """
    number, likeness = closest_scan(model, scan)
    known = model.on(number)
    measured = None if scan.bad_pixels is None else torch.from_numpy(~scan.bad_pixels)
    ceiling = None if scan.ceiling is None else torch.from_numpy(scan.ceiling).float()
    counts = float(scan.counts_per_frame().mean())
    if likeness < _SAME_OPTICS:
        warnings.warn(
            f"the probe of this scan is not among those of the training (likeness {likeness:.2f} of 1 to the "
            "closest); the scan is reconstructed with its own probe, which the network has not seen",
            UserWarning,
            stacklevel=2,
        )
        return _with_own_physics(known, scan, counts, measured, ceiling)
    if len(model.scans) > 1:
        logger.info(
            "probe and intensity scale are those of training scan %d of %d", number + 1, len(model.scans)
        )
    change = counts / float(known.mean_counts)
    if 1 / _LARGEST_DOSE_CHANGE <= change <= _LARGEST_DOSE_CHANGE:
        change = 1.0
    else:
        warnings.warn(
            f"this scan has {counts:.4g} counts per frame, the training had "
            f"{float(known.mean_counts):.4g}; the intensity scale is taken from this scan, which assumes "
            "that both objects transmit alike",
            UserWarning,
            stacklevel=2,
        )
    if change == 1.0 and measured is None and ceiling is known.physics.ceiling is None:
        return known
    return model.with_physics(known.physics.changed(dose=change, measured=measured, ceiling=ceiling))


def _with_own_physics(
    model: PatchModel,
    scan: Scan,
    counts: float,
    measured: torch.Tensor | None,
    ceiling: torch.Tensor | None,
) -> PatchModel:
    calibration = calibrate(
        torch.from_numpy(scan.probe), counts, measured=measured, smoothing_sigma=model.smoothing_sigma
    )
    support = model.physics.support
    physics = ScanPhysics(
        calibration,
        support.cpu().clone(),
        measured=measured,
        ceiling=ceiling,
        smoothing_sigma=model.smoothing_sigma,
    )
    return model.with_physics(physics.to(support.device).requires_grad_(False))
