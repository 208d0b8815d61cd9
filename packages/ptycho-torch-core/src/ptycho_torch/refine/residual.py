"""How far an object is from measured frames, without a step towards them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ptycho_torch.data import Scan
from ptycho_torch.physics.multislice import Transmission
from ptycho_torch.physics.propagation import Propagation
from ptycho_torch.physics.residual import residual_of_pairs
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.canvas import WorkingCanvas
from ptycho_torch.refine.frames import FrameSource
from ptycho_torch.refine.propagation import propagation_between_slices, propagation_of
from ptycho_torch.refine.result import ProbeVariation, SubPixel
from ptycho_torch.refine.step import detector_ramp
from ptycho_torch.refine.sub_pixel import SolverPlacement, placement_of
from ptycho_torch.refine.unknowns import Unknowns

__all__ = ["forward_residual", "light_ratio", "predicted_pairs"]

_SAMPLE_FRAMES = 64
_CHUNK = 16


def forward_residual(
    scan: Scan,
    fitted: StitchedObject,
    probe: npt.NDArray[np.complexfloating] | None = None,
    *,
    sub_pixel: SubPixel = "object",
    per_frame_dose: bool = False,
    dose: npt.NDArray[np.floating] | None = None,
    variation: ProbeVariation | None = None,
    background: npt.NDArray[np.floating] | None = None,
    intensity_scale: float = 1.0,
    slices: npt.NDArray[np.complexfloating] | None = None,
    slice_distance_m: float = 0.0,
    device: torch.device | str = "cpu",
) -> float:
    """Forward residual of an object, see :mod:`ptycho_torch.physics.residual`.

    The frames need not be those the object was fitted to.

    Parameters
    ----------
    scan
        Frames and positions to compare with.
    fitted
        Object with its origin, in any scale.
    probe
        (modes, N, N) complex; that of the scan by default.
    sub_pixel
        What moves by fractions of a pixel, as in :func:`ptycho_torch.refine.refine`.
    per_frame_dose
        Scale each frame to its measured total instead of the scan to its own; another quantity.
    dose
        (n,) intensity of the frames as shares of their mean, as fitted; one by default.
    variation
        How the probe varies over the scan; not at all by default.
    background, intensity_scale
        (N, N) counts that every frame shows beside the light, none by default, and the counts per unit of
        normalised intensity, which matter beside a background alone.
    slices, slice_distance_m
        (slices, height, width) complex where ``fitted`` is: slices of a thick object, the first one met
        first, in the place of the object; and the distance from one to the next.
    device
        Where to compute.

    Raises
    ------
    ShapeError
        If the object does not meet the scan.
    """
    pairs = predicted_pairs(
        scan,
        fitted,
        probe,
        sub_pixel=sub_pixel,
        dose=dose,
        variation=variation,
        background=background,
        intensity_scale=intensity_scale,
        slices=slices,
        slice_distance_m=slice_distance_m,
        device=device,
    )
    return residual_of_pairs(pairs, per_frame_dose=per_frame_dose)


def predicted_pairs(
    scan: Scan,
    fitted: StitchedObject,
    probe: npt.NDArray[np.complexfloating] | None = None,
    *,
    sub_pixel: SubPixel = "object",
    dose: npt.NDArray[np.floating] | None = None,
    variation: ProbeVariation | None = None,
    background: npt.NDArray[np.floating] | None = None,
    intensity_scale: float = 1.0,
    slices: npt.NDArray[np.complexfloating] | None = None,
    slice_distance_m: float = 0.0,
    device: torch.device | str = "cpu",
) -> Callable[[], Iterator[tuple[Tensor, Tensor]]]:
    """What an object predicts for the frames of a scan, beside what was measured.

    Parameters
    ----------
    scan, fitted, probe, sub_pixel, dose, variation, background, intensity_scale, slices, slice_distance_m
        As for :func:`forward_residual`.
    device
        Where to compute.

    Returns
    -------
    callable
        Each call goes through the frames in order, in batches: predicted intensity, in the scale of the
        object, and counts, both float32 ``(batch, N, N)``, zero at bad pixels.

    Raises
    ------
    ShapeError
        If the object does not meet the scan.
    """
    place = torch.device(device)
    canvas = WorkingCanvas.around(scan.positions, scan.N, 2)
    main = np.asarray(scan.probe if probe is None else probe)
    laid = [canvas.lay(one) for one in _slices_of(fitted, slices)]
    *before, image = (torch.from_numpy(one).to(place, torch.complex64) for one in laid)
    between = None
    if before:
        between = propagation_between_slices(scan, slice_distance_m, place, torch.complex64)
    positions = torch.from_numpy(scan.positions.copy()).to(place)
    ramp = detector_ramp(scan.N).to(place)
    ramped = (torch.from_numpy(main).to(place) * ramp).to(torch.complex64)
    origin = canvas.origin_tensor(place)
    placement = placement_of(sub_pixel, positions, scan.N, canvas.shape, origin, torch.float32)
    frames = FrameSource(scan, 1.0, place, torch.float32)
    every = np.arange(scan.n_frames)
    propagation = propagation_of(scan, place, torch.complex64)
    roots = None if dose is None else torch.from_numpy(np.sqrt(dose)).to(place, torch.float32)

    def own(variation: ProbeVariation, some: npt.NDArray[np.int64]) -> Tensor:
        return (torch.from_numpy(variation.probes(main, some)).to(place) * ramp).to(torch.complex64)

    def light_of(part: SolverPlacement, some: npt.NDArray[np.int64]) -> Tensor:
        light = part.light(ramped if variation is None else own(variation, some))
        if between is not None:
            light = Transmission([part.cut(one) for one in before], between).forward(light)
        return light if roots is None else light * roots[torch.from_numpy(some)][:, None, None, None]

    beside = None if background is None else torch.from_numpy(np.asarray(background)).to(place, torch.float32)

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        found = _pairs(frames, placement, image, light_of, every, propagation)
        if beside is None:
            return found
        seen = beside if frames.measured is None else beside * frames.measured
        return ((predicted * intensity_scale + seen, counts) for predicted, counts in found)

    return pairs


def _slices_of(
    fitted: StitchedObject, slices: npt.NDArray[np.complexfloating] | None
) -> list[StitchedObject]:
    if slices is None:
        return [fitted]
    return [replace(fitted, object=np.asarray(one)) for one in slices]


def light_ratio(
    frames: FrameSource, placement: SolverPlacement, unknowns: Unknowns, propagation: Propagation
) -> float:
    """Ratio of measured to predicted light over some frames spread over the scan; 1 if none is predicted."""
    chosen = np.unique(np.linspace(0, len(placement) - 1, min(len(placement), _SAMPLE_FRAMES)).astype(int))
    predicted_sum = measured_sum = 0.0
    image = unknowns.object.value
    for predicted, measured in _pairs(frames, placement, image, unknowns.light, chosen, propagation):
        predicted_sum += float(predicted.sum())
        measured_sum += float(measured.sum())
    return measured_sum / predicted_sum if predicted_sum > 0 < measured_sum else 1.0


def _pairs(
    frames: FrameSource,
    placement: SolverPlacement,
    image: Tensor,
    light: Callable[[SolverPlacement, npt.NDArray[np.int64]], Tensor],
    indices: npt.NDArray[np.int64],
    propagation: Propagation,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Predicted and measured intensity of frames, in batches; zero at bad pixels."""
    for start in range(0, len(indices), _CHUNK):
        some = indices[start : start + _CHUNK]
        part = placement.part(torch.from_numpy(some))
        field = propagation.to_detector(part.cut(image)[:, None] * light(part, some))
        predicted = (field.real.square() + field.imag.square()).sum(dim=1)
        counts, measured = frames.seen(some)
        yield (predicted if measured is None else predicted * measured), counts
