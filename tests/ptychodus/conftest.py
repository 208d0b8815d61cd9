"""Scans to give to ptychodus, and ptychodus run as a program."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
from driving import command, displacement_and_error, environment, make_world, settings_file

TIME_LIMIT_S = 240


@pytest.fixture
def world(tmp_path):
    """Make a scan: ``world(modes=3, dtype="uint16", masked=True)``."""

    def make(name="in", **settings):
        return make_world(tmp_path / name, **settings)

    return make


@pytest.fixture
def compared(record_property):
    """Compare a product with the world; what is found stands in the report that ``--junitxml`` writes."""

    def compare(world, product):
        moved, error, flat = displacement_and_error(world, product)
        record_property("displacement_px", round(float(np.abs(moved).max()), 3))
        record_property("error", round(error, 4))
        record_property("error_of_a_flat_object", round(flat, 4))
        return moved, error, flat

    return compare


@pytest.fixture
def ptychodus(tmp_path):
    """Run ptychodus: ``ptychodus("train", folder, output, epochs=2)``; returns the finished process."""

    def run(job, source, output, *, algorithm="unsupervised", model_size=32, **training):
        settings = settings_file(tmp_path, algorithm=algorithm, model_size=model_size, **training)
        return subprocess.run(
            command(job, source, output, settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIME_LIMIT_S,
            env=environment(tmp_path),
            check=False,
        )

    return run
