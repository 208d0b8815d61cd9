"""What a refinement returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.affine import AffineMap
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.error_bars.bars import ErrorBars

__all__ = ["ProbeVariation", "RefineResult", "RefinementInterrupted", "ScanResult", "SubPixel"]

SubPixel = Literal["object", "probe"]


@dataclass(frozen=True, kw_only=True)
class ProbeVariation:
    """How the first mode of a probe varies over the scan.

    Attributes
    ----------
    modes
        (K, N, N) complex64, orthogonal to each other and to the first mode, as strong as it.
    weights
        (n, K) complex64: amplitude of each mode in every frame as a share of that of the first one.
    """

    modes: npt.NDArray[np.complex64]
    weights: npt.NDArray[np.complex64]

    def probes(
        self, probe: npt.NDArray[np.complexfloating], frames: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.complex64]:
        """Probe of frames, (batch, modes, N, N), from the one that belongs to the scan, (modes, N, N)."""
        weights = self.weights[frames]
        first = probe[0] + np.tensordot(weights, self.modes, axes=1)
        first /= np.sqrt(1 + (np.abs(weights) ** 2).sum(axis=1))[:, None, None]
        found = np.repeat(np.asarray(probe, dtype=np.complex64)[None], len(weights), axis=0)
        found[:, 0] = first
        return found


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """What belongs to one of several scans that were fitted together.

    Attributes
    ----------
    frames
        (k,) int64: rows of its frames among all.
    probe
        (modes, N, N) complex64, power ``(N / 2) ** 2``.
    offset_px, offset_m
        (2,) float64 ``[y, x]``: what is added to its positions to have them in the coordinates of the first
        scan; in metres None where the scan does not say its pixel.
    dose
        Intensity of its light as a share of the mean over all frames.
    forward_residual
        Of the object on its frames.
    variation
        How its probe varies, if that was fitted.
    """

    frames: npt.NDArray[np.int64] = field(repr=False)
    probe: npt.NDArray[np.complex64] = field(repr=False)
    offset_px: npt.NDArray[np.float64]
    offset_m: npt.NDArray[np.float64] | None
    dose: float
    forward_residual: float
    variation: ProbeVariation | None = field(default=None, repr=False)

    @property
    def sentence(self) -> str:
        """The same in words."""
        y, x = self.offset_px
        there = f"offset ({y:+.2f}, {x:+.2f}) px [y, x]"
        if self.offset_m is not None:
            y, x = 1e9 * self.offset_m
            there += f" or ({y:+.4g}, {x:+.4g}) nm"
        return f"{there}, dose {self.dose:.3g} of the mean, residual {self.forward_residual:.4f}"


@dataclass(frozen=True, kw_only=True)
class RefineResult:
    """Refined object and everything that was fitted with it.

    Attributes
    ----------
    object
        The object on the canvas of the scan; of several slices their product. Its weight is the summed
        illumination :math:`\\sum_j |P|^2`; pixels that no light reached hold their starting value.
    probe
        (modes, N, N) complex64, power ``(N / 2) ** 2``, the gauge of
        :func:`ptycho_torch.physics.calibrate`. Refined modes are orthogonal, strongest first.
    positions
        (n, 2) float64 ``[y, x]``; px. Those of the scan unless they were refined.
    intensity_scale
        Counts per unit of normalised intensity.
    residuals
        Forward residual :math:`\\sum|\\sqrt\\lambda - \\sqrt I| / \\sum\\sqrt I` over the measured
        pixels, one number per epoch, seen while the epoch ran.
    stopped_early
        True when the likelihood term stopped falling before the last epoch.
    sub_pixel
        What moved by fractions of a pixel.
    others
        What further unknowns found, an array or a number by name.
    error_bars
        How sure the object is; None if that was not asked for, if nobody knows how many photons the frames
        hold, in the near field, or of several slices.
    said
        The same in words, by name.
    scans
        Of several scans that were fitted together what belongs to each; ``probe`` is that of the first one.
    worse
        What there is to say where the last epoch explains the frames worse than the first one did; else None.
    """

    object: StitchedObject
    probe: npt.NDArray[np.complex64]
    positions: npt.NDArray[np.float64]
    intensity_scale: float
    residuals: tuple[float, ...]
    stopped_early: bool
    sub_pixel: SubPixel
    others: Mapping[str, npt.NDArray[np.generic] | float] = field(default_factory=dict)
    error_bars: ErrorBars | None = None
    said: Mapping[str, str] = field(default_factory=dict)
    scans: tuple[ScanResult, ...] = ()
    worse: str | None = None

    @property
    def n_epochs(self) -> int:
        """Number of epochs that ran."""
        return len(self.residuals)

    @property
    def dose(self) -> npt.NDArray[np.float64] | None:
        """(n,) float64: dose of every frame as a share of the mean, if it was fitted."""
        found = self.others.get("dose")
        return None if found is None else np.asarray(found, dtype=np.float64)

    @property
    def slices(self) -> npt.NDArray[np.complex64] | None:
        """(slices, height, width) complex64: slices of a thick object, the first one met first, or None."""
        found = self.others.get("slices")
        return None if found is None else np.asarray(found, dtype=np.complex64)

    @property
    def slice_distance_m(self) -> float | None:
        """Distance from a slice to the next one, as given or fitted; None of one slice."""
        found = self.others.get("slice_distance_m")
        return None if found is None else float(found)

    @property
    def geometry(self) -> AffineMap | None:
        """Scale, rotation and shear from the positions of the scan to the true ones, if fitted."""
        if "scan_stretch_y" not in self.others:
            return None
        return AffineMap(
            scale_y=1 + float(self.others["scan_stretch_y"]),
            scale_x=1 + float(self.others["scan_stretch_x"]),
            rotation_deg=float(self.others["scan_rotation_deg"]),
            shear=float(self.others["scan_shear"]),
        )

    @property
    def drift(self) -> npt.NDArray[np.float64] | None:
        """(n, 2) float64 ``[y, x]``: how far every frame has drifted, if that was fitted; px."""
        found = self.others.get("drift")
        return None if found is None else np.asarray(found, dtype=np.float64)

    @property
    def background(self) -> npt.NDArray[np.float32] | None:
        """(N, N) float32: counts that every frame shows beside the light, if known or fitted."""
        found = self.others.get("background")
        return None if found is None else np.asarray(found, dtype=np.float32)

    @property
    def variation(self) -> ProbeVariation | None:
        """How the probe varies, if that was fitted."""
        modes, weights = (self.others.get(name) for name in ("probe_variation", "probe_variation_weights"))
        if modes is None or weights is None:
            return None
        return ProbeVariation(
            modes=np.asarray(modes, dtype=np.complex64), weights=np.asarray(weights, dtype=np.complex64)
        )

    @property
    def tile_residuals(self) -> npt.NDArray[np.float64] | None:
        """(tiles,) float64: residual of the object on the frames in the core of each tile, or None."""
        found = self.others.get("tile_residual")
        return None if found is None else np.asarray(found, dtype=np.float64)

    @property
    def unsettled_frames(self) -> npt.NDArray[np.int64] | None:
        """Rows of the frames whose positions a search could not settle, if there was one."""
        found = self.others.get("unsettled_frames")
        return None if found is None else np.asarray(found, dtype=np.int64)


class RefinementInterrupted(KeyboardInterrupt):
    """Ctrl-C after at least one epoch; ``result`` is what the last complete epoch reached.

    ``checkpoint`` is the file that a workflow kept it in, or None.
    """

    def __init__(self, result: RefineResult, checkpoint: object = None) -> None:
        self.result = result
        self.checkpoint = checkpoint
        super().__init__(f"refinement was interrupted after {result.n_epochs} epochs")
