"""The record of the search for positions holds what the guide says."""

from __future__ import annotations

import json
from pathlib import Path

RECORD = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "positions.json"


def test_the_record_holds_what_the_guide_says() -> None:
    cases = json.loads(RECORD.read_text())["cases"]
    sharp = [row for name, row in cases.items() if name.startswith(("lines", "random_field"))]
    assert sharp
    assert max(row["found"]["rms"] for row in sharp) < 0.1
    assert min(row["plain"]["rms"] for row in sharp) > 7.5
    even = [row for name, row in cases.items() if name.startswith("natural")]
    assert even
    known = cases["natural, 10 px, probe known"]
    assert known["settled"]["rms"] < 0.5
    assert known["found"]["beyond_2_px"] < 0.03 * 784
    assert known["settled"]["beyond_2_px"] < 0.34 * known["found"]["beyond_2_px"]
    assert all(row["unsettled"] < 0.1 * 784 for row in even)
