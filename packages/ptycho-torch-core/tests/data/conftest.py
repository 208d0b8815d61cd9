"""A small sound scan as named arrays, to break one thing at a time."""

from __future__ import annotations

import json

import numpy as np
import pytest

N_FRAMES, SIZE = 6, 16


@pytest.fixture
def arrays():
    """Sound scan of 6 frames of 16 x 16 counts, as a file holds it."""
    rng = np.random.default_rng(0)
    return {
        "diff3d": rng.poisson(30.0, size=(N_FRAMES, SIZE, SIZE)).astype(np.uint16),
        "xcoords": rng.uniform(20, 60, N_FRAMES),
        "ycoords": rng.uniform(20, 50, N_FRAMES),
        "probeGuess": (rng.normal(size=(SIZE, SIZE)) + 1j * rng.normal(size=(SIZE, SIZE))).astype(
            np.complex64
        ),
    }


@pytest.fixture
def write(tmp_path):
    """Write named arrays as NPZ, with optional metadata, and return the path."""

    def write_npz(arrays, metadata=None, name="scan.npz"):
        path = tmp_path / name
        extra = {} if metadata is None else {"_metadata": np.array(json.dumps(metadata))}
        np.savez_compressed(path, **arrays, **extra)
        return path

    return write_npz
