"""What an experiment does to a scan: faults that a simulated scan may have, and their true values.

Every fault draws from a stream of its own, so that one does not change the others, nor object, positions and
noise of the scan without it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.scan.affine import AffineMap

__all__ = ["NO_FAULTS", "Faults"]

ComplexImage = npt.NDArray[np.complex128]

_STREAMS = {"dose": 1, "drift": 5, "positions": 6}
_LEAST_DOSE = 0.05
_DRIFT_TERMS = 4
_SIGNED = ("scan_stretch_y", "scan_stretch_x", "scan_rotation_deg", "scan_shear")
_LARGEST = {"scan_stretch_y": 0.5, "scan_stretch_x": 0.5, "scan_rotation_deg": 45.0, "scan_shear": 0.5}


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Faults of a simulated scan; the defaults are none.

    Attributes
    ----------
    dose_rms
        Spread of the dose from frame to frame: standard deviation of its logarithm.
    dose_fading
        Share of the first frame's dose that the last one has lost, linear in the frame number.
    background
        Counts per pixel that every frame shows beside the light of the object, in the mean: half as many on
        the left edge of the detector, half as many again on the right one.
    probe_drift
        Astigmatism of the probe in the last frame, and the opposite in the first one, linear in the frame
        number: root mean square of the wavefront over the light on the detector; rad.
    position_error_px
        How far the stated position of a frame lies beside the true one, in both directions together (rms),
        independent from frame to frame; px.
    scan_stretch_y, scan_stretch_x
        By what share the steps of the scan are longer than its positions say.
    scan_rotation_deg, scan_shear
        Rotation and shear of the scan as in :class:`ptycho_torch.data.scan.affine.AffineMap`; degrees, and
        the tangent of an angle.
    drift_px
        How far the frames have drifted from where the positions say, in both directions together (rms), as a
        smooth function of the frame number; px.

    Raises
    ------
    ValueError
        If a number cannot be.
    """

    dose_rms: float = 0.0
    dose_fading: float = 0.0
    background: float = 0.0
    probe_drift: float = 0.0
    position_error_px: float = 0.0
    scan_stretch_y: float = 0.0
    scan_stretch_x: float = 0.0
    scan_rotation_deg: float = 0.0
    scan_shear: float = 0.0
    drift_px: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not math.isfinite(value):
                raise ValueError(f"{one.name}: expected a finite number, got {value:g}")
            if value < 0 and one.name not in _SIGNED:
                raise ValueError(f"{one.name}: expected 0 or more, got {value:g}")
            most = _LARGEST.get(one.name, math.inf)
            if abs(value) > most:
                raise ValueError(f"{one.name}: expected {-most:g} to {most:g}, got {value:g}")
        if self.dose_fading > 1 - _LEAST_DOSE:
            raise ValueError(
                f"dose_fading: expected a share from 0 to {1 - _LEAST_DOSE:g}, got {self.dose_fading:g}"
            )

    def doses(self, n_frames: int, seed: int) -> npt.NDArray[np.float64]:
        """Dose of every frame, (n,) float64, mean 1."""
        spread = self.dose_rms * _stream(seed, "dose").standard_normal(n_frames)
        doses = np.exp(spread) * np.linspace(1.0, 1.0 - self.dose_fading, n_frames)
        return np.asarray(doses / doses.mean())

    def dark_frame(self, n_pixels: int) -> npt.NDArray[np.float64]:
        """Counts beside the light, (N, N) float64."""
        row = self.background * np.linspace(0.5, 1.5, n_pixels)
        return np.tile(row, (n_pixels, 1))

    def probes(self, probe: npt.NDArray[np.complexfloating], n_frames: int) -> Iterator[ComplexImage]:
        """Probe of every frame, (modes, N, N) complex128, from that in the middle of the scan, likewise."""
        given = probe.astype(np.complex128)
        if not self.probe_drift:
            yield from itertools.repeat(given, n_frames)
            return
        pupil = np.fft.fft2(given)
        wavefront = self.probe_drift * _astigmatism((np.abs(pupil) ** 2).sum(axis=0))
        for time in np.linspace(-1.0, 1.0, n_frames) if n_frames > 1 else (0.0,):
            yield np.fft.ifft2(pupil * np.exp(1j * time * wavefront))

    @property
    def affine(self) -> AffineMap:
        """From the positions that are stated to the true ones, about their mean."""
        return AffineMap(
            scale_y=1 + self.scan_stretch_y,
            scale_x=1 + self.scan_stretch_x,
            rotation_deg=self.scan_rotation_deg,
            shear=self.scan_shear,
        )

    def drift(self, n_frames: int, seed: int) -> npt.NDArray[np.float64]:
        """How far every frame has drifted, (n, 2) float64 ``[y, x]`` in px, mean zero."""
        order = np.arange(1, _DRIFT_TERMS + 1)
        weights = _stream(seed, "drift").standard_normal((2, _DRIFT_TERMS)) / order
        path = np.cos(np.pi * np.linspace(0, 1, n_frames)[:, None] * order) @ weights.T
        path -= path.mean(axis=0)
        return np.asarray(self.drift_px * path / np.sqrt((path**2).sum(axis=1).mean()))

    def stated_positions(self, positions: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
        """Positions (n, 2) that a scan states whose frames were taken at ``positions``; px."""
        stated = positions
        if self.affine != AffineMap() or self.drift_px:
            middle = positions.mean(axis=0)
            moved = positions - middle - (self.drift(len(positions), seed) if self.drift_px else 0.0)
            stated = np.asarray(middle + moved @ np.linalg.inv(self.affine.matrix).T)
        if not self.position_error_px:
            return stated
        errors = _stream(seed, "positions").standard_normal(positions.shape)
        return np.asarray(stated + self.position_error_px / math.sqrt(2) * errors)

    def stated(self) -> dict[str, float]:
        """Those that there are, for the metadata of a scan."""
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if getattr(self, one.name) != one.default
        }


NO_FAULTS = Faults()


def _astigmatism(light: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Wavefront x² − y² over a pupil, (N, N) in the order of fft2: mean 0 and mean square 1 over its light.

    Beyond the bright part it stays bounded, so that it moves no light across the edge of a frame.
    """
    weight = light / light.sum()
    f = np.fft.fftfreq(len(light))
    square = np.add.outer(f**2, f**2) / (weight * np.add.outer(f**2, f**2)).sum()
    form = np.subtract.outer(-(f**2), -(f**2)) / (weight * np.add.outer(f**2, f**2)).sum() / (1 + square / 4)
    form -= (weight * form).sum()
    return np.asarray(form / np.sqrt((weight * form**2).sum()))


def _stream(seed: int, fault: str) -> np.random.Generator:
    return np.random.default_rng([seed, _STREAMS[fault]])
