r"""What a search of settings chooses from: a few axes, each with options, the default first.

An axis stands in the search unless one of its settings was stated, or its options contradict what was.

The weight of smoothness is searched on a logarithmic scale. With a prior of independent differences between
neighbouring pixels, of mean square :math:`g^2`, the most probable object minimises

.. math:: n \sum |\delta O|^2 + \sum |\nabla O|^2 / g^2

where :math:`n` photons light a pixel and :math:`\delta O` is the distance from the object that fits best
(Tikhonov and Arsenin 1977). So the weight, which counts by the brightest illumination, is
:math:`1 / (n g^2)` with the photons of the brightest pixel: from ``0.3 / n``, where neighbours have nothing
in common, to ``300 / n``, where they differ by 6 %. Simulated scenes are best at some ``3 / n`` to
``10 / n``, so the search begins there. Above some photons per pixel noise is so small that no weight is worth
a trial.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ptycho_config import TUNABLE
from ptycho_torch.data.scan.contract import Scan

__all__ = ["Axis", "Point", "Space", "space_of"]

Point = Mapping[str, float]
"""Axis -> number of its option, 0 for the default; for the smoothness its weight, 0 for none."""

_SMOOTHNESS = "smoothness"
_PROBE = "probe"
_FITTED = "refine_probe"
_WEIGHTS = (0.3, 300.0)
"""Of smoothness, times the photons of the brightest pixel."""
_BRIGHT = 1e5
_MORE_MODES = 2
_VARIATION = 2
_STEP = math.sqrt(10)
"""From one weight to the next."""
_FROM_LEAST = 10
"""Of the weight that is tried first, times the least."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What may be chosen of one kind.

    Attributes
    ----------
    name
        One of :data:`ptycho_config.TUNABLE`.
    options
        Settings by the names of :class:`ptycho_config.RefineConfig`; the first ones are none.
    weights
        Of an axis with a weight instead of options: the smallest and the largest.
    """

    name: str
    options: tuple[Mapping[str, Any], ...] = ({},)
    weights: tuple[float, float] | None = None

    @property
    def start(self) -> float:
        """What is tried first beside the default."""
        return 1 if self.weights is None else _rounded(_FROM_LEAST * self.weights[0])

    def settings(self, value: float) -> Mapping[str, Any]:
        """What a value of the axis states."""
        if self.weights is not None:
            return {self.name: value} if value else {}
        return self.options[int(value)]

    def beside(self, value: float) -> tuple[float, ...]:
        """The values next to one, that of less first."""
        if self.weights is None:
            return tuple(near for near in (value - 1, value + 1) if 0 <= near < len(self.options))
        if not value:
            return (self.start,)
        low, high = self.weights
        return (0.0, *(_rounded(near) for near in (value / _STEP, value * _STEP) if low <= near <= high))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        if self.weights is not None:
            return {"name": self.name, "weights": list(self.weights)}
        return {"name": self.name, "options": [dict(option) for option in self.options]}


@dataclass(frozen=True, kw_only=True)
class Space:
    """All axes of a search.

    Attributes
    ----------
    axes
        By their names, in the order in which they are tried alone.
    """

    axes: Mapping[str, Axis] = field(default_factory=dict)

    @property
    def plain(self) -> Point:
        """The defaults."""
        return dict.fromkeys(self.axes, 0)

    def settings(self, point: Point) -> dict[str, Any]:
        """What a point states beside what is fixed."""
        found: dict[str, Any] = {}
        for name, axis in self.axes.items():
            found |= axis.settings(point[name])
        return found

    def canonical(self, point: Point) -> dict[str, float]:
        """The point of the same settings under which a probe that more modes or a variation fit is fitted."""
        found = {
            name: _rounded(point[name]) if axis.weights else int(point[name])
            for name, axis in self.axes.items()
        }
        if _PROBE in found and self.settings(found).get(_FITTED):
            found[_PROBE] = 1
        return found

    def departures(self, point: Point) -> int:
        """How many steps a point lies from the defaults: the price of its unknowns."""
        return sum(
            bool(point[name]) if axis.weights else int(point[name]) for name, axis in self.axes.items()
        )

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain data."""
        return [axis.to_dict() for axis in self.axes.values()]


def space_of(scan: Scan, fixed: Mapping[str, Any], only: Collection[str]) -> Space:
    """What makes sense for a scan.

    Parameters
    ----------
    scan
        The frames that are fitted, in photons.
    fixed
        Settings that were stated, by the names of :class:`ptycho_config.RefineConfig`.
    only
        Names of axes among :data:`ptycho_config.TUNABLE`.
    """
    found = {}
    for name in TUNABLE:
        axis = _axis(name, scan)
        if axis is None or name not in only:
            continue
        options = tuple(option for option in axis.options if _agrees(option, fixed))
        weights = None if name in fixed else axis.weights
        if len(options) > 1 or weights is not None:
            found[name] = Axis(name=name, options=options, weights=weights)
    return Space(axes=found)


def _agrees(option: Mapping[str, Any], fixed: Mapping[str, Any]) -> bool:
    """Whether an option states nothing anew, but for what a probe needs to be fitted at all."""
    return all(
        name == _FITTED and len(option) > 1 and fixed[name] == value
        for name, value in option.items()
        if name in fixed
    )


def _axis(name: str, scan: Scan) -> Axis | None:
    if name == _SMOOTHNESS:
        photons = _photons_of_brightest(scan)
        low, high = (_rounded(times / photons) for times in _WEIGHTS)
        return Axis(name=name, weights=(low, high)) if photons < _BRIGHT else None
    if name == "modes":
        counts = range(scan.n_modes + 1, scan.n_modes + _MORE_MODES + 1)
        return Axis(name=name, options=({}, *({_FITTED: True, "probe_modes": count} for count in counts)))
    single: dict[str, dict[str, Any]] = {
        "likelihood": {"likelihood": "amplitude"},
        "sub-pixel": {"sub_pixel": "probe"},
        "dose": {"refine_dose": True},
        "background": {"refine_background": "smooth"},
        "geometry": {"refine_geometry": True},
        "drift": {"refine_drift": True},
        "positions": {"refine_positions": True},
        _PROBE: {_FITTED: True},
        "variation": {_FITTED: True, "probe_variation": _VARIATION},
    }
    return Axis(name=name, options=({}, single[name]))


def _photons_of_brightest(scan: Scan) -> float:
    """Photons that meet the pixel of the object which most of them do."""
    corners = np.rint(scan.positions - scan.positions.min(axis=0)).astype(np.int64)
    light = (np.abs(scan.probe) ** 2).sum(axis=0, dtype=np.float64)
    canvas = np.zeros(corners.max(axis=0) + scan.N)
    for top, left in corners:
        canvas[top : top + scan.N, left : left + scan.N] += light
    return float(canvas.max() / light.sum() * scan.counts_per_frame().mean())


def _rounded(value: float) -> float:
    """Two digits, which a person can type."""
    return float(f"{value:.2g}")
