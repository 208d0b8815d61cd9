"""A probe that cannot have made these frames is told, with what would fit."""

import numpy as np
import pytest

PROBE = ("corner", "beam-centre", "probe-order", "probe-plane", "real-probe", "far-field")
AXES = (-2, -1)


@pytest.mark.parametrize("size", [32, 63, 64])
@pytest.mark.parametrize("photons", [100, 1e6])
def test_sound_scans_have_no_findings(scene, size, photons):
    made = scene(size, photons=photons)
    assert [name for name in PROBE if made.finding(name).found] == []


def test_zero_frequency_in_the_corner(scene):
    made = scene(64)
    made.frames = np.fft.ifftshift(made.frames, axes=AXES)
    assert made.finding("corner").found
    assert not made.finding("probe-plane").found


def test_a_flat_background_is_no_corner(scene):
    made = scene(64)
    made.frames += 100
    assert not made.finding("corner").found


def test_a_beam_beside_the_middle(scene):
    made = scene(64)
    made.frames = np.roll(made.frames, (5, -4), AXES)
    finding = made.finding("beam-centre")
    assert finding.found
    assert finding.numbers["offset_px"] == [5, -4]


def test_a_probe_in_the_order_of_a_transform(scene):
    made = scene(64)
    made.probe = np.fft.ifftshift(made.probe, axes=AXES)
    assert made.finding("probe-order").found


def test_a_probe_given_where_the_detector_is(scene):
    made = scene(64)
    made.probe = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(made.probe, axes=AXES), norm="ortho"), axes=AXES
    )
    assert made.finding("probe-plane").found


def test_a_probe_without_phase(scene):
    made = scene(64)
    made.probe = np.abs(made.probe) + 0j
    assert made.finding("real-probe").found


def one_sided(lens):
    """A lens that lights one side more than the other, and one half of the height."""
    probe = lens(64, radius=0.2)
    field = np.fft.fft2(np.fft.ifftshift(probe, axes=AXES))
    ky, kx = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij")
    shaped = field * np.exp(8 * kx) * (ky > -0.05)
    probe = np.fft.fftshift(np.fft.ifft2(shaped), axes=AXES)
    return probe / np.linalg.norm(probe)


def test_a_conjugated_probe_shows_on_the_detector(scene, lens):
    made = scene(64, probe=one_sided(lens))
    assert not made.finding("far-field").found
    made.probe = made.probe.conj()
    finding = made.finding("far-field")
    assert finding.found
    assert min(finding.numbers["misfit_of_turned"], key=finding.numbers["misfit_of_turned"].get) == (
        "turned by 180 degrees"
    )


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (lambda f: f.transpose(0, 2, 1), "transposed"),
        (lambda f: np.roll(f[:, ::-1], 1, 1), "flipped top to bottom"),
    ],
)
def test_frames_mounted_otherwise(scene, lens, turn, said):
    made = scene(64, probe=one_sided(lens))
    made.frames = turn(made.frames)
    turned = made.finding("far-field").numbers["misfit_of_turned"]
    assert made.finding("far-field").found
    assert min(turned, key=turned.get) == said
