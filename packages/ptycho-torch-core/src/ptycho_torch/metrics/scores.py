"""Scores of an aligned reconstruction inside a region, and the residual in the measured counts."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["Scores", "finite_or_none", "score"]

_SSIM_SIGMA_PX = 1.5
_SSIM_REACH_PX = 5
#: Contrast below this share of the level is rounding, not structure.
_FLAT = 1e-6


def finite_or_none(value: float) -> float | None:
    """JSON has no infinity and no NaN: an undefined or unbounded score becomes null."""
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True, kw_only=True)
class Scores:
    r"""Scores of one aligned complex image; every one is taken over the pixels of the region.

    Phases are those of ``image · exp(-i φ₀(r))`` in (-π, π], where φ₀ is the constant and the linear ramp
    that fit the truth best; the same φ₀ serves the truth and every image compared with it.

    Attributes
    ----------
    complex_nrmse
        :math:`\sqrt{\sum |R - T|^2 / \sum |T|^2}`, 0 is perfect, at most 1.
    amplitude_mae, amplitude_rmse
        Mean absolute and root mean square difference of the amplitudes, in units of the truth.
    phase_mae, phase_rmse
        The same of the phase difference, wrapped to (-π, π], rad.
    amplitude_psnr, phase_psnr
        :math:`20 \log_{10}(\text{range} / \text{RMSE})`, dB; infinite for a perfect image.
    amplitude_ssim, phase_ssim
        Structural similarity (Wang et al., IEEE Trans. Image Processing 13 (2004) 600) with a Gaussian window
        of 1.5 px, constants 0.01 and 0.03 times the range, of the images minus the mean of the truth in the
        region. Without that subtraction the luminance term is close to one for any image of the right mean,
        however empty.
    amplitude_correlation, phase_correlation
        Pearson correlation; 0 for an image without contrast.
    amplitude_std_ratio, phase_std_ratio
        Standard deviation of the image over that of the truth: near 0 for a collapsed image, NaN for a flat
        truth.
    amplitude_range, phase_range
        Largest minus smallest value of the truth: the range in PSNR and SSIM.
    frc_half, frc_1bit
        Where the Fourier ring correlation crosses 0.5 and the 1-bit criterion, cycles/px; NaN when it was not
        asked for.
    """

    complex_nrmse: float
    amplitude_mae: float
    amplitude_rmse: float
    amplitude_psnr: float
    amplitude_ssim: float
    amplitude_correlation: float
    amplitude_std_ratio: float
    amplitude_range: float
    phase_mae: float
    phase_rmse: float
    phase_psnr: float
    phase_ssim: float
    phase_correlation: float
    phase_std_ratio: float
    phase_range: float
    frc_half: float = math.nan
    frc_1bit: float = math.nan

    def to_dict(self) -> dict[str, float | None]:
        """Every score by name; NaN and infinity become None."""
        return {name: finite_or_none(value) for name, value in asdict(self).items()}


def score(
    aligned: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    *,
    frc_crossings: tuple[float, float] = (math.nan, math.nan),
) -> Scores:
    """Score an aligned image.

    Parameters
    ----------
    aligned, truth
        (height, width) complex, same unit, multiplied by exp(-i φ₀) of :class:`Scores`.
    mask
        (height, width) bool: the region; its bounding rectangle is at least 16 px wide and high.
    frc_crossings
        0.5 and 1-bit crossing to carry along, cycles/px.

    Returns
    -------
    Scores
    """
    ours, expected = np.abs(aligned), np.abs(truth)
    amplitude = _compare(ours, expected, mask, ours - expected)
    # Taken from the phases, not from aligned · truth*: the phase of a zero would agree with everything.
    ours, expected = np.angle(aligned), np.angle(truth)
    phase = _compare(ours, expected, mask, np.angle(np.exp(1j * (ours - expected))), level=1.0)
    difference = (aligned - truth)[mask]
    return Scores(
        complex_nrmse=float(np.linalg.norm(difference) / np.linalg.norm(truth[mask])),
        frc_half=frc_crossings[0],
        frc_1bit=frc_crossings[1],
        **{f"amplitude_{name}": value for name, value in amplitude.items()},
        **{f"phase_{name}": value for name, value in phase.items()},
    )


def _compare(
    image: NDArray[np.float64],
    truth: NDArray[np.float64],
    mask: NDArray[np.bool_],
    error: NDArray[np.float64],
    level: float | None = None,
) -> dict[str, float]:
    values, expected = image[mask], truth[mask]
    level = float(np.abs(expected).mean()) if level is None else level
    spread, expected_spread = (
        0.0 if v.std() <= _FLAT * level else float(v.std()) for v in (values, expected)
    )
    span = float(np.ptp(expected)) if expected_spread > 0 else math.nan
    rmse = math.sqrt(float((error[mask] ** 2).mean()))
    correlation = 0.0
    if spread > 0 and expected_spread > 0:
        correlation = float(np.corrcoef(values, expected)[0, 1])
    psnr = math.nan
    if expected_spread > 0:
        psnr = 20 * math.log10(span / rmse) if rmse > 0 else math.inf
    return {
        "mae": float(np.abs(error[mask]).mean()),
        "rmse": rmse,
        "psnr": psnr,
        "ssim": _similarity(image, truth, mask, span),
        "correlation": correlation,
        "std_ratio": spread / expected_spread if expected_spread > 0 else math.nan,
        "range": span,
    }


def _similarity(
    image: NDArray[np.float64], truth: NDArray[np.float64], mask: NDArray[np.bool_], span: float
) -> float:
    """Mean structural similarity over pixels whose window lies in the region, or over all of it if none."""
    if math.isnan(span):
        return math.nan
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # Loading scikit-image takes a while that only those who score should spend.
    from skimage.metrics import structural_similarity

    mask, level = mask[box], float(truth[mask].mean())
    # What lies outside is unknown and may be wild: both images are set to the mean there.
    pair = [np.where(mask, a[box] - level, 0.0) for a in (image, truth)]
    _, values = structural_similarity(
        *pair,
        data_range=span,
        gaussian_weights=True,
        sigma=_SSIM_SIGMA_PX,
        use_sample_covariance=False,
        full=True,
    )
    window = np.ones((2 * _SSIM_REACH_PX + 1,) * 2, dtype=bool)
    inner = ndimage.binary_erosion(mask, window, border_value=0)
    return float(values[inner if inner.any() else mask].mean())
