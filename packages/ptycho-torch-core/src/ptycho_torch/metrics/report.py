"""One call from a stitched object and its truth to every score, with those of a flat object beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.errors import DataError, ShapeError, fault
from ptycho_torch.metrics.alignment import Alignment, align
from ptycho_torch.metrics.coverage import EXPECTED_ONE, EXPECTED_TWO, Coverage, coverages
from ptycho_torch.metrics.frc import FrcCurve, fourier_ring_correlation
from ptycho_torch.metrics.region import common_region, coverage_region
from ptycho_torch.metrics.scores import Scores, finite_or_none, score

__all__ = ["MetricReport", "compare", "score_rows"]

_ROWS = (
    ("complex normalised RMSE", "complex_nrmse", "", "lower"),
    ("amplitude MAE", "amplitude_mae", "", "lower"),
    ("amplitude RMSE", "amplitude_rmse", "", "lower"),
    ("amplitude PSNR", "amplitude_psnr", "dB", "higher"),
    ("amplitude SSIM", "amplitude_ssim", "", "higher"),
    ("amplitude correlation", "amplitude_correlation", "", "higher"),
    ("amplitude std ratio", "amplitude_std_ratio", "", "near 1"),
    ("phase MAE", "phase_mae", "rad", "lower"),
    ("phase RMSE", "phase_rmse", "rad", "lower"),
    ("phase PSNR", "phase_psnr", "dB", "higher"),
    ("phase SSIM", "phase_ssim", "", "higher"),
    ("phase correlation", "phase_correlation", "", "higher"),
    ("phase std ratio", "phase_std_ratio", "", "near 1"),
    ("FRC 0.5 crossing", "frc_half", "1/px", "higher"),
    ("FRC 1-bit crossing", "frc_1bit", "1/px", "higher"),
)


@dataclass(frozen=True, kw_only=True)
class MetricReport:
    """Scores of a reconstruction, those of a flat object, and what was compared.

    Attributes
    ----------
    scores, flat
        Scores of the reconstruction and of a constant object taken through the same steps over the same
        region.
    shift_px, ramp_rad_per_px, scale
        What alignment removed, see :class:`ptycho_torch.metrics.Alignment`.
    n_pixels
        Pixels in the region.
    coverage_share, inset_px
        How the region was drawn, see :func:`compare`.
    frc
        Fourier ring correlation over the region, or None.
    reconstruction, truth
        (height, width) complex128: both on the bounding rectangle of the region, aligned, the common
        reference phase (constant and ramp) removed, so that their ``numpy.angle`` are the phases that were
        scored.
    mask
        (height, width) bool: the region on that rectangle.
    corner
        [y, x] px: coordinate of element (0, 0) of that rectangle in the truth's coordinates.
    max_shift_px
        How far a shift was looked for along each axis, px.
    farther_px
        [y, x] px: shift beyond that at which reconstruction and truth match clearly better, so that the
        scores are those of a place that is not the right one; None if there is none.
    coverage
        How often the error lies within each kind of error bar, by the name of its array.
    """

    scores: Scores
    flat: Scores
    shift_px: tuple[float, float]
    ramp_rad_per_px: tuple[float, float]
    scale: complex
    n_pixels: int
    coverage_share: float
    inset_px: float
    frc: FrcCurve | None = field(repr=False)
    reconstruction: NDArray[np.complex128] = field(repr=False)
    truth: NDArray[np.complex128] = field(repr=False)
    mask: NDArray[np.bool_] = field(repr=False)
    corner: tuple[float, float]
    max_shift_px: float
    farther_px: tuple[int, int] | None
    coverage: Mapping[str, Coverage] = field(default_factory=dict)

    def beyond_search(self) -> str | None:
        """A sentence, where the search for a shift ended before the place that matches; None otherwise."""
        if self.farther_px is None:
            return None
        y, x = self.farther_px
        return (
            f"the search for a shift reached its limit of {self.max_shift_px:g} px: at ({y:+d}, {x:+d}) px "
            "the images match clearly better; correct the origin of one of them, or search "
            "farther (--max-shift, at most a quarter of the field)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the images, in types that JSON knows."""
        curve = None
        if self.frc is not None:
            curve = {
                "frequency_cycles_per_px": self.frc.frequency.tolist(),
                "correlation": self.frc.correlation.tolist(),
                "threshold_1bit": self.frc.threshold_1bit.tolist(),
                "crossing_half_cycles_per_px": self.frc.crossing_half,
                "crossing_1bit_cycles_per_px": self.frc.crossing_1bit,
                "period_half_px": finite_or_none(self.frc.period_half_px),
                "period_1bit_px": finite_or_none(self.frc.period_1bit_px),
            }
        return {
            "scores": self.scores.to_dict(),
            "flat": self.flat.to_dict(),
            "alignment": {
                "shift_px": list(self.shift_px),
                "ramp_rad_per_px": list(self.ramp_rad_per_px),
                "scale_abs": abs(self.scale),
                "scale_phase_rad": math.atan2(self.scale.imag, self.scale.real),
                "max_shift_px": self.max_shift_px,
                "farther_px": None if self.farther_px is None else list(self.farther_px),
            },
            "region": {
                "n_pixels": self.n_pixels,
                "shape": list(self.mask.shape),
                "corner": list(self.corner),
                "coverage_share": self.coverage_share,
                "inset_px": self.inset_px,
            },
            "frc": curve,
            "coverage": {name: found.to_dict() for name, found in self.coverage.items()},
        }

    def table(self) -> str:
        """Scores and those of a flat object side by side, as lines of plain text."""
        width = max(len(row[0]) for row in _ROWS) + 2
        lines = [f"{'':{width}}{'object':>9}  {'flat':>9}  {'':4}  better"]
        for title, ours, flat, unit, better in score_rows(asdict(self.scores), asdict(self.flat)):
            lines.append(f"{title:{width}}{ours:>9}  {flat:>9}  {unit:4}  {better}")
        height, across = self.mask.shape
        lines.append(
            f"region {self.n_pixels} px within {height} x {across}, inset {self.inset_px:.1f} px; removed: "
            f"shift ({self.shift_px[0]:+.2f}, {self.shift_px[1]:+.2f}) px, "
            f"ramp ({self.ramp_rad_per_px[0]:+.4f}, {self.ramp_rad_per_px[1]:+.4f}) rad/px, "
            f"scale {abs(self.scale):.4g}"
        )
        lines += [
            f"{name}: {found.within_one:.2f} of the errors within one ({EXPECTED_ONE:.2f} is right), "
            f"{found.within_two:.2f} within two ({EXPECTED_TWO:.2f}); rms error {found.rms_error:.4f}, "
            f"rms {name} {found.rms_sigma:.4f}"
            for name, found in self.coverage.items()
        ]
        said = self.beyond_search()
        lines += [] if said is None else [said]
        return "\n".join(lines)


def score_rows(
    scores: Mapping[str, float | None], flat: Mapping[str, float | None]
) -> list[tuple[str, str, str, str, str]]:
    """Rows of a table of scores: name, value, value of a flat object, unit, and which is better.

    Parameters
    ----------
    scores, flat
        By name, as :meth:`MetricReport.to_dict` has them: None where there is no finite value.
    """
    return [
        (title, _number(scores[name]), _number(flat[name]), unit, better)
        for title, name, unit, better in _ROWS
    ]


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "n/a"
    return "inf" if math.isinf(value) else f"{value:.4f}"


def _checked(name: str, array: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(array)
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(name, "(height, width)", array.shape, "pass one object at a time")
    if not np.issubdtype(array.dtype, np.number):
        raise DataError(fault(name, f"expected numbers, got dtype {array.dtype}"))
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise DataError(
            fault(
                name,
                f"expected finite values, got NaN or inf in {bad} of {array.size} pixels; set pixels "
                "without data to 0 and mark them with weight 0",
            )
        )
    return array


def _pixels(name: str, value: Sequence[float] | NDArray[np.floating] | None) -> NDArray[np.float64]:
    pair = np.zeros(2) if value is None else np.asarray(value, dtype=np.float64)
    if pair.shape != (2,) or not np.isfinite(pair).all():
        raise ShapeError(name, "two finite numbers [y, x] in px", repr(value))
    return pair


def _inputs(
    reconstruction: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    weight: NDArray[np.floating] | None,
    probe_diameter: float | None,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    image, expected = _checked("reconstruction", reconstruction), _checked("truth", truth)
    if weight is not None:
        weight = _checked("weight", weight)
        if weight.shape != image.shape:
            raise ShapeError("weight", f"the shape {image.shape} of the reconstruction", weight.shape)
        if np.iscomplexobj(weight) or weight.min() < 0:
            raise DataError(
                fault(
                    "weight",
                    f"expected real values of at least 0, got dtype {weight.dtype} with a smallest value "
                    f"of {weight.min()}; pass the weight map that stitching returns",
                )
            )
    if probe_diameter is not None and not (math.isfinite(probe_diameter) and probe_diameter >= 0):
        raise DataError(fault("probe_diameter", f"expected at least 0 px, got {probe_diameter}"))
    return image, expected, weight


def compare(
    reconstruction: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    *,
    weight: NDArray[np.floating] | None = None,
    origin: Sequence[float] | NDArray[np.floating] | None = None,
    truth_origin: Sequence[float] | NDArray[np.floating] | None = None,
    probe_diameter: float | None = None,
    coverage_share: float = 0.1,
    max_shift_px: float = 16.0,
    frc: bool = True,
    sigmas: Mapping[str, NDArray[np.floating]] | None = None,
) -> MetricReport:
    """Score a reconstruction against the truth.

    Both are cut to their common coordinates, the well-covered region is drawn, the reconstruction is aligned
    (:mod:`ptycho_torch.metrics.alignment`) and scored; a constant object then takes the same way.

    Parameters
    ----------
    reconstruction
        (height, width) complex, any unit.
    truth
        (height, width) complex, any unit; the shape may differ.
    weight
        Coverage of the reconstruction, same shape, real and at least 0. None: everything is covered.
    origin, truth_origin
        [y, x] in px of either array: index = coordinate + origin. None: zeros.
    probe_diameter
        Diameter of the probe, px (see :func:`ptycho_torch.data.summary.probe_diameter`). The region is
        inset by half of it. None: no inset.
    coverage_share
        A pixel is well covered when its weight exceeds this share of the median positive weight.
    max_shift_px
        Largest displacement that registration may remove, px, and at most a quarter of the field; 0 switches
        it off. Places up to half of the field away are looked at, and said if the images match there.
    frc
        Compute the Fourier ring correlation.
    sigmas
        Standard deviations of the complex values of the reconstruction by name, each of its shape, in its
        units, infinite where nothing is known; their coverage is told.

    Returns
    -------
    MetricReport

    Raises
    ------
    ShapeError
        When an array has the wrong rank, the fields do not meet, or the region is too small.
    DataError
        When values are NaN or infinite, weights negative, or the truth empty where it is well covered.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:64, :64]
    >>> truth = np.exp(0.3j * np.sin(x / 5) * np.cos(y / 7))
    >>> report = compare(2j * truth, truth, probe_diameter=8)
    >>> round(report.scores.phase_correlation, 6), report.flat.phase_correlation
    (1.0, 0.0)
    """
    image, expected, weight = _inputs(reconstruction, truth, weight, probe_diameter)
    if not (math.isfinite(max_shift_px) and max_shift_px >= 0):
        raise DataError(fault("max_shift_px", f"expected at least 0 px, got {max_shift_px:g}"))
    start, truth_start = _pixels("origin", origin), _pixels("truth_origin", truth_origin)
    window, truth_window, offset = common_region(image.shape, start, expected.shape, truth_start)
    image, expected = image[window].astype(np.complex128), expected[truth_window].astype(np.complex128)
    inset_px = 0.0 if probe_diameter is None else probe_diameter / 2
    region = coverage_region(
        None if weight is None else weight[window],
        expected.shape,
        coverage_share=coverage_share,
        inset_px=inset_px,
    )
    if not np.any(expected[region]):
        raise DataError(
            fault(
                "truth",
                "expected values other than 0 in the well-covered region, got only 0; check truth_origin",
            )
        )
    alignment = align(image, expected, region, offset=offset, max_shift_px=max_shift_px)
    region &= alignment.valid
    flat = align(np.ones_like(expected), expected, region, max_shift_px=0)
    corner = np.array([s.start for s in truth_window]) - truth_start
    report = _report(
        alignment,
        flat,
        expected,
        region,
        corner,
        coverage_share=coverage_share,
        inset_px=inset_px,
        max_shift_px=min(max_shift_px, min(expected.shape) // 4),
        frc=frc,
    )
    if not sigmas:
        return report
    bars = {name: _of_shape(name, sigma, reconstruction)[window] for name, sigma in sigmas.items()}
    light = None if weight is None else weight[window]
    return replace(report, coverage=coverages(alignment, offset, expected, bars, region, light))


def _of_shape(name: str, sigma: NDArray[np.floating], image: NDArray[Any]) -> NDArray[np.floating]:
    if np.shape(sigma) != np.shape(image):
        raise ShapeError(name, f"the shape {np.shape(image)} of the reconstruction", np.shape(sigma))
    return np.asarray(sigma)


def _report(
    alignment: Alignment,
    flat: Alignment,
    truth: NDArray[np.complex128],
    region: NDArray[np.bool_],
    corner: NDArray[np.float64],
    *,
    coverage_share: float,
    inset_px: float,
    max_shift_px: float,
    frc: bool,
) -> MetricReport:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    mask = region[box]
    # The flat object is the plane wave that fits the truth best: measured against it, a ramp in the truth is
    # no contrast.
    turn = np.exp(-1j * np.angle(flat.aligned[box]))
    images = [array[box] * turn for array in (alignment.aligned, flat.aligned, truth)]
    curves = [fourier_ring_correlation(image, images[2], mask) if frc else None for image in images[:2]]
    ours, constant = (
        score(
            image,
            images[2],
            mask,
            frc_crossings=(math.nan, math.nan)
            if curve is None
            else (curve.crossing_half, curve.crossing_1bit),
        )
        for image, curve in zip(images[:2], curves, strict=True)
    )
    return MetricReport(
        scores=ours,
        flat=constant,
        shift_px=alignment.shift_px,
        ramp_rad_per_px=alignment.ramp_rad_per_px,
        scale=alignment.scale,
        n_pixels=int(region.sum()),
        coverage_share=coverage_share,
        inset_px=inset_px,
        frc=curves[0],
        reconstruction=images[0],
        truth=images[2],
        mask=mask,
        corner=(float(corner[0] + rows[0]), float(corner[1] + columns[0])),
        max_shift_px=max_shift_px,
        farther_px=alignment.farther_px,
    )
