"""Patches cut from a known object, and the error of what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from unittest.mock import patch

import numpy as np
import pytest
import torch

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.physics import Bilinear, illumination
from ptycho_torch.reassembly import StitchedObject, canvas_for, stitch, stitching
from ptycho_torch.testing import tiny_scene


@dataclass(frozen=True)
class Cut:
    """A scan, its true patches, and how to stitch them."""

    scan: Scan
    patches: torch.Tensor
    positions: torch.Tensor
    weight: torch.Tensor

    def stitched(
        self, patches=None, positions=None, *, batch_size=None, passes=0, settled_rad=1e-6
    ) -> StitchedObject:
        """Stitch these patches, or others, at these positions, or others."""
        patches = self.patches if patches is None else patches
        positions = self.positions if positions is None else positions
        size = batch_size or len(patches)

        def batches(skip):
            return islice(zip(patches.split(size), positions.split(size), strict=True), skip, None)

        geometry = canvas_for(positions.numpy(), self.scan.N)
        with patch.object(stitching, "_SETTLED_RAD", settled_rad):
            return stitch(batches, geometry, self.weight, alignment_passes=passes)

    def error(self, result: StitchedObject, *, free_phase=False, least_weight=1e-3) -> float:
        """Relative RMS difference from the truth on every pixel of enough weight, overlaid by origin."""
        truth = self.scan.object_truth
        rows, columns = np.nonzero(result.weight > least_weight * result.weight.max())
        shift = np.round(self.scan.object_truth_origin - result.origin).astype(int)
        inside = np.ones(len(rows), dtype=bool)
        for index, moved, size in zip((rows, columns), shift, truth.shape, strict=True):
            inside &= (index + moved >= 0) & (index + moved < size)
        assert inside.mean() > 0.5
        rows, columns = rows[inside], columns[inside]
        seen, known = result.object[rows, columns], truth[rows + shift[0], columns + shift[1]]
        if free_phase:
            seen = seen * np.exp(1j * np.angle(np.vdot(seen, known)))
        return float(np.linalg.norm(seen - known) / np.linalg.norm(known))


@pytest.fixture
def cut():
    """Cut a tiny scene; keyword arguments of `tiny_scene`, and ``uniform`` weights or the illumination."""

    def cut_scene(scene="lines", *, uniform=False, **settings):
        scan = tiny_scene(scene, **settings)
        positions = torch.from_numpy(scan.positions)
        truth = torch.from_numpy(scan.object_truth)
        patches = Bilinear(positions, scan.N, truth.shape).cut(truth)
        weight = torch.ones(scan.N, scan.N) if uniform else illumination(torch.from_numpy(scan.probe))
        return Cut(scan, patches, positions, weight)

    return cut_scene
