"""The benchmark of the unknowns, in its quick form, and its record."""

from __future__ import annotations

import pytest

MOVED = ("geometry, 3 % and 1 degree", "drift, 5 px rms")


def test_the_benchmark_runs(quick_record) -> None:
    cases = quick_record("unknowns")["cases"]
    for rows in cases.values():
        for row in rows.values():
            assert row["regained"] == pytest.approx(
                (row["faulty"] - row["fitted"]) / (row["faulty"] - row["clean"])
            )
            assert row["cost"] == pytest.approx(row["fitted_clean"] / row["clean"] - 1)


def test_the_record_holds_what_the_guide_says(record) -> None:
    cases = record("unknowns")["cases"]
    doses = [row for name, rows in cases.items() if name.startswith("dose,") for row in rows.values()]
    assert len(doses) == 12
    assert min(row["regained"] for row in doses) > 0.9
    assert max(row["cost"] for row in doses) < 0.01
    beside = cases["dose beside a fitted probe"].values()
    assert min(row["regained"] for row in beside) > 0.96
    assert max(row["cost"] for row in beside) < 0.02
    bent = cases["a probe that drifts, positions 1 px beside"].values()
    assert min(row["regained"] for row in bent) > 0.6
    assert max(row["cost"] for row in bent) < 0.1
    probes = {
        f"{name}, {row}": figures
        for name, rows in cases.items()
        for row, figures in rows.items()
        if name in ("probe, poisson", "probe, amplitude")
    }
    assert len(probes) == 12
    assert min(row["regained"] for row in probes.values()) > 0.78
    assert min(row["regained"] for name, row in probes.items() if name.endswith(" 1e+06 photons")) > 0.9
    assert max(row["cost"] for row in probes.values()) < 0.08
    dark = [row for name, rows in cases.items() if name.startswith("background") for row in rows.values()]
    assert len(dark) == 12
    assert min(row["regained_of_known"] for row in dark) > 0.86
    assert max(row["cost"] for row in dark) < 0.1
    moved = [row for name in MOVED for row in cases[name].values()]
    assert len(moved) == 6
    assert min(row["regained"] for row in moved) > 0.98
    assert max(row["cost"] for row in moved) < 0.07
    together = cases["everything at once, two modes"]
    assert len(together) == 3
    for row in together.values():
        assert row["fitted"] < row["faulty"]
