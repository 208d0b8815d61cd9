"""Every shape check lets the right array pass and names the wrong one."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.shapes import (
    check_field,
    check_frames,
    check_patches,
    check_positions,
    check_probe,
)

PROBE = torch.ones(2, 8, 8, dtype=torch.complex64)


def test_right_arrays_pass():
    check_probe(PROBE)
    check_patches(PROBE[0], PROBE)
    check_patches(torch.ones(3, 1, 8, 8, dtype=torch.complex64), PROBE)
    check_field(torch.ones(3, 2, 8, 8, dtype=torch.complex64), PROBE)
    check_frames(torch.ones(3, 1, 8, 8), 8)
    check_frames(torch.ones(3, 4, 8, 8), 8, n_channels=4)
    check_positions(torch.ones(3, 2), 3)


@pytest.mark.rule("PHY-007")
@pytest.mark.parametrize(
    ("check", "name", "actual"),
    [
        (lambda: check_frames(torch.ones(3, 8, 8), 8), "frames", (3, 8, 8)),
        (lambda: check_frames(torch.ones(3, 1, 8, 9), 8), "frames", (3, 1, 8, 9)),
        (
            lambda: check_frames(torch.ones(3, 1, 8, 8), 8, n_channels=4),
            "frames",
            (3, 1, 8, 8),
        ),
        (lambda: check_frames(PROBE[None], 8), "frames", PROBE.dtype),
        (lambda: check_field(torch.ones(2, 8, 8), PROBE), "field", torch.float32),
        (lambda: check_field(PROBE[:1], PROBE), "field", (1, 8, 8)),
        (lambda: check_patches(PROBE[..., :4], PROBE, name="patch"), "patch", (2, 8, 4)),
        (lambda: check_positions(torch.ones(2, 3), 3), "positions", (2, 3)),
        (lambda: check_positions(torch.ones(3, 2, dtype=torch.complex64), 3), "positions", torch.complex64),
    ],
)
def test_wrong_arrays_are_named(check, name, actual):
    with pytest.raises(ShapeError, check=lambda error: (error.name, error.actual) == (name, actual)):
        check()
