"""Small objects with known content, and ways to damage them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage


def _scene(kind, size=96, seed=0):
    """Periodic, band-limited objects: a Fourier shift of them is exact."""
    rng = np.random.default_rng(seed)

    def texture():
        field = ndimage.gaussian_filter(rng.normal(size=(size, size)), 2.0, mode="wrap")
        return field / field.std()

    if kind == "both":
        shade = texture()
        return (0.8 + 0.1 * shade) * np.exp(0.15j * shade)
    if kind == "phase":
        return (1 + 0.002 * texture()) * np.exp(0.35j * texture())
    if kind == "amplitude":
        return (0.8 + 0.12 * texture()) * np.exp(0.002j * texture())
    if kind == "speckle":
        return texture() + 1j * texture()
    raise KeyError(kind)


def _shifted(image, shift):
    return np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(image), shift))


def _ramped(image, ramp):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return image * np.exp(1j * (ramp[0] * y + ramp[1] * x))


def _noise(shape, sigma, seed=1):
    rng = np.random.default_rng(seed)
    return sigma * (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)


@pytest.fixture(scope="session")
def scenes():
    return SimpleNamespace(
        make=_scene,
        shifted=_shifted,
        ramped=_ramped,
        noise=_noise,
        kinds=("both", "phase", "amplitude", "speckle"),
    )


@pytest.fixture(params=("both", "phase", "amplitude", "speckle"))
def kind(request):
    return request.param
