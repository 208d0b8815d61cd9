"""The smoothness that few counts ask for."""

import numpy as np
import pytest

from ptycho_torch.diagnosis.dose import counts_per_object_pixel, smoothness_for, smoothness_to_try


def test_the_density_is_that_of_all_frames_over_the_area_that_the_probe_reached():
    positions = np.array([[0.0, 0.0], [0.0, 90.0], [40.0, 90.0]])
    assert counts_per_object_pixel(500.0, positions, 10.0) == pytest.approx(3 * 500 / (50 * 100))


def test_fewer_counts_ask_for_more_smoothness_and_never_for_more_than_one():
    figures = [smoothness_for(density) for density in (1000, 100, 10, 1, 1e-9, 0)]
    assert figures == sorted(figures)
    assert figures[2] == 0.03
    assert max(figures) == 1


@pytest.mark.parametrize("used", [0.03, 0.2])
def test_what_did_not_help_is_not_advised_again(used):
    assert smoothness_to_try(0.03) == "refine with --smoothness 0.03 or near"
    assert smoothness_to_try(0.03, 0.01) == smoothness_to_try(0.03)
    assert f"above {used:g}" in smoothness_to_try(0.03, used)
