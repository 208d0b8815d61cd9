"""A small scan, and fits that cost nothing: how far held-out frames are follows from the settings alone."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho_torch.data.simulation import simulate_scene
from ptycho_torch.trials.hidden import Split

SIZE = {"N": 32, "grid": (6, 6), "step_px": 4.0, "jitter_px": 1.0, "photons": 1e5, "seed": 1}


@pytest.fixture(scope="session")
def scan():
    return simulate_scene("random_field", **SIZE)


@pytest.fixture
def fits(monkeypatch):
    """Replace fits: ``fits(factors)`` lets every setting that is on multiply the deviance of all frames.

    A factor may be a function that is called with the configuration and gives the factor, or raises.
    Returns the configurations that were fitted, in order.
    """

    def replaced(factors, *, epochs=3):
        seen = []

        def fit(split, config, *, device="cpu", dark=None, progress=None):
            seen.append(config)
            for epoch in range(epochs):
                progress(epoch + 1, epochs, 0.5)
            frames = np.random.default_rng(split.held).uniform(0.9, 1.1, len(split.held))
            for name, factor in factors.items():
                if callable(factor):
                    frames = frames * factor(config)
                elif getattr(config, name) not in (False, 0, 0.0, "off", "poisson", "object", None):
                    frames = frames * factor
            return frames

        monkeypatch.setattr(Split, "fit", fit)
        return seen

    return replaced


class Clock:
    """Time that passes by a step whenever somebody looks."""

    def __init__(self, step=1.0):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


@pytest.fixture
def clock():
    return Clock
