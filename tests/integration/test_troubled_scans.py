"""Scans with the troubles that beamlines have, from the file to the object: right, or said to be wrong.

Every trouble is put into a scan of known truth. Where it can be mended without asking, the object is as good
as that of the scan without it; where it cannot, the verdict questions the object, or the file is refused.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

from ptycho_config import RefineConfig
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.simulation.scenes import OBJECTS
from ptycho_torch.data.simulation.simulate import simulate_scan
from ptycho_torch.errors import DataError
from ptycho_torch.metrics import compare
from ptycho_torch.refine import refine
from ptycho_torch.refine.held_out import judge

N, SIDE, STEP = 48, 9, 4


def lens():
    """Image of a lens out of focus; astigmatic, so that its mirror images differ."""
    k = np.fft.fftfreq(N)
    ky, kx = np.meshgrid(k, k, indexing="ij")
    phase = np.exp(1j * np.pi * 30 * (1.3 * kx**2 + 0.8 * ky**2 + 0.3 * kx * ky))
    return np.fft.fftshift(np.fft.ifft2((np.hypot(ky, kx) < 0.16) * phase))[None]


@functools.cache
def made(photons=1e5):
    rng = np.random.default_rng(1)
    places = np.indices((SIDE, SIDE)).reshape(2, -1).T * STEP + rng.integers(-1, 2, (SIDE**2, 2))
    places = places - places.min(axis=0) + N // 2 + 1
    image = OBJECTS["random_field"](tuple(places.max(axis=0) + N // 2 + 2), seed=2)
    return simulate_scan(image, lens(), places.astype(float), photons=photons, seed=3)


def arrays(photons=1e5):
    scan = made(photons)
    return {
        "diff3d": np.asarray(scan.diffraction).astype(np.int32),
        "ycoords": scan.positions[:, 0].copy(),
        "xcoords": scan.positions[:, 1].copy(),
        "probeGuess": scan.probe,
    }


def solved(path, **settings):
    """Scan, result, verdict, and the error of the object as a share of that of an empty one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan = open_scan(path)
    config = RefineConfig(refine_epochs=15, error_bars="none", **settings)
    result = refine(scan, config=config)
    found = judge(scan, result.object, result.probe, config=config, sub_pixel=result.sub_pixel)
    truth, lit = made(), result.object.weight > 0.2 * result.object.weight.max()
    # Coordinates with an offset: the first position that is left says where the truth lies.
    shift = truth.positions[scan.frame_index[0]] - scan.positions[0]

    def error(image):
        report = compare(
            image,
            truth.object_truth,
            weight=np.where(lit, result.object.weight, 0),
            origin=result.object.origin,
            truth_origin=truth.object_truth_origin + shift,
        )
        return report.scores.to_dict()["complex_nrmse"]

    share = error(result.object.object) / error(np.ones_like(result.object.object))
    return scan, found, share


def frames(change):
    """A trouble of the frames."""

    def trouble(found):
        stack = found["diff3d"].copy()
        changed = change(stack)
        return found | {"diff3d": stack if changed is None else changed}

    return trouble


def put(value, *where, dtype=None):
    def change(stack):
        stack = stack if dtype is None else stack.astype(dtype)
        stack[where] = value
        return stack

    return frames(change)


def places(change):
    """A trouble of the positions."""

    def trouble(found):
        y, x = change(found["ycoords"].copy(), found["xcoords"].copy())
        return found | {"ycoords": y, "xcoords": x}

    return trouble


def at(rows, value):
    def change(y, x):
        y[rows] = x[rows] = value
        return y, x

    return places(change)


ALL, RNG = slice(None), np.random.default_rng(4)
STOP = np.hypot(*(np.indices((N, N)) - N // 2)) < 3.5
SOME = np.array([3, 9, 16, 22, 31, 47, 55, 60, 71, 78])

MENDED = {
    "far from zero": (places(lambda y, x: (y + 5e8, x + 1e9)), set()),
    "stray": (at(40, 30_000.0), {"stray"}),
    "gap of the largest value": (put(2**32 - 1, ALL, slice(12, 15), dtype=np.uint32), {"gaps"}),
    "gap of -1": (put(-1, ALL, slice(12, 15)), {"gaps"}),
    "gap of -2 in single precision": (put(-2, ALL, slice(12, 15), dtype=np.float32), {"gaps"}),
    "gap of NaN": (put(np.nan, ALL, slice(12, 15), dtype=np.float32), {"gaps"}),
    "gap of zeros through the middle": (put(0, ALL, slice(23, 26)), {"dark-gaps"}),
    "gap of a constant": (put(4, ALL, slice(12, 15)), {"hot"}),
    "beam stop": (put(0, ALL, STOP), {"dark-gaps"}),
    "empty frames": (put(0, slice(20, 32)), {"empty-frames"}),
    "frames of a few counts": (
        frames(lambda f: f.__setitem__(slice(20, 32), RNG.poisson(1e-3, (12, N, N)))),
        {"empty-frames"},
    ),
    "frames of noise": (
        frames(lambda f: f.__setitem__(slice(0, 9), RNG.poisson(20, (9, N, N)))),
        {"crazy-frames"},
    ),
    "crazy frames": (
        frames(lambda f: f.__setitem__([30, 60], RNG.poisson(1e5, (2, N, N)))),
        {"crazy-frames"},
    ),
    "copies of frames long gone": (frames(lambda f: f.__setitem__(slice(70, 74), f[10:14])), {"copies"}),
    "frames cut in half": (put(0, slice(70, None), slice(24, None)), {"torn-frames"}),
    "a hot row": (frames(lambda f: f.__setitem__((ALL, 30), f[:, 30] + RNG.poisson(50, (81, N)))), {"hot"}),
    "copies": (frames(lambda f: f.__setitem__(slice(41, 48), f[40])), {"copies"}),
    "a cosmic hit": (put(1_000_000, 30, 9, 40), {"hits"}),
    "positions that are NaN": (at(slice(70, 81), np.nan), {"unread"}),
    "positions that stay at zero": (at(slice(70, 81), 0.0), {"repeats"}),
    "a value for no position, here and there": (at(SOME, -1.0), {"repeats"}),
    "flat field": (
        frames(lambda f: (f / np.random.default_rng(5).normal(1, 0.05, (N, N))).astype(np.float32)),
        set(),
    ),
    "monitor": (
        frames(lambda f: (f / np.random.default_rng(6).normal(1, 0.01, (len(f), 1, 1))).astype(np.float32)),
        set(),
    ),
    "largest count is one": (frames(lambda f: (f / f.max()).astype(np.float32)), set()),
    "amplitudes": (frames(lambda f: np.sqrt(f).astype(np.float32)), set()),
    "beam beside the middle": (frames(lambda f: np.roll(f, (-1, -1), (1, 2))), set()),
}
"""What is done without asking leaves an object as good as that of the sound scan."""

QUESTIONED = {
    "one sign": places(lambda y, x: (y, x.max() + x.min() - x)),
    "axes swapped": places(lambda y, x: (x, y)),
    "frames transposed": frames(lambda f: f.transpose(0, 2, 1).copy()),
    "transposed, and the largest count is one": frames(
        lambda f: (f.transpose(0, 2, 1) / f.max()).astype(np.float32)
    ),
    "off by one frame": places(lambda y, x: (np.roll(y, 1), np.roll(x, 1))),
    "positions 1.08 times": places(lambda y, x: (y * 1.08, x * 1.08)),
    "wrapped": frames(lambda f: (f % 128).astype(np.int32)),
    "twice the dose from the middle on": frames(lambda f: f.__setitem__(slice(40, None), 2 * f[40:])),
    "a background of 5 %": frames(lambda f: f + np.random.default_rng(7).poisson(0.05 * 1e5 / N**2, f.shape)),
    "a thin beam stop": frames(lambda f: f.__setitem__((ALL, STOP), f[:, STOP] // 100)),
}
"""What nobody can mend is said by the verdict."""

SOUND = 1.25
LEAST = 0.01


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "scan.npz"
    np.savez(path, **arrays())
    scan, found, share = solved(path)
    assert not found.is_bad
    assert [finding.name for finding in scan.findings if finding.found] == []
    return share


@pytest.mark.parametrize("name", MENDED)
def test_what_is_mended_leaves_the_object_as_good_and_is_said(name, sound, tmp_path):
    trouble, expected = MENDED[name]
    np.savez(tmp_path / "scan.npz", **trouble(arrays()))
    scan, found, share = solved(tmp_path / "scan.npz")
    assert {f.name for f in scan.findings if f.found and f.severity == "warning"} == expected
    assert share < SOUND * sound + LEAST
    assert not found.is_bad


@pytest.mark.parametrize("name", QUESTIONED)
def test_what_nobody_can_mend_is_questioned(name, tmp_path):
    np.savez(tmp_path / "scan.npz", **QUESTIONED[name](arrays()))
    assert solved(tmp_path / "scan.npz")[1].is_bad


def test_full_counters_under_nearly_all_of_the_probe_are_said_and_not_judged(tmp_path):
    np.savez(tmp_path / "scan.npz", **frames(lambda f: np.minimum(f, 100))(arrays()))
    scan, found, _ = solved(tmp_path / "scan.npz")
    assert {f.name for f in scan.findings if f.found and f.severity == "warning"} == {"saturated"}
    assert not found.is_told


def test_full_counters_are_blamed_for_what_they_spoil(tmp_path):
    """And not the number of counts, or the positions, of which nothing is wrong."""
    np.savez(tmp_path / "scan.npz", **frames(lambda f: np.minimum(f, 4095))(arrays(photons=2e7)))
    scan, found, _ = solved(tmp_path / "scan.npz")
    (full,) = [finding for finding in scan.findings if finding.name == "saturated"]
    assert full.spoils
    assert found.is_bad or not found.is_told
    assert "light of the probe" in found.sentence
    assert "smoothness" not in found.sentence
    assert "orientation" not in found.sentence


def test_a_mask_of_the_other_polarity_is_refused(tmp_path):
    found = arrays()
    bad = np.zeros((N, N), dtype=bool)
    bad[12:15] = True
    found["diff3d"][:, bad] = 0
    np.savez(tmp_path / "scan.npz", **found, bad_pixels=~bad)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError) as caught:
            open_scan(tmp_path / "scan.npz")
    assert any(problem.name == "bad_pixels" for problem in caught.value.problems)


def test_few_counts_are_said_with_a_smoothness_that_helps(tmp_path):
    np.savez(tmp_path / "scan.npz", **arrays(photons=50))
    scan, plain, share = solved(tmp_path / "scan.npz")
    (few,) = [finding for finding in scan.findings if finding.name == "low-dose"]
    assert few.found
    # The note and the verdict name one figure.
    advice = f"--smoothness {few.numbers['smoothness']:g} "
    assert advice in few.advice
    assert advice in plain.sentence
    _, found, better = solved(tmp_path / "scan.npz", smoothness=few.numbers["smoothness"])
    assert better < 0.475
    assert better < share - 0.1
    assert not found.is_bad
    assert "--smoothness" not in found.sentence
