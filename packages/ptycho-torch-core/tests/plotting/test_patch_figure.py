"""Sample patches: every panel shows what it says."""

import numpy as np
import pytest
from matplotlib.image import imread

from ptycho_torch.errors import DataError, ShapeError
from ptycho_torch.plotting import save_patch_figure

pytestmark = pytest.mark.drawn

N = 16


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    measured = rng.poisson(40, (5, N, N))
    y, x = np.mgrid[:N, :N]
    patches = np.stack([(1 + 0.1 * n) * np.exp(0.3j * np.sin(x / 2) + 0j * y) for n in range(5)])
    return measured, measured * 1.21, patches


def _panels(figure):
    return [axes for axes in figure.axes if axes.images]


def test_a_picture_of_the_right_size(tmp_path, sample):
    save_patch_figure(tmp_path / "patches.png", *sample)
    picture = imread(tmp_path / "patches.png")
    assert picture.shape[1] == 11 * 160
    assert picture.shape[0] == pytest.approx((4 * 2.1 + 0.9) * 160, abs=2)
    assert picture[..., :3].std() > 0.05


@pytest.mark.rule("RUN-070")
def test_every_panel_holds_its_array(figures, tmp_path, sample):
    measured, predicted, patches = sample
    save_patch_figure(tmp_path / "patches.png", *sample, frames=[7, 11, 3, 2, 9])
    (figure,) = figures
    grid = np.array(_panels(figure)).reshape(4, 5)
    assert [axes.get_title() for axes in grid[0]] == [
        "measured",
        "predicted",
        "difference",
        "amplitude",
        "phase",
    ]
    arrays = [[axes.images[0].get_array() for axes in line] for line in grid]
    for row in range(4):
        np.testing.assert_allclose(arrays[row][0], np.log10(1 + measured[row]))
        np.testing.assert_allclose(arrays[row][1], np.log10(1 + predicted[row]))
        # The roots of 1.21 times the counts are 1.1 times the roots.
        np.testing.assert_allclose(arrays[row][2], 0.1 * np.sqrt(measured[row]))
        np.testing.assert_allclose(arrays[row][3], np.abs(patches[row]))
    assert grid[0][0].images[0].get_clim() == grid[3][1].images[0].get_clim()
    assert grid[1][0].get_ylabel() == "frame 11\nresidual 10.0%"


def test_dark_and_unmeasured_pixels_are_grey(figures, tmp_path, sample):
    measured_pixels = np.ones((N, N), dtype=bool)
    measured_pixels[3, 4] = False
    illumination = np.zeros((N, N))
    illumination[4:12, 4:12] = 1.0
    save_patch_figure(
        tmp_path / "patches.png", *sample, illumination=illumination, measured_pixels=measured_pixels
    )
    masks = [axes.images[0].get_array().mask for axes in _panels(figures[0])[:5]]
    for mask in masks[:3]:
        np.testing.assert_array_equal(mask, ~measured_pixels)
    for mask in masks[3:]:
        np.testing.assert_array_equal(mask, illumination == 0)


def test_wrong_inputs_are_refused(tmp_path, sample):
    measured, predicted, patches = sample
    target = tmp_path / "patches.png"
    with pytest.raises(ShapeError, check=lambda error: error.name == "measured"):
        save_patch_figure(target, measured[0], predicted, patches)
    with pytest.raises(ShapeError, check=lambda error: error.name == "patches"):
        save_patch_figure(target, measured, predicted, patches[:, 1:])
    with pytest.raises(DataError, check=lambda error: error.names == ("predicted",)):
        save_patch_figure(target, measured, predicted * np.nan, patches)
    with pytest.raises(DataError, check=lambda error: error.names == ("measured",)):
        save_patch_figure(target, measured[:0], predicted[:0], patches[:0])
    assert not list(tmp_path.iterdir())
