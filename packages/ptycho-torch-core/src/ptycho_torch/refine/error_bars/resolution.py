"""The finest detail that two independent solutions agree on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ptycho_torch.metrics.frc import FrcCurve

__all__ = ["METHOD", "Resolution"]

METHOD = "Fourier ring correlation of two solutions of binomially thinned counts"


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """Resolution of an object, from the ring correlation of two solutions that share no photon.

    Each of the two has half of the dose. The half-bit and the 1-bit criterion account for that and speak of
    the whole; a correlation of 0.5 speaks of the halves.

    Attributes
    ----------
    curve
        The ring correlation.
    pixel_m
        Edge of an object pixel, m; None where it is not known.
    """

    curve: FrcCurve = field(repr=False)
    pixel_m: float | None = None

    def crossings(self) -> dict[str, float]:
        """First frequency below each criterion, cycles/px."""
        return {
            "half_bit": self.curve.crossing_half_bit,
            "1_bit": self.curve.crossing_1bit,
            "0.5": self.curve.crossing_half,
        }

    def half_period_px(self, criterion: str) -> float | None:
        """Half of the period at the crossing, px; None where nothing is resolved.

        Parameters
        ----------
        criterion
            ``"half_bit"``, ``"1_bit"`` or ``"0.5"``.
        """
        frequency = self.crossings()[criterion]
        return 0.5 / frequency if frequency > 0 else None

    def reaches_pixel(self, criterion: str) -> bool:
        """Whether the curve stays above a criterion to its end, so that the pixel is the limit."""
        return self.crossings()[criterion] >= min(float(self.curve.frequency[-1]), 0.5)

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        told = {}
        for name, frequency in self.crossings().items():
            half = self.half_period_px(name)
            told[name] = {
                "crossing_cycles_per_px": frequency,
                "half_period_px": half,
                "half_period_m": None if half is None or self.pixel_m is None else half * self.pixel_m,
                "limited_by_pixel": self.reaches_pixel(name),
            }
        return {
            "method": METHOD,
            "criteria": told,
            "curve": {
                "frequency_cycles_per_px": self.curve.frequency.tolist(),
                "correlation": self.curve.correlation.tolist(),
                "threshold_half_bit": self.curve.threshold_half_bit.tolist(),
                "threshold_1bit": self.curve.threshold_1bit.tolist(),
            },
        }

    def sentence(self) -> str:
        """Half period by the half-bit criterion, in words."""
        half = self.half_period_px("half_bit")
        if half is None:
            return "nothing is resolved (half-bit)"
        size = f"{half:.2f} px"
        if self.pixel_m is not None:
            size = f"{half * self.pixel_m * 1e9:.3g} nm ({size})"
        least = "at most " if self.reaches_pixel("half_bit") else ""
        return f"{least}{size}, half period, half-bit criterion"
