"""Resident memory of a reconstruction is bounded, however large a batch is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

SOURCE = """
import resource, sys
import torch
from ptycho_config import ModelConfig
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch.models import build_patch_model
from ptycho_torch.physics import calibrate
from ptycho_torch.workflows import reconstruct

def mebibytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

torch.set_num_threads(1)
scan = simulate_scene("lines", N=128, grid=(11, 12), step_px=4.0)
light = torch.from_numpy(scan.probe)
model = build_patch_model(ModelConfig(N=128, gridsize=2), calibrate(light, scan.counts_per_frame().mean()))
before = mebibytes()
reconstruct(model, scan, batch_size=1000, physics_steps=1)
print(mebibytes() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell the largest resident size")
def test_a_batch_of_a_thousand_groups_takes_about_a_gigabyte():
    """132 groups of four frames of 128 px: 1.3 GiB more in one batch, 0.8 GiB in batches of 64."""
    done = subprocess.run([sys.executable, "-c", SOURCE], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 1024
