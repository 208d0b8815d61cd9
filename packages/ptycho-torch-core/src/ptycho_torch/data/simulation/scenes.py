"""Objects, probes and scan patterns to simulate with.

Everything random is drawn from the seed that is passed in. Objects are transmission functions:
(H, W) complex64, amplitude at most one, phase in rad.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ptycho_torch.errors import ShapeError

__all__ = [
    "OBJECTS",
    "defocused_probe",
    "lines_object",
    "natural_object",
    "object_shape",
    "random_field_object",
    "raster_positions",
    "thick_object",
]

ComplexImage = npt.NDArray[np.complex64]
FloatImage = npt.NDArray[np.float64]

_LINE_WIDTH_PX = 2.5
_N_SHAPES = 25
_DEFOCUS_PX2 = 8.0


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 2:
        raise ShapeError("shape", "(height, width) of at least 2 px each", shape)
    return int(shape[0]), int(shape[1])


def _transmission(amplitude: FloatImage, phase: FloatImage) -> ComplexImage:
    return (amplitude * np.exp(1j * phase)).astype(np.complex64)


def lines_object(
    shape: tuple[int, int],
    *,
    seed: int,
    density: float = 0.6,
    min_amplitude: float = 0.3,
    max_phase_rad: float = 0.9,
) -> ComplexImage:
    """Straight fibres in random directions that absorb and delay; where they cross, they add up.

    Each fibre carries its own ratio of phase to absorption, so that amplitude and phase are not one image
    twice.

    Parameters
    ----------
    shape
        (H, W); px.
    seed
        Seed of the lines.
    density
        Share of the area that lines would cover if none of them crossed.
    min_amplitude
        Amplitude under the thickest crossing, which the rest is scaled to.
    max_phase_rad
        Largest delay, which the rest is scaled to; rad.

    Returns
    -------
    ndarray
        (H, W) complex64; amplitude in ``[min_amplitude, 1]``, phase in ``[-max_phase_rad, 0]``.
    """
    height, width = _checked_shape(shape)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    n_lines = max(1, round(density * 2 * math.sqrt(height * width) / _LINE_WIDTH_PX))
    absorption, delay = np.zeros((height, width)), np.zeros((height, width))
    for _ in range(n_lines):
        angle = rng.uniform(0, math.pi)
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        distance = np.abs((rows - row) * math.cos(angle) - (columns - column) * math.sin(angle))
        half_width = 0.5 * _LINE_WIDTH_PX * rng.uniform(0.6, 1.4)
        profile = np.clip(half_width - distance + 0.5, 0.0, 1.0)
        absorption += rng.uniform(0.4, 1.0) * profile
        delay += rng.uniform(0.2, 1.0) * profile
    # Beer-Lambert: thicknesses add up in the exponent.
    amplitude = np.exp(math.log(min_amplitude) * absorption / max(absorption.max(), 1e-12))
    return _transmission(amplitude, -max_phase_rad * delay / max(delay.max(), 1e-12))


def _random_field(
    rng: np.random.Generator, shape: tuple[int, int], filter_of: Callable[[FloatImage], FloatImage]
) -> FloatImage:
    """Random field, zero mean, unit variance; amplitude spectrum ``filter_of(|f|)``, f in cycles per px."""
    fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :]
    spectrum = np.fft.fft2(rng.standard_normal(shape)) * filter_of(np.hypot(fy, fx))
    spectrum[0, 0] = 0.0
    values = np.fft.ifft2(spectrum).real
    return values / max(values.std(), 1e-12)


def _squashed(values: FloatImage) -> FloatImage:
    """Values of unit variance mapped smoothly into (0, 1)."""
    return 0.5 * (1.0 + np.tanh(0.7 * values))


def natural_object(
    shape: tuple[int, int],
    *,
    seed: int,
    min_amplitude: float = 0.4,
    max_phase_rad: float = 1.2,
) -> ComplexImage:
    """Synthetic natural image: overlapping soft-edged ellipses over a texture with a 1/f amplitude spectrum.

    Amplitude and phase share the outlines but neither values nor texture.

    Parameters
    ----------
    shape
        (H, W); px.
    seed
        Seed of the image.
    min_amplitude
        Lower bound of the amplitude; the upper bound is 1.
    max_phase_rad
        Bound of the phase on both sides of zero; rad.

    Returns
    -------
    ndarray
        (H, W) complex64.
    """
    height, width = _checked_shape(shape)
    rng = np.random.default_rng(seed)

    def pink(frequency: FloatImage) -> FloatImage:
        return 1.0 / np.maximum(frequency, 1.0 / max(height, width))

    bright, thick = (_random_field(rng, (height, width), pink) for _ in range(2))
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    largest = 0.25 * min(height, width)
    for _ in range(_N_SHAPES):
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        axes = rng.uniform(0.15, 1.0, size=2) * largest + 1.0
        angle = rng.uniform(0, math.pi)
        along = (rows - row) * math.cos(angle) + (columns - column) * math.sin(angle)
        across = (columns - column) * math.cos(angle) - (rows - row) * math.sin(angle)
        radius = np.hypot(along / axes[0], across / axes[1])
        cover = np.clip((1.0 - radius) * axes.min() + 0.5, 0.0, 1.0)
        values = rng.uniform(-1.5, 1.5, size=2)
        bright += cover * (values[0] + 0.35 * bright - bright)
        thick += cover * (values[1] + 0.35 * thick - thick)
    amplitude = min_amplitude + (1.0 - min_amplitude) * _squashed(bright)
    return _transmission(amplitude, max_phase_rad * (2.0 * _squashed(thick) - 1.0))


def random_field_object(
    shape: tuple[int, int],
    *,
    seed: int,
    correlation_px: float = 4.0,
    min_amplitude: float = 0.5,
    max_phase_rad: float = 1.0,
) -> ComplexImage:
    """Smooth random amplitude and phase, independent of each other, with a Gaussian correlation.

    Parameters
    ----------
    shape
        (H, W); px.
    seed
        Seed of the two fields.
    correlation_px
        Standard deviation of the Gaussian that white noise is smoothed with; px.
    min_amplitude
        Lower bound of the amplitude; the upper bound is 1.
    max_phase_rad
        Bound of the phase on both sides of zero; rad.

    Returns
    -------
    ndarray
        (H, W) complex64.
    """
    size = _checked_shape(shape)
    rng = np.random.default_rng(seed)

    def gaussian(frequency: FloatImage) -> FloatImage:
        return np.exp(-2.0 * (math.pi * correlation_px * frequency) ** 2)

    first, second = (_random_field(rng, size, gaussian) for _ in range(2))
    amplitude = min_amplitude + (1.0 - min_amplitude) * _squashed(first)
    return _transmission(amplitude, max_phase_rad * (2.0 * _squashed(second) - 1.0))


OBJECTS: dict[str, Callable[..., ComplexImage]] = {
    "lines": lines_object,
    "natural": natural_object,
    "random_field": random_field_object,
}
"""Objects by name; each takes a shape and a seed."""


def thick_object(scene: str, shape: tuple[int, int], *, slices: int, seed: int) -> ComplexImage:
    """Slices of a thick object, each another object of a scene.

    Parameters
    ----------
    scene
        Name in `OBJECTS`.
    shape
        (height, width); px.
    slices
        Number of slices. Each turns phases as one object does, and lets that root of its light through that
        leaves as much of it in all.
    seed
        Of the first slice; the next ones have the next seeds.

    Returns
    -------
    ndarray
        (slices, height, width) complex64, the first slice met first.
    """
    every = np.stack([OBJECTS[scene](shape, seed=seed + number) for number in range(slices)])
    root = np.maximum(np.abs(every), 1e-12) ** (1 / slices - 1)
    return np.asarray(every * root, dtype=np.complex64)


def defocused_probe(
    N: int,
    *,
    diameter_px: float | None = None,
    edge_px: float = 1.5,
    edge_frequency: float = 0.12,
    mode_powers: Sequence[float] = (1.0,),
) -> ComplexImage:
    """Round aperture with a curved wavefront, some way out of focus.

    A soft disk times ``exp(i pi c r**2)``, then Fresnel propagation with the transfer function
    ``exp(-i pi d f**2)``, f in cycles per px and d = 8 px**2 (Goodman, Introduction to Fourier Optics,
    section 4.2). Further modes are the first one times low polynomials of x and y, made orthogonal.

    Parameters
    ----------
    N
        Edge of the probe; px.
    diameter_px
        Diameter of the disk at half height; px. N / 2 when left out.
    edge_px
        Width of the soft edge; px.
    edge_frequency
        Slope of the wavefront at the edge of the disk; cycles per px. The bright field on the detector has a
        radius of about ``edge_frequency * N`` px.
    mode_powers
        Relative power of each incoherent mode.

    Returns
    -------
    ndarray
        (P, N, N) complex64 with ``sum |P|**2 == (N / 2)**2``, centre at index N // 2.

    Raises
    ------
    ValueError
        A number is outside what the beam needs to fit in its window, or a power is not positive.
    """
    diameter = N / 2 if diameter_px is None else float(diameter_px)
    if not 0 < diameter <= 0.8 * N:
        raise ValueError(
            f"diameter_px: {diameter:g} px does not fit a window of {N} px; use at most {0.8 * N:g}"
        )
    if not 0 <= edge_frequency < 0.5:
        raise ValueError(f"edge_frequency: expected 0 <= f < 0.5 cycles per px, got {edge_frequency:g}")
    if edge_px <= 0:
        raise ValueError(f"edge_px: expected a positive width, got {edge_px:g}")
    powers = np.asarray(mode_powers, dtype=np.float64)
    if powers.ndim != 1 or not 1 <= powers.size <= 6 or not (powers > 0).all():
        raise ValueError(f"mode_powers: expected one to six positive numbers, got {list(mode_powers)}")
    axis = np.arange(N) - N // 2
    y, x = axis[:, None].astype(np.float64), axis[None, :].astype(np.float64)
    radius = np.hypot(y, x)
    disk = 0.5 * (1.0 - np.tanh((radius - diameter / 2) / edge_px))
    wavefront = np.exp(1j * math.pi * (edge_frequency / (diameter / 2)) * radius**2)
    f = np.fft.fftfreq(N)
    transfer = np.exp(-1j * math.pi * _DEFOCUS_PX2 * (f[:, None] ** 2 + f[None, :] ** 2))
    first = np.fft.ifft2(np.fft.fft2(disk * wavefront) * transfer)
    polynomials = [np.ones_like(radius), x + 0 * y, y + 0 * x, x * y, x**2 - y**2, x**2 + y**2]
    # The QR decomposition is Gram-Schmidt in the given order, so the first mode keeps its form.
    basis, _ = np.linalg.qr(np.stack([(first * p).ravel() for p in polynomials[: powers.size]], axis=1))
    modes = (basis * np.sqrt(powers / powers.sum())).T.reshape(powers.size, N, N)
    modes *= (N / 2) * np.exp(1j * (np.angle(first[N // 2, N // 2]) - np.angle(modes[0, N // 2, N // 2])))
    return modes.astype(np.complex64)


def raster_positions(
    shape: tuple[int, int],
    *,
    step_px: float,
    seed: int,
    jitter_px: float = 0.0,
    start_px: tuple[float, float] = (0.0, 0.0),
) -> npt.NDArray[np.float64]:
    """Row-by-row raster with a random sub-pixel displacement of every point.

    Parameters
    ----------
    shape
        (rows, columns) of the raster.
    step_px
        Distance between neighbours; px.
    seed
        Seed of the displacements.
    jitter_px
        Largest displacement along each axis, uniformly distributed; px. An exact raster repeats its own
        period in the reconstruction.
    start_px
        ``[y, x]`` of the smallest undisplaced position; px.

    Returns
    -------
    ndarray
        (rows * columns, 2) float64 ``[y, x]``; px.

    Raises
    ------
    ValueError
        The raster has no point, or step or jitter cannot be.
    """
    rows, columns = shape
    if rows < 1 or columns < 1:
        raise ValueError(f"shape: expected at least one row and one column, got {shape}")
    if not step_px > 0 or not jitter_px >= 0:
        raise ValueError(
            f"step_px, jitter_px: expected step > 0 and jitter >= 0, got {step_px:g} and {jitter_px:g}"
        )
    grid = np.mgrid[:rows, :columns].reshape(2, -1).T * float(step_px) + np.asarray(
        start_px, dtype=np.float64
    )
    displacement = np.random.default_rng(seed).uniform(-jitter_px, jitter_px, size=grid.shape)
    return grid + displacement


def object_shape(positions: npt.NDArray[np.float64], N: int) -> tuple[int, int]:
    """Smallest (H, W) of an object with its index 0 at coordinate 0 that holds every patch of the scan.

    Parameters
    ----------
    positions
        (n, 2) ``[y, x]``; px.
    N
        Edge of a patch; px.

    Raises
    ------
    ShapeError
        Positions of another shape.
    ValueError
        A patch begins before coordinate 0.
    """
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.shape[0] == 0:
        raise ShapeError("positions", "(frames, 2)", positions.shape)
    first = positions - N // 2
    if first.min() < 0:
        raise ValueError(
            f"positions: a patch of {N} px begins at {first.min():g} px; move the scan to {N // 2} px or more"
        )
    height, width = (math.ceil(last) + N for last in first.max(axis=0))
    return height, width
