"""The lines benchmark of the reference's papers: its scores and scans, its small form, and its record."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
WAYS = {"flat object", "network alone", "network and steps", "steps alone", "refine"}


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("published_lines")
    del sys.modules["published_lines"]


def test_scores_forgive_scale_and_plane_and_nothing_else(own) -> None:
    truth = own.lines_image(64, 40, 3).astype(np.complex64)
    y, x = np.mgrid[:64, :64]
    image = 0.2 * truth * np.exp(1j * (0.4 + 0.02 * y - 0.01 * x))
    found = own.scores(image, truth)
    assert found["amplitude_mae"] < 1e-5
    assert found["phase_mae"] < 1e-4
    assert found["amplitude_ssim"] == pytest.approx(1)
    assert own.scores(np.roll(image, 3, axis=0), truth)["amplitude_mae"] > 0.01
    bumpy = image * np.exp(0.1j * np.sin(y / 3))
    assert own.scores(bumpy, truth)["phase_mae"] == pytest.approx(0.2 / math.pi, rel=0.1)


def test_a_peak_of_255_adds_48_db_to_that_of_one(own) -> None:
    assert own.psnr(np.full((4, 4), 0.1)) == pytest.approx(20 + 20 * math.log10(255))
    assert math.isfinite(own.psnr(np.zeros((4, 4))))


def test_the_numbers_of_frames_are_theirs(own) -> None:
    """33² places 10 px apart at test, of one frame or four, and 83² 4 px apart in training."""
    assert len(own.raster(392, own.TEST_STEP_PX, 1)) == 33**2
    assert len(own.raster(392, own.TEST_STEP_PX, 2)) == 4 * 33**2
    assert len(own.raster(392, own.TRAIN_STEP_PX, 1)) == 83**2
    assert own.raster(392, own.TEST_STEP_PX, 1).max() + 32 <= 392


def test_groups_of_a_test_scan_hold_the_frames_of_a_place_once(own) -> None:
    work = own.Work(size=96, n_lines=1, epochs=1, refine_epochs=1, n_objects=1)
    groups = own.groups_of(work, 2)
    assert sorted(groups.frames.ravel()) == list(range(4 * 3**2))
    assert np.abs(groups.offsets).max() == own.GROUP_STEP_PX / 2
    assert groups.offsets[:, 0].tolist() == [[-2.0, -2.0]] * len(groups)
    assert own.groups_of(work, 1) is None


def test_the_ideal_probe_is_a_flat_disk_without_phase(own) -> None:
    probe = own.ideal_probe()[0]
    assert np.abs(probe.imag).max() == 0
    area = np.count_nonzero(probe.real > 0.5)
    assert 2 * math.sqrt(area / math.pi) == pytest.approx(21.8, abs=0.5)
    assert probe.real[32, 32] == pytest.approx(1, abs=1e-3)


def test_the_benchmark_runs(quick_record) -> None:
    cases = quick_record("published_lines")["cases"]
    assert [case["gridsize"] for case in cases] == [1, 2]
    for case in cases:
        assert set(case["ways"]) == WAYS
        assert case["training"]["losses"]
        flat, refined = (case["ways"][way]["mean"]["amplitude_mae"] for way in ("flat object", "refine"))
        assert refined < 0.1 * flat


def test_the_page_holds_the_table_of_the_record(own, record) -> None:
    page = (BENCHMARKS / "published_lines.md").read_text()
    cases = record("published_lines")["cases"]
    assert [line for line in own.table(cases) if line not in page] == []
    assert all(case["work"]["epochs"] <= 60 for case in cases)
