"""Scans made with plain NumPy, whose object, probe and faults are known."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_torch.diagnosis.evidence import Evidence, in_counts
from ptycho_torch.diagnosis.statistics import frame_statistics
from ptycho_torch.diagnosis.table import DIAGNOSES


def smooth_noise(side, sigma, rng):
    k = np.fft.fftfreq(side)
    low = np.exp(-2 * (np.pi * sigma) ** 2 * (k[:, None] ** 2 + k[None] ** 2))
    values = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * low).real
    return values / values.std()


def lens_probe(size, *, radius=0.16, defocus=40.0, stop=0.0):
    """Image of a round lens out of focus, a little astigmatic; ``stop`` darkens the middle of the lens."""
    k = np.fft.fftfreq(size)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    far = np.hypot(ky, kx)
    phase = np.exp(1j * np.pi * defocus * (1.3 * kx**2 + 0.8 * ky**2 + 0.3 * kx * ky))
    probe = np.fft.fftshift(np.fft.ifft2((far < radius) * (far >= stop) * phase))
    return (probe / np.linalg.norm(probe))[None]


class Scene:
    """A scan as arrays; faults are put into ``frames``, ``positions`` or ``probe``."""

    def __init__(self, size=64, *, grid=8, step=5, photons=1e5, seed=0, probe=None, phase=0.4, noise=True):
        rng = np.random.default_rng(seed)
        index = np.indices((grid, grid)).reshape(2, -1).T
        corners = index * step + rng.integers(-1, 2, index.shape)
        corners -= corners.min(axis=0)
        side = int(corners.max()) + size
        image = np.exp(
            1j * phase * smooth_noise(side, 3, rng) - 0.1 * phase * np.abs(smooth_noise(side, 2.5, rng))
        )
        self.probe = lens_probe(size) if probe is None else probe
        cut = np.stack([image[y : y + size, x : x + size] for y, x in corners])
        waves = np.fft.fft2(np.fft.ifftshift(cut[:, None] * self.probe, axes=(-2, -1)), norm="ortho")
        light = np.fft.fftshift((np.abs(waves) ** 2).sum(axis=1), axes=(-2, -1))
        light *= photons / light.sum(axis=(1, 2)).mean()
        self.frames = rng.poisson(light).astype(np.int32) if noise else light
        self.positions = corners + size / 2.0
        self.bad = None

    @property
    def n(self):
        return len(self.frames)

    def evidence(self, *, amplitudes=False, **more):
        found = frame_statistics(self.frames, unmeasured=self.bad)
        return Evidence(
            frames=in_counts(found, amplitudes=amplitudes),
            positions=self.positions,
            probe=self.probe,
            unmeasured=self.bad,
            **more,
        )

    def finding(self, name, **more):
        return next(entry for entry in DIAGNOSES if entry.name == name).examine(self.evidence(**more))


@pytest.fixture
def scene():
    """Make a `Scene`: ``scene(32, photons=50)``."""
    return Scene


@pytest.fixture
def lens():
    """Make a probe: ``lens(64, stop=0.05)``."""
    return lens_probe
