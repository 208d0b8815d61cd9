"""The benchmark of the search of settings, in its quick form, and its record."""

from __future__ import annotations


def test_the_benchmark_runs(quick_record) -> None:
    found = quick_record("tune")["cases"]
    assert set(found) == {"clean", "dose, 20 % rms"}
    assert found["clean"]["tuned"] == found["clean"]["plain"] or found["clean"]["flags"]
    assert all(sum(row["trials"].values()) >= 4 for row in found.values())


def test_the_record_holds_what_the_guide_says(record) -> None:
    found = record("tune")
    assert found["budget_s"] == 60
    rows = found["cases"]
    assert len(rows) == 9
    assert all(row["processor_s"] < 61 for row in rows.values())
    faults = {name: row for name, row in rows.items() if "clean" not in name}
    assert len(faults) == 6
    # Nowhere worse than the defaults; what is lost beside what is known is lost on clean scans.
    assert all(row["tuned"] <= row["plain"] for row in rows.values())
    assert all(row["tuned"] <= 1.01 * row["known"] for row in faults.values())
    lost = {name: 1 - row["known"] / row["tuned"] for name, row in rows.items() if name not in faults}
    assert {name: round(share, 2) for name, share in lost.items()} == {
        "clean": 0.01,
        "clean, 10⁶ photons": 0.06,
        "clean, lines, 10⁴ photons": 0.10,
    }
    for row in faults.values():
        found_settings = {flag_name(word) for word in row["flags"].split()}
        assert set(row["known_settings"]) <= found_settings
    assert {row["ended"] for row in rows.values()} == {"budget"}


def flag_name(word: str) -> str:
    """Setting of a flag."""
    return word.removeprefix("--").replace("-", "_")
