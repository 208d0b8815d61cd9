"""What pixels hide is found where it is, and nothing where there is nothing."""

import numpy as np
import pytest

PIXELS = ("mask", "gaps", "dark-gaps", "hot", "hits", "saturated", "wrapped")


def masked(finding):
    assert finding.found
    assert finding.severity == "warning"
    assert finding.advice
    return finding.remedy.bad_pixels


@pytest.mark.parametrize("photons", [50, 500, 1e5, 1e7])
@pytest.mark.parametrize("size", [32, 63, 64])
def test_sound_scans_have_no_findings(scene, size, photons):
    made = scene(size, photons=photons)
    assert [name for name in PIXELS if made.finding(name).found] == []


@pytest.mark.parametrize("phase", [0.0, 2.5])
def test_nor_have_empty_and_strongly_scattering_ones(scene, lens, phase):
    made = scene(64, phase=phase, probe=lens(64, stop=0.08))
    assert [name for name in PIXELS if made.finding(name).found] == []


@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [(np.uint32, 2**32 - 1), (np.uint16, 65535), (np.int32, -1), (np.int32, -2), (np.int64, 2**32 - 1),
     (np.float32, 2**32 - 1), (np.float32, np.nan), (np.float64, -1)],
)  # fmt: skip
def test_gaps(scene, size, dtype, value):
    made = scene(size, grid=5, photons=1e4)
    made.frames = made.frames.astype(dtype)
    where = np.zeros((size, size), bool)
    where[size // 3 : size // 3 + 3] = where[:, size - 7] = True
    made.frames[:, where] = value
    np.testing.assert_array_equal(masked(made.finding("gaps")), where)
    assert not made.finding("saturated").found
    made.bad = where
    assert not made.finding("gaps").found


@pytest.mark.parametrize(
    "shape", ["rows", "columns", "cross", "single row", "stop", "stop with arm", "pixel in the middle"]
)
def test_dark_gaps(scene, shape):
    made = scene(64, photons=1e6)
    y, x = np.indices((64, 64))
    where = {
        "rows": (y >= 20) & (y < 24),
        "columns": (x >= 31) & (x < 34),
        "cross": (y == 40) | (x == 22),
        "single row": y == 32,
        "stop": np.hypot(y - 32, x - 32) < 5,
        "stop with arm": (np.hypot(y - 31, x - 33) < 4) | ((x == 33) & (y > 31)),
        "pixel in the middle": (y == 30) & (x == 31),
    }[shape]
    made.frames[:, where] = 0
    found = masked(made.finding("dark-gaps"))
    # An arm that leaves the light ends nowhere that could be seen.
    assert not (found & ~where).any()
    assert made.evidence().far_field[where & ~found].sum() < 1e-3


def test_a_dark_middle_of_the_lens_is_no_gap(scene, lens):
    made = scene(64, probe=lens(64, stop=0.08), phase=0.05, photons=2e3)
    assert not made.finding("dark-gaps").found


def test_hot_and_stuck_pixels(scene):
    made = scene(64, photons=1e4)
    rng = np.random.default_rng(1)
    made.frames[:, 3, 60] = rng.poisson(500, made.n)
    made.frames[:, 33, 30] = 12
    found = masked(made.finding("hot"))
    assert np.argwhere(found).tolist() == [[3, 60], [33, 30]]
    assert not made.finding("hits").found


def hidden(made, finding):
    """Values of all frames that a finding calls not measured."""
    return made.frames >= finding.remedy.ceiling


@pytest.mark.parametrize("size", [32, 128])
@pytest.mark.parametrize("grid", [2, 6])
def test_hits_in_single_frames(scene, size, grid):
    made = scene(size, grid=grid, photons=1e4)
    made.frames[1, 3, 4] = 10**6
    made.frames[3, size - 2, size // 2] = 400
    finding = made.finding("hits")
    assert np.argwhere(hidden(made, finding)).tolist() == [[1, 3, 4], [3, size - 2, size // 2]]
    assert finding.numbers["n_values"] == 2
    assert not made.finding("hot").found
    assert not made.finding("crazy-frames").found


def test_hits_in_every_frame_leave_the_pixels_of_the_other_frames(scene):
    """Over many frames hits fall on most pixels: no mask for all frames could take them."""
    made = scene(32, grid=12, photons=1e4)
    rng = np.random.default_rng(0)
    clean = made.frames.copy()
    where = np.arange(made.n), *rng.integers(0, 32, (2, made.n))
    made.frames[where] = rng.integers(10**4, 10**6, made.n)
    hit = made.frames != clean
    assert hit.any(axis=0).mean() > 0.1
    finding = made.finding("hits")
    found = hidden(made, finding)
    # A pixel that was hit twice among the frames that say what is usual, and those around it, hide some.
    assert (found & hit).sum() > 0.8 * hit.sum()
    assert (found & ~hit).sum() == 0
    for name in ("crazy-frames", "saturated", "empty-frames"):
        assert not made.finding(name).found, name


def test_a_track_across_pixels_and_a_shared_hit(scene):
    made = scene(64, grid=6, photons=1e5)
    made.frames[4, 5, 6:18] = 30000
    made.frames[9, 50:52, 7] = 50000, 9000
    found = hidden(made, made.finding("hits"))
    assert found[4, 5, 6:18].all()
    assert found[9, 50:52, 7].all()
    assert found.sum() == 14


@pytest.mark.parametrize("per_photon", [10, 16, 60])
def test_a_photon_of_several_units_is_no_hit(scene, per_photon):
    made = scene(photons=500)
    made.frames *= per_photon
    names = ("dark-gaps", "hot", "hits", "crazy-frames")
    assert not [name for name in names if made.finding(name).found]
    made.frames[7, 9, 50] = 10**6 + 1
    assert [name for name in names if made.finding(name).found] == ["hits"]


@pytest.mark.parametrize("photons", [100, 1e4, 1e7])
@pytest.mark.parametrize("phase", [0.4, 1.5])
def test_light_that_few_frames_have_is_no_hit(scene, photons, phase):
    """A grain in an empty field scatters far, in the few frames that see it."""
    made = scene(64, grid=12, photons=photons, phase=phase)
    empty = scene(64, grid=12, photons=photons, phase=0, seed=3)
    made.frames[6:] = empty.frames[6:]
    assert not made.finding("hits").found


@pytest.mark.parametrize("share", [0.001, 0.3])
def test_negative_values_are_clipped(scene, share):
    made = scene(32, photons=1e4)
    rng = np.random.default_rng(0)
    made.frames = made.frames - (rng.random(made.frames.shape) < share) * 3
    negative = (made.frames < 0).sum()
    finding = made.finding("negative")
    assert finding.numbers["n_values"] == negative
    assert finding.remedy.clip
    assert not scene(32).finding("negative").found


@pytest.mark.parametrize("frames", [1, 30])
def test_frames_that_are_mostly_negative_are_not(scene, frames):
    """Pixels that are so in every frame, as most are here, count too."""
    made = scene(32, photons=1e4)
    made.frames = made.frames - 5
    made.frames[:frames, 10] = 3
    assert made.finding("negative").found
    assert made.finding("negative").remedy is None


def with_peak(scene, size, peak):
    """A scan whose brightest pixels count about ``peak``."""
    made = scene(size, grid=6)
    return scene(size, grid=6, photons=1e5 * peak / np.median(made.frames.max(axis=(1, 2))))


@pytest.mark.parametrize(
    ("ceiling", "dtype"), [(65535, np.uint16), (4095, np.uint16), (1000, np.int32), (255, np.uint8)]
)
@pytest.mark.parametrize("above", [0.95, 1.05, 20])
def test_saturated_pixels(scene, ceiling, dtype, above):
    made = with_peak(scene, 64, above * ceiling)
    over = (made.frames > ceiling).any(axis=0)
    made.frames = np.minimum(made.frames, ceiling).astype(dtype)
    assert made.finding("saturated").found
    found = hidden(made, made.finding("saturated"))
    np.testing.assert_array_equal(found, made.frames == ceiling)
    assert (found & over).any(axis=0).sum() == over.sum()
    lost = made.finding("saturated").numbers["share_mostly_lost"]
    assert ("attenuate" in made.finding("saturated").advice) == (lost > 0.3)
    assert not made.finding("wrapped").found
    assert not made.finding("hot").found


def test_a_stated_ceiling(scene):
    made = scene(32)
    ceiling = float(made.frames.max())
    assert hidden(made, made.finding("saturated", stated_ceiling=ceiling)).sum() == 1
    assert not made.finding("saturated").found


@pytest.mark.parametrize(("bits", "size"), [(16, 64), (12, 64), (16, 128)])
@pytest.mark.parametrize("above", [1.3, 3, 12])
def test_counters_that_start_again(scene, bits, size, above):
    made = with_peak(scene, size, above * 2**bits)
    made.frames = made.frames % 2**bits
    finding = made.finding("wrapped")
    assert finding.found
    assert finding.numbers["bits"] == bits
    assert finding.numbers["n_pixels"] > 20
    assert (finding.remedy is None) == (finding.numbers["share"] > 0.3)


def test_bright_counts_below_the_end_do_not_wrap(scene):
    made = with_peak(scene, 64, 0.76 * 65535)
    assert 0.9 * 65535 < made.frames.max() < 65535
    assert not made.finding("wrapped").found


def test_a_mask_of_the_other_polarity(scene):
    made = scene(64)
    made.bad = np.zeros((64, 64), bool)
    made.bad[20:24] = True
    assert not made.finding("mask").found
    made.bad = ~made.bad
    finding = made.finding("mask")
    assert finding.found
    assert finding.numbers["share_of_pixels"] > 0.9


def test_a_large_beam_stop_is_no_mask_of_the_other_polarity(scene):
    made = scene(64)
    made.bad = np.hypot(*(np.indices((64, 64)) - 32)) < 9
    assert made.finding("mask").numbers["share_of_light"] > 0.5
    assert not made.finding("mask").found


def test_too_many_pixels_are_said_but_not_masked(scene):
    made = scene(32)
    made.frames = made.frames.astype(np.uint16)
    made.frames[:, :12] = 65535
    finding = made.finding("gaps")
    assert finding.found
    assert finding.remedy is None


def test_a_value_that_never_changes_however_small(scene):
    made = scene(64)
    made.frames[:, 18:20] = 3
    assert masked(made.finding("hot"))[18:20].all()


def test_a_counter_of_eight_bits_that_starts_again_reaches_its_end_by_chance(scene):
    made = scene(64, photons=3e5)
    made.frames = (made.frames % 256).astype(np.uint8)
    finding = made.finding("wrapped")
    assert finding.found
    assert finding.numbers["bits"] == 8
    assert not made.finding("saturated").found


def test_amplitudes_that_were_rounded_are_too_steady(scene):
    made = scene(64)
    assert not made.finding("steady").found
    made.frames = np.rint(np.sqrt(made.frames)).astype(np.int32)
    assert made.finding("steady").found


@pytest.mark.parametrize("level", [1.0, 20.0])
def test_an_even_background(scene, level):
    made = scene(64)
    assert not made.finding("background").found
    made.frames = made.frames + np.random.default_rng(0).poisson(level, made.frames.shape)
    finding = made.finding("background")
    assert finding.found
    # The darkest pixels lie below the level by their noise.
    assert finding.numbers["counts_per_pixel"] == pytest.approx(level, rel=0.15)


def test_light_that_reaches_every_pixel_is_no_background(scene, lens):
    assert not scene(32, phase=2.5, probe=lens(32, radius=0.4, defocus=4)).finding("background").found


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("line", [5, 34])
def test_hot_rows_and_columns(scene, axis, line):
    made = scene(64)
    np.moveaxis(made.frames, axis, 0)[line] += np.random.default_rng(0).poisson(40, (made.n, 64))
    found = masked(made.finding("hot"))
    assert np.moveaxis(found, axis - 1, 0)[line].all()
    assert np.count_nonzero(found) == 64


def test_the_streak_of_a_straight_edge_is_no_hot_line(scene):
    """Every frame has it through the middle, and it is as wide as the speckles of the probe."""
    made = scene(64, photons=1e6)
    edges = np.exp(1.5j * (np.arange(120) // 15 % 2))
    corners = (made.positions - 32).astype(int)
    waves = np.fft.fft2(
        np.fft.ifftshift(np.stack([edges[None, x : x + 64] * made.probe[0] for _, x in corners]), axes=(1, 2))
    )
    light = np.fft.fftshift(np.abs(waves) ** 2, axes=(1, 2))
    made.frames = np.random.default_rng(0).poisson(light * 1e6 / light.sum(axis=(1, 2)).mean())
    assert not made.finding("hot").found
