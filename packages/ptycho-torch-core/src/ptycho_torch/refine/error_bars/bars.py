"""Standard deviations of an object, and where nothing is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.refine.error_bars.resolution import Resolution

__all__ = ["ErrorBars"]


@dataclass(frozen=True, kw_only=True)
class ErrorBars:
    r"""How sure an object is.

    The error of a pixel is complex, with independent parts of equal variance along the object and across it.
    A standard deviation :math:`\sigma` is that of the complex value, :math:`\sigma^2 = E|\delta O|^2`; that
    of the amplitude is :math:`\sigma/\sqrt2`, that of the phase :math:`\sigma/(\sqrt2\,|O|)` rad.

    Attributes
    ----------
    sigma
        (height, width) float32, in units of the object: what shot noise leaves
        (:mod:`ptycho_torch.refine.error_bars.shot_noise`); infinite where no light fell.
    null_space
        (height, width) bool: True where the illumination is at most ``null_share`` of its positive median, so
        that the frames say next to nothing of the object.
    null_share
        That share.
    method
        ``"shot"``; ``"thinning"`` or ``"jackknife"`` where more was measured.
    measured
        (height, width) float32: standard deviation that further solutions show, by that method; infinite in
        the null space. None with ``"shot"``.
    resolution
        Finest detail that two solutions of thinned counts agree on; None with other methods, and where too
        little of the object is well lit.
    """

    sigma: npt.NDArray[np.float32] = field(repr=False)
    null_space: npt.NDArray[np.bool_] = field(repr=False)
    null_share: float
    method: str = "shot"
    measured: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    resolution: Resolution | None = None

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What is saved beside an object, by name."""
        return {**self.sigmas(), "null_space": self.null_space}

    def sigmas(self) -> dict[str, npt.NDArray[np.float32]]:
        """Standard deviations of the complex value, by name."""
        return {"sigma": self.sigma, **({} if self.measured is None else {self._name: self.measured})}

    def shown(self) -> npt.NDArray[np.float32]:
        """The standard deviation that pictures show: the one that was measured, if there is one."""
        return self.sigma if self.measured is None else self.measured

    def at(self, pixel_m: float | None) -> ErrorBars:
        """The same with the edge of an object pixel, m, for lengths."""
        if self.resolution is None:
            return self
        return replace(self, resolution=replace(self.resolution, pixel_m=pixel_m))

    @property
    def _name(self) -> str:
        return f"sigma_{self.method}"

    def summary(self, image: npt.NDArray[np.complexfloating]) -> dict[str, Any]:
        """Numbers about the error bars of an object, in types that JSON knows.

        Parameters
        ----------
        image
            (height, width) complex: the object they belong to.
        """
        return {
            "method": self.method,
            "medians": self._medians(image),
            "times_shot_noise": self._times_shot_noise(),
            "null_space": {
                "share_of_median_illumination": self.null_share,
                "n_pixels": int(self.null_space.sum()),
            },
            "resolution": None if self.resolution is None else self.resolution.to_dict(),
        }

    def _times_shot_noise(self) -> float | None:
        """Median over what was seen of the standard deviation that was measured, in units of shot noise."""
        seen = ~self.null_space
        if self.measured is None or not seen.any():
            return None
        return float(np.median(self.measured[seen] / self.sigma[seen]))

    def lines(self, image: npt.NDArray[np.complexfloating]) -> list[tuple[str, str]]:
        """What a report says of them, as name and value."""
        names = {"sigma": "shot noise", self._name: self.method}
        lines = []
        for name, told in self._medians(image).items():
            if told["object"] is not None:
                value = f"{told['amplitude']:.2g} of the amplitude, {told['phase_rad']:.2g} rad (median)"
                lines.append((names[name], value))
        times = self._times_shot_noise()
        if times is not None:
            lines[-1] = (self.method, f"{lines[-1][1]}: {times:.2g} times shot noise")
        return lines if self.resolution is None else [*lines, ("resolution", self.resolution.sentence())]

    def _medians(self, image: npt.NDArray[np.complexfloating]) -> dict[str, dict[str, float | None]]:
        seen = ~self.null_space
        return {name: _medians(values, image, seen) for name, values in self.sigmas().items()}


def _medians(
    sigma: npt.NDArray[np.floating], image: npt.NDArray[np.complexfloating], seen: npt.NDArray[np.bool_]
) -> dict[str, float | None]:
    """Medians over the pixels that were seen; None where there is no such pixel."""
    if not seen.any():
        return {"object": None, "amplitude": None, "phase_rad": None}
    values = sigma[seen].astype(np.float64)
    amplitude = np.maximum(np.abs(image[seen]), np.finfo(np.float32).tiny)
    return {
        "object": float(np.median(values)),
        "amplitude": float(np.median(values) / np.sqrt(2)),
        "phase_rad": float(np.median(values / amplitude) / np.sqrt(2)),
    }
