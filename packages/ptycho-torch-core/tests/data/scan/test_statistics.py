"""One pass over the frames gives what NumPy gives over all of them."""

from dataclasses import replace

import numpy as np

from ptycho_torch.data.scan import statistics
from ptycho_torch.data.scan.statistics import frame_statistics


def test_sums_and_extremes(tiny_scan, monkeypatch):
    bad = np.zeros((32, 32), dtype=bool)
    bad[3, 5] = True
    frames = np.where(bad, 0, tiny_scan.diffraction)
    scan = replace(tiny_scan, diffraction=frames, bad_pixels=bad)
    pieces = [slice(start, start + 7) for start in range(0, 30, 7)]
    monkeypatch.setattr(statistics, "frame_chunks", lambda _: pieces)
    seen = []
    found = frame_statistics(scan, progress=lambda *news: seen.append(news))
    np.testing.assert_array_equal(found.totals, frames.sum(axis=(1, 2)))
    np.testing.assert_allclose(found.mean, frames.mean(axis=0))
    np.testing.assert_array_equal(found.highest, frames.max(axis=0))
    np.testing.assert_array_equal(found.lowest, frames.min(axis=0))
    assert found.n_zeros == np.count_nonzero(frames == 0) - 30
    assert seen == [(7, 30), (14, 30), (21, 30), (28, 30), (30, 30)]
