"""One page about a scan, drawn for every kind of file."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from ptycho_torch.data.convert import convert
from ptycho_torch.data.summary import ScanSummary, examine_scan
from ptycho_torch.errors import DataError
from ptycho_torch.plotting import save_scan_figure
from ptycho_torch.plotting.scan import frames_per_pixel

pytestmark = pytest.mark.drawn

OPTICS = {
    "photon_energy_eV": 9000.0,
    "detector_object_distance_m": 1.0,
    "detector_pixel_width_m": 75e-6,
    "detector_pixel_height_m": 75e-6,
}


@pytest.fixture(scope="module", params=["npz", "ptychodus", "ptychodus-training", "cxi"])
def examined(request, tmp_path_factory, tiny_scan_file):
    names = {"npz": "scan.npz", "ptychodus": "pair", "ptychodus-training": "train.h5", "cxi": "scan.cxi"}
    target = tmp_path_factory.mktemp("formats") / names[request.param]
    convert(tiny_scan_file, target, metadata=OPTICS)
    return examine_scan(target)


def _draw(path, found, **changes):
    save_scan_figure(path, replace(found.scan, **changes), found.frames, found.summary)


@pytest.mark.rule("CLI-030")
def test_a_picture_for_every_format(examined, tmp_path):
    _draw(tmp_path / "scan.png", examined)
    picture = imread(tmp_path / "scan.png")
    assert picture.shape[:2] == (1376, 2080)
    # No label is cut off.
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert edge[:, :3].min() > 0.95
    # Each of the six panels holds something else than white.
    for part in np.array_split(picture[100:, :, :3], 2, axis=0):
        for panel in np.array_split(part, 3, axis=1):
            assert (panel.min(axis=2) < 0.5).mean() > 0.01
            assert panel.std() > 0.05


@pytest.fixture(scope="module")
def tiny(tiny_scan_file):
    return examine_scan(tiny_scan_file)


def _titled(figure, words):
    return next(axes for axes in figure.axes if words in axes.get_title())


@pytest.mark.rule("CLI-030")
def test_panels_show_what_the_scan_holds(figures, tmp_path, tiny):
    _draw(tmp_path / "scan.png", tiny)
    (figure,) = figures
    assert figure.get_suptitle() == "scan.npz: 30 frames of 32 × 32 px"
    points = _titled(figure, "scan map").collections[0]
    np.testing.assert_allclose(points.get_offsets(), tiny.scan.positions[:, ::-1])
    np.testing.assert_allclose(points.get_array(), tiny.scan.counts_per_frame())
    mean = _titled(figure, "mean frame").images[0].get_array()
    expected = tiny.scan.diffraction.mean(axis=0)
    np.testing.assert_allclose(mean[expected > 0], expected[expected > 0])
    (dots,) = [line for line in _titled(figure, "counts: mean").lines if len(line.get_xdata()) == 30]
    np.testing.assert_allclose(dots.get_ydata(), tiny.frames.totals)
    probe = _titled(figure, "probe").images
    assert not probe, "the first title with the word is that of the map"
    amplitude = next(axes for axes in figure.axes if axes.get_title() == "probe").images[0]
    np.testing.assert_allclose(amplitude.get_array(), np.abs(tiny.scan.probe[0]))


def test_geometry_and_modes_are_named(figures, tmp_path, tiny):
    probe = np.concatenate([tiny.scan.probe, tiny.scan.probe * np.sqrt(3)])
    _draw(tmp_path / "scan.png", tiny, metadata=OPTICS, probe=probe)
    (figure,) = figures
    # Wavelength times distance over the width of the detector.
    pixel_nm = 12398.4198 / 9000 * 0.1 / (32 * 75e-6)
    assert f"object pixel {pixel_nm:.4g} nm" in figure.get_suptitle()
    assert _titled(figure, "strongest of 2 modes (75%)")


def test_notes_stand_under_the_figure(figures, tmp_path, tiny):
    summary = replace(tiny.summary, notes=("3 pixels look hot; mark them in bad_pixels",))
    save_scan_figure(tmp_path / "scan.png", tiny.scan, tiny.frames, summary)
    assert figures[0].get_supxlabel() == "• 3 pixels look hot; mark them in bad_pixels"


def test_one_position_and_odd_names_can_be_drawn(tmp_path, tiny):
    one = tiny.scan.take([4])
    found = examine_of(one)
    save_scan_figure(tmp_path / "one.png", one, found[0], replace(found[1], source=tmp_path / "$a_{b$.npz"))
    assert imread(tmp_path / "one.png").shape[:2] == (1376, 2080)


def examine_of(scan):
    from ptycho_torch.data.summary import summarise_scan
    from ptycho_torch.diagnosis.statistics import frame_statistics

    frames = frame_statistics(scan.diffraction)
    return frames, summarise_scan(scan, frames=frames)


def test_coverage_counts_frames():
    positions = np.array([[0.0, 0.0], [0.0, 6.0], [40.0, 40.0]])
    counts, (left, right, bottom, top) = frames_per_pixel(positions, 10.0)
    assert (left, top) == (-5.0, -5.0)
    assert (right - left, bottom - top) == counts.shape[::-1]
    assert counts.max() == 2
    assert counts[5, 8] == 2
    assert counts[5, 1] == 1
    assert counts[25, 25] == 0
    # The area of three disks, each frame counted where it sees.
    assert counts.sum() == pytest.approx(3 * np.pi * 25, rel=0.06)


def test_a_wide_scan_is_drawn_on_coarse_cells():
    rng = np.random.default_rng(0)
    positions = rng.uniform(0, 20_000, (500, 2))
    counts, (left, right, _, _) = frames_per_pixel(positions, 300.0)
    assert max(counts.shape) <= 770
    cell = (right - left) / counts.shape[1]
    inside = counts.sum() * cell**2
    assert inside == pytest.approx(500 * np.pi * 150**2, rel=0.05)


def test_a_refused_scan_has_no_figure(tmp_path, tiny):
    with pytest.raises(DataError, check=lambda error: error.names == ("summary",)):
        save_scan_figure(tmp_path / "scan.png", tiny.scan, tiny.frames, ScanSummary(source=None, headers={}))
    assert not list(tmp_path.iterdir())
