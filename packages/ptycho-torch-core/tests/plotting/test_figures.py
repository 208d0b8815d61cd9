"""Figures are files that can be read, and leave nothing else behind."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from ptycho_torch import plotting
from ptycho_torch.errors import DataError, ShapeError
from ptycho_torch.metrics import compare
from ptycho_torch.plotting import (
    save_comparison_figure,
    save_error_bar_figure,
    save_frc_figure,
    save_object_figures,
    save_training_figure,
)

pytestmark = pytest.mark.drawn


@pytest.fixture(scope="module")
def truth():
    y, x = np.mgrid[:64, :80]
    return (1 - 0.3 * (np.sin(x / 4) > 0.5)) * np.exp(0.6j * np.cos(y / 5))


@pytest.fixture(scope="module")
def weight(truth):
    covered = np.zeros(truth.shape)
    covered[8:-8, 10:-10] = 1.0
    return covered


@pytest.fixture(scope="module")
def report(truth):
    rng = np.random.default_rng(0)
    return compare(truth + 0.05 * rng.normal(size=truth.shape), truth, probe_diameter=8)


def _colours(path):
    picture = imread(path)
    assert min(picture.shape[:2]) > 300
    return {tuple(colour) for colour in np.round(picture[..., :3].reshape(-1, 3) * 255).astype(int)[::7]}


def test_object_figures_are_pictures(tmp_path, truth, weight):
    save_object_figures(tmp_path, truth, weight, (-5, 12))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["amplitude.png", "phase.png"]
    for name in ("amplitude.png", "phase.png"):
        assert len(_colours(tmp_path / name)) > 50


@pytest.mark.parametrize("shape", [(64, 80), (77, 77), (90, 40)])
def test_no_label_reaches_beyond_the_picture(tmp_path, truth, shape):
    image = np.resize(truth, shape)
    save_object_figures(tmp_path, image, origin=(-100, -1000))
    save_training_figure(tmp_path / "training.png", {"loss": [3.0, 2.0, 0.01]}, image)
    for path in tmp_path.iterdir():
        picture = imread(path)[..., :3]
        for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
            assert edge.min() > 0.95, path.name


def test_uncovered_pixels_are_grey_and_do_not_set_the_scale(tmp_path, truth, weight):
    """A wild rim changes no pixel of the picture."""
    for name, rim in (("calm", 0.0), ("wild", 1e6j)):
        (tmp_path / name).mkdir()
        save_object_figures(tmp_path / name, np.where(weight > 0, truth, rim), weight)
    for name in ("amplitude.png", "phase.png"):
        calm, wild = (imread(tmp_path / which / name) for which in ("calm", "wild"))
        np.testing.assert_array_equal(calm, wild)
        # 0.85 of 255, rounded either way.
        assert {(216,) * 3, (217,) * 3} & _colours(tmp_path / "calm" / name)


def test_free_ramp_does_not_hide_the_phase(tmp_path, truth):
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]]
    pictures = []
    for name, image in (("plain", truth), ("ramped", truth * np.exp(1j * (0.3 * y - 0.2 * x + 1)))):
        (tmp_path / name).mkdir()
        save_object_figures(tmp_path / name, image)
        pictures.append(imread(tmp_path / name / "phase.png"))
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.01


def _axes_of_figures(monkeypatch):
    figures = []

    def keep(figure, path):
        figures.append(figure)

    monkeypatch.setattr(plotting.style, "write_figure", keep)
    return figures


def test_axes_show_coordinates(monkeypatch, tmp_path, truth, weight):
    figures = _axes_of_figures(monkeypatch)
    save_object_figures(tmp_path, truth, weight, (-5, 12))
    left, right, bottom, top = figures[0].axes[0].images[0].get_extent()
    # Covered from row 8 and column 10, a margin of 4, half a pixel to the edge; coordinate = index - origin.
    assert (left, top) == (10 - 4 - 12 - 0.5, 8 - 4 + 5 - 0.5)
    assert (right - left, bottom - top) == (60 + 8, 48 + 8)
    assert figures[0].axes[0].get_xlabel() == "x (px)"


def test_error_bars_are_those_of_amplitude_and_phase_and_grey_in_the_null_space(
    monkeypatch, tmp_path, truth, weight
):
    figures = _axes_of_figures(monkeypatch)
    sigma = np.where(weight > 0, 0.02, np.inf)
    save_error_bar_figure(tmp_path / "bars.png", truth, sigma, weight <= 0, np.zeros(2), pixel_size=2e-9)
    amplitude, phase = (axes.images[0] for axes in figures[0].axes[:2])
    seen = weight[4:-4, 6:-6] > 0
    np.testing.assert_array_equal(amplitude.get_array().mask, ~seen)
    np.testing.assert_allclose(amplitude.get_array()[seen], 0.02 / 2**0.5)
    np.testing.assert_allclose(
        phase.get_array()[seen], 0.02 / 2**0.5 / np.abs(truth[4:-4, 6:-6])[seen], rtol=1e-6
    )
    assert figures[0].axes[0].get_xlabel() == "x (nm)"


@pytest.mark.parametrize(("pixel_size", "unit", "scale"), [(50e-9, "µm", 0.05), (2e-9, "nm", 2.0)])
def test_axes_show_lengths(monkeypatch, tmp_path, truth, pixel_size, unit, scale):
    figures = _axes_of_figures(monkeypatch)
    save_object_figures(tmp_path, truth, pixel_size=pixel_size)
    left, right, _, _ = figures[0].axes[0].images[0].get_extent()
    assert right - left == pytest.approx(80 * scale)
    assert figures[1].axes[0].get_ylabel() == f"y ({unit})"


def test_phase_over_the_whole_circle_gets_a_cyclic_map(monkeypatch, tmp_path, truth):
    figures = _axes_of_figures(monkeypatch)
    rng = np.random.default_rng(0)
    save_object_figures(tmp_path, truth)
    save_object_figures(tmp_path, np.exp(1j * rng.uniform(-np.pi, np.pi, truth.shape)))
    narrow, wide = (figures[i].axes[0].images[0] for i in (1, 3))
    assert narrow.cmap.name == "magma"
    assert wide.cmap.name == "twilight"
    assert wide.get_clim() == pytest.approx((-np.pi, np.pi))


@pytest.mark.parametrize("image", [np.ones((64, 64), complex), np.zeros((64, 64), complex)])
def test_an_image_without_contrast_can_be_drawn(tmp_path, image):
    save_object_figures(tmp_path, image)
    save_object_figures(tmp_path, image, np.zeros(image.shape))
    assert (tmp_path / "phase.png").stat().st_size > 1000


def test_comparison_shares_one_scale(monkeypatch, tmp_path, report):
    figures = _axes_of_figures(monkeypatch)
    save_comparison_figure(tmp_path / "comparison.png", report)
    images = [axes.images[0] for axes in figures[0].axes[:6]]
    for first in (0, 3):
        ours, truth, difference = images[first : first + 3]
        assert ours.get_clim() == truth.get_clim()
        low, high = difference.get_clim()
        assert low == -high
    np.testing.assert_allclose(images[5].get_array(), np.angle(report.reconstruction * report.truth.conj()))


def test_report_figures_are_pictures(tmp_path, report):
    save_comparison_figure(tmp_path / "comparison.png", report)
    save_frc_figure(tmp_path / "frc.png", report)
    assert len(_colours(tmp_path / "comparison.png")) > 50
    assert len(_colours(tmp_path / "frc.png")) > 5


def test_frc_figure_says_when_a_threshold_is_never_crossed(tmp_path, truth, monkeypatch):
    figures = []
    monkeypatch.setattr(
        "ptycho_torch.plotting.style.write_figure", lambda figure, path: figures.append(figure)
    )
    save_frc_figure(tmp_path / "frc.png", compare(truth, truth, frc=True))
    words = [entry.get_text() for entry in figures[0].axes[0].get_legend().get_texts()]
    assert "0.5 threshold, never crossed" in words
    assert "1-bit threshold, never crossed" in words


def test_frc_figure_needs_a_curve(tmp_path, truth):
    with pytest.raises(DataError, check=lambda error: error.names == ("report",)):
        save_frc_figure(tmp_path / "frc.png", compare(truth, truth, frc=False))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [None, 0, 1, 6])
def test_training_figure(monkeypatch, tmp_path, truth, count):
    examples = truth if count is None else np.stack([truth] * count) if count else None
    history = {"epoch": [0, 1, 2], "training": [30.0, 3.0, 1.0], "validation": [np.nan, 4.0, 2.0]}
    save_training_figure(tmp_path / "training.png", history, examples)
    assert len(_colours(tmp_path / "training.png")) > 5
    figures = _axes_of_figures(monkeypatch)
    save_training_figure(tmp_path / "training.png", history, examples)
    images = figures[0].findobj(lambda a: hasattr(a, "images") and a.images)
    assert len(images) == 2 * min({None: 1}.get(count, count), 4)
    (loss,) = [axes for axes in figures[0].axes if axes.get_xlabel() == "epoch"]
    assert loss.get_yscale() == "log"
    np.testing.assert_array_equal(loss.lines[1].get_xdata(), [1, 2])


def test_negative_losses_stay_on_a_linear_axis(monkeypatch, tmp_path):
    figures = _axes_of_figures(monkeypatch)
    save_training_figure(tmp_path / "training.png", {"training": [5.0, -1.0, -2.0]})
    (axes,) = figures[0].axes
    assert axes.get_yscale() == "linear"
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1, 2, 3])


def test_wrong_inputs_are_refused(tmp_path, truth):
    with pytest.raises(ShapeError, check=lambda error: error.name == "object"):
        save_object_figures(tmp_path, truth[None])
    with pytest.raises(ShapeError, check=lambda error: error.name == "weight"):
        save_object_figures(tmp_path, truth, np.ones((3, 3)))
    with pytest.raises(DataError, check=lambda error: error.names == ("object",)):
        save_object_figures(tmp_path, truth * np.nan)
    with pytest.raises(DataError, check=lambda error: error.names == ("pixel_size",)):
        save_object_figures(tmp_path, truth, pixel_size=0.0)
    with pytest.raises(DataError, check=lambda error: error.names == ("history",)):
        save_training_figure(tmp_path / "training.png", {"epoch": [1]})
    with pytest.raises(ShapeError, check=lambda error: error.name == "history['training']"):
        save_training_figure(tmp_path / "training.png", {"epoch": [1], "training": [1.0, 2.0]})
    with pytest.raises(ShapeError, check=lambda error: error.name == "examples"):
        save_training_figure(tmp_path / "training.png", {"training": [1.0]}, truth[0])
    assert not list(tmp_path.iterdir())


def test_pyplot_and_an_idle_matplotlib_stay_out(tmp_path):
    """Importing the module costs no Matplotlib, drawing never touches pyplot."""
    script = (
        "import sys, numpy as np\n"
        "import ptycho_torch.plotting as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"p.save_object_figures({str(tmp_path)!r}, np.ones((32, 32), complex))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
