r"""Remove what diffraction cannot tell: position, global phase, phase ramp and one complex scale.

A shift of the object against the probe, a constant phase, a linear phase ramp and (without an absolute flux)
a scale leave the measured counts unchanged. A reconstruction :math:`R` is therefore compared with its truth
:math:`T` only after

.. math:: \min_{c, s, k} \sum_{r \in M} \left| c\, R(r + s)\, e^{-i k \cdot r} - T(r) \right|^2 ,

with one complex number :math:`c`, one shift :math:`s` and one ramp :math:`k` over the region :math:`M`.
Whole-pixel shift and ramp come from searches that cannot be trapped, fractions from a Gauss-Newton iteration
on the sum itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

__all__ = ["Alignment", "align", "features", "find_ramp", "find_shift"]

_SPLINE_ORDER = 5
_FEATURE_SIGMA_PX = 1.5
_MAX_STEPS = 30
#: Unrelated images of one kind (two drawings of lines) still match by this much at their luckiest shift.
_CHANCE = 0.2
#: A place outside of the search counts when it leaves at most this share of what is unexplained inside: lucky
#: places of wrong images gain a few per cent, the true place of a right one nearly all.
_CLEARLY_BETTER = 0.5


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What was removed from a reconstruction.

    Attributes
    ----------
    shift_px
        [y, x] px: features of the reconstruction lie at ``position in the truth + shift_px``.
    ramp_rad_per_px
        [y, x] rad/px: the phase of the reconstruction rises by this much more than that of the truth.
    scale
        Complex factor the reconstruction was multiplied by.
    aligned
        (height, width) complex128: the reconstruction on the pixels of the truth, all of the above removed.
    valid
        (height, width) bool: pixels that were interpolated from inside the reconstruction.
    farther_px
        [y, x] px: shift beyond those that were searched at which the images match clearly better; None if
        there is none.
    """

    shift_px: tuple[float, float]
    ramp_rad_per_px: tuple[float, float]
    scale: complex
    aligned: NDArray[np.complex128]
    valid: NDArray[np.bool_]
    farther_px: tuple[int, int] | None = None


def _coordinates(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixel coordinates about the centre of the region, which decouples the ramp from the global phase."""
    y, x = (np.arange(n, dtype=np.float64) for n in mask.shape)
    centre_y = float(np.average(y, weights=mask.sum(axis=1)))
    centre_x = float(np.average(x, weights=mask.sum(axis=0)))
    return (y - centre_y)[:, None], (x - centre_x)[None, :]


def _ramp(mask: NDArray[np.bool_], ramp: NDArray[np.float64]) -> NDArray[np.complex128]:
    y, x = _coordinates(mask)
    return np.exp(1j * ramp[0] * y) * np.exp(1j * ramp[1] * x)


def find_ramp(
    reconstruction: NDArray[np.complexfloating], truth: NDArray[np.complexfloating], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    r"""Coarse phase ramp between two complex images, unaffected by phase wrapping.

    The ramp is the frequency at which :math:`|\sum_M R\,T^*\,e^{-i k \cdot r}|` peaks, found on the grid of a
    Fourier transform padded to twice the size: no phase is ever unwrapped or fitted.

    Parameters
    ----------
    reconstruction, truth
        (height, width) complex.
    mask
        (height, width) bool: the region.

    Returns
    -------
    NDArray[np.float64]
        [y, x] in rad/px, exact to half a bin of the padded transform.
    """
    padded = tuple(fft.next_fast_len(2 * n) for n in mask.shape)
    spectrum = np.abs(fft.fft2(np.where(mask, reconstruction * np.conj(truth), 0), s=padded))
    # A tie or a mere rounding difference must not turn an absent ramp into the highest frequency.
    if spectrum.max() <= spectrum[0, 0] * (1 + 1e-9):
        return np.zeros(2)
    peak = np.unravel_index(int(np.argmax(spectrum)), padded)
    return np.array([2 * np.pi * fft.fftfreq(n)[i] for n, i in zip(padded, peak, strict=True)])


def features(image: NDArray[np.complexfloating]) -> list[NDArray[np.complex128]]:
    """Products of neighbours: amplitude and phase gradient at once; a ramp only turns them."""
    smooth = ndimage.gaussian_filter(image, _FEATURE_SIGMA_PX, mode="nearest")
    along_y = np.zeros_like(smooth)
    along_x = np.zeros_like(smooth)
    along_y[1:-1] = smooth[2:] * smooth[:-2].conj()
    along_x[:, 1:-1] = smooth[:, 2:] * smooth[:, :-2].conj()
    return [along_y, along_x]


def _match(
    feature: NDArray[np.complex128], template: NDArray[np.complex128], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Correlation coefficient of the masked template with the feature image at every shift (indices wrap)."""
    size = tuple(fft.next_fast_len(2 * n) for n in mask.shape)
    window = fft.fft2(mask.astype(np.float64), s=size).conj()
    count = float(mask.sum())
    contrast = np.where(mask, template - template[mask].mean(), 0)
    # Removing a constant first keeps the local variance below from cancelling.
    feature = feature - feature[mask].mean()
    product = fft.ifft2(fft.fft2(feature, s=size) * fft.fft2(contrast, s=size).conj())
    energy = fft.ifft2(fft.fft2(np.abs(feature) ** 2, s=size) * window).real
    mean = fft.ifft2(fft.fft2(feature, s=size) * window) / count
    variance = np.maximum(energy - count * np.abs(mean) ** 2, 0)
    norm = np.sqrt(variance * float((np.abs(contrast) ** 2).sum()))
    floor = 1e-6 * count * float(np.mean(np.abs(template[mask])) ** 2)
    return np.where(norm > floor, np.abs(product) / np.maximum(norm, floor + 1e-300), 0.0)


def find_shift(
    reconstruction: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    max_shift_px: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Whole-pixel displacement of the reconstruction, zero unless the match is beyond chance.

    Two descriptions compete, so that amplitude objects, phase objects, and objects without a mean all
    register: products of neighbouring pixels, blind to phase ramps, and the contrast of the object with its
    ramp removed. A match counts only when its correlation exceeds 0.2 and five times what unrelated images of
    this size reach by chance; a flat or noisy image hence stays where it is and gains nothing from the
    search.

    Parameters
    ----------
    reconstruction, truth
        (height, width) complex.
    mask
        (height, width) bool: the region, in pixels of the truth.
    max_shift_px
        Largest displacement searched, px, along each axis.

    Returns
    -------
    found : NDArray[np.int64]
        [y, x], px, with the sign of :attr:`Alignment.shift_px`.
    farther : NDArray[np.int64] or None
        [y, x], px: displacement up to half of the field, beyond those searched, that matches clearly better.
    """
    limit = [min(int(max_shift_px), n // 4) for n in mask.shape]
    level = find_ramp(reconstruction, truth, mask)
    levelled = reconstruction * _ramp(mask, -level)
    scores = [
        np.mean(
            [_match(r, t, mask) for r, t in zip(features(reconstruction), features(truth), strict=True)],
            axis=0,
        ),
        _match(
            ndimage.gaussian_filter(levelled, _FEATURE_SIGMA_PX),
            ndimage.gaussian_filter(truth, _FEATURE_SIGMA_PX),
            mask,
        ),
    ]
    independent = mask.sum() / (4 * math.pi * _FEATURE_SIGMA_PX**2)
    needed = min(max(_CHANCE, 5 / math.sqrt(independent)), 0.6)
    best = np.zeros(2, dtype=np.int64)
    best_fit = _fit_at(reconstruction, truth, mask, best)
    farther, farther_fit = None, 1 - _CLEARLY_BETTER * (1 - best_fit)
    reach = [n // 2 - 1 for n in mask.shape]
    for score in scores:
        around = np.ix_(*[np.arange(-n, n + 1) for n in reach])
        # Shifts are indices into a circle; here they are laid out about zero.
        laid = score[around]
        inside = np.ix_(*[np.arange(r - n, r + n + 1) for r, n in zip(reach, limit, strict=True)])
        outside = laid.copy()
        outside[inside] = 0
        for values, is_near in ((laid[inside], True), (outside, False)):
            peak = np.unravel_index(int(np.argmax(values)), values.shape)
            if values[peak] < needed:
                continue
            candidate = np.array(peak, dtype=np.int64) - (limit if is_near else reach)
            fit = _fit_at(reconstruction, truth, mask, candidate)
            if is_near and fit > best_fit * (1 + 1e-9):
                best, best_fit = candidate, fit
            elif not is_near and fit > farther_fit:
                farther, farther_fit = candidate, fit
    beyond = farther is not None and farther_fit > 1 - _CLEARLY_BETTER * (1 - best_fit)
    return best, farther if beyond else None


def _fit_at(
    reconstruction: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    shift: NDArray[np.int64],
) -> float:
    """Share of the truth's energy explained at a whole-pixel shift, the best ramp and the best scale."""
    moved = np.roll(reconstruction, tuple((-shift).tolist()), axis=(0, 1))
    inside = mask & _inside(mask.shape, shift.astype(np.float64))
    moved = moved * _ramp(mask, -find_ramp(moved, truth, inside))
    return _explained(moved[inside], truth[inside])[1]


def _explained(
    image: NDArray[np.complexfloating], truth: NDArray[np.complexfloating]
) -> tuple[complex, float]:
    """Least-squares scale and the share of the truth's energy that the scaled image explains."""
    power = float(np.vdot(image, image).real)
    if power == 0:
        return 0j, 0.0
    overlap = complex(np.vdot(image, truth))
    return overlap / power, abs(overlap) ** 2 / (power * float(np.vdot(truth, truth).real))


def _inside(shape: tuple[int, ...], shift: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Pixels whose sample lies within the array, a thousandth of a pixel forgiven."""
    rows, columns = (
        (np.arange(n) + s >= -1e-3) & (np.arange(n) + s <= n - 1 + 1e-3)
        for n, s in zip(shape, shift, strict=True)
    )
    return rows[:, None] & columns[None, :]


def _derivative(image: NDArray[np.complex128], axis: int) -> NDArray[np.complex128]:
    """Five-point central difference, px⁻¹; borders are never part of a region that matters."""
    ahead = [np.roll(image, -n, axis) for n in (1, 2)]
    behind = [np.roll(image, n, axis) for n in (1, 2)]
    return (8 * (ahead[0] - behind[0]) - (ahead[1] - behind[1])) / 12


class _Model:
    """The reconstruction as a function of shift and ramp, with its derivatives."""

    def __init__(
        self, reconstruction: NDArray[np.complex128], mask: NDArray[np.bool_], ramp: NDArray[np.float64]
    ):
        self.mask = mask
        self.ramp = ramp
        # Interpolating with the coarse ramp still in would lose contrast: a ramp is a high frequency.
        self.levelled = reconstruction * _ramp(mask, -ramp)
        self.coefficients = ndimage.spline_filter(
            self.levelled, order=_SPLINE_ORDER, output=np.complex128, mode="mirror"
        )

    def __call__(self, parameters: NDArray[np.float64]) -> NDArray[np.complex128]:
        shift, ramp = parameters[:2], parameters[2:]
        moved = self.levelled
        if np.any(shift != 0):
            moved = ndimage.shift(
                self.coefficients, -shift, order=_SPLINE_ORDER, mode="mirror", prefilter=False
            )
        return moved * _ramp(self.mask, -ramp) if np.any(ramp != 0) else moved.copy()

    def step(
        self, image: NDArray[np.complex128], truth: NDArray[np.complex128], scale: complex, *, movable: bool
    ) -> NDArray[np.float64]:
        """Gauss-Newton step of (shift, ramp) with the complex scale eliminated by fitting it alongside."""
        y, x = _coordinates(self.mask)
        columns = [image, 1j * image, -1j * scale * y * image, -1j * scale * x * image]
        if movable:
            columns += [scale * _derivative(image, 0), scale * _derivative(image, 1)]
        jacobian = np.stack([column[self.mask] for column in columns])
        jacobian = np.concatenate([jacobian.real, jacobian.imag], axis=1)
        residual = (truth - scale * image)[self.mask]
        length = np.sqrt((jacobian**2).sum(axis=1))
        length[length < 1e-12 * max(float(length.max()), 1e-300)] = np.inf
        jacobian /= length[:, None]
        gradient = jacobian @ np.concatenate([residual.real, residual.imag])
        # Directions without effect (the shift of a flat image) get no step: the smallest-norm solution.
        solution = np.linalg.lstsq(jacobian @ jacobian.T, gradient, rcond=1e-9)[0]
        ramp, shift = np.split((solution / length)[2:], [2])
        return np.concatenate([shift if movable else np.zeros(2), ramp])


def align(
    reconstruction: NDArray[np.complexfloating],
    truth: NDArray[np.complexfloating],
    mask: NDArray[np.bool_],
    *,
    offset: NDArray[np.float64] | None = None,
    max_shift_px: float = 16.0,
) -> Alignment:
    """Fit shift, phase ramp and complex scale of a reconstruction to its truth by least squares.

    Parameters
    ----------
    reconstruction, truth
        (height, width) complex, finite.
    mask
        (height, width) bool: pixels that count.
    offset
        [y, x], px: shift known beforehand (the fraction of the origins); the result reports what comes on
        top.
    max_shift_px
        Largest shift along each axis, px; 0 keeps the reconstruction where its origin says.

    Returns
    -------
    Alignment
    """
    known = np.zeros(2) if offset is None else np.asarray(offset, dtype=np.float64)
    image = np.asarray(reconstruction, dtype=np.complex128)
    target = np.asarray(truth, dtype=np.complex128)
    start, farther = known, None
    if max_shift_px >= 1:
        found, farther = find_shift(image, target, mask, max_shift_px)
        start = known + found
    whole = np.rint(start).astype(int)
    moved = np.roll(image, tuple((-whole).tolist()), axis=(0, 1))
    coarse = find_ramp(moved, target, mask & _inside(mask.shape, whole.astype(np.float64)))
    # One pixel about the start at most: the search has found the peak, the fit only finds its top.
    low = np.concatenate([np.maximum(start - 1, known - max_shift_px), [-np.inf, -np.inf]])
    high = np.concatenate([np.minimum(start + 1, known + max_shift_px), [np.inf, np.inf]])
    model = _Model(image, mask & _inside(mask.shape, start + np.sign(start)), coarse)
    parameters = np.concatenate([start, [0.0, 0.0]])
    current = model(parameters)
    scale, fit = _explained(current[model.mask], target[model.mask])
    for _ in range(_MAX_STEPS):
        step = model.step(current, target, scale, movable=max_shift_px > 0)
        for halving in range(6):
            trial = np.clip(parameters + step * 0.5**halving, low, high)
            candidate = model(trial)
            trial_scale, trial_fit = _explained(candidate[model.mask], target[model.mask])
            if trial_fit > fit:
                break
        else:
            break
        gain = trial_fit - fit
        parameters, current, scale, fit = trial, candidate, trial_scale, trial_fit
        if gain < 1e-14:
            break
    shift, ramp = parameters[:2] - known, parameters[2:] + coarse
    return Alignment(
        shift_px=(float(shift[0]), float(shift[1])),
        ramp_rad_per_px=(float(ramp[0]), float(ramp[1])),
        scale=scale,
        aligned=scale * current,
        valid=_inside(mask.shape, parameters[:2]),
        farther_px=None if farther is None else (int(farther[0]), int(farther[1])),
    )
