"""Figures in the pages are those of the records that the pages name."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pages import PAGES, ROOT, text

RECORDS = ROOT / "benchmarks" / "results"
_STEPS = ("open and check", "train one epoch", "reconstruct")


def _record(name: str) -> Any:
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


def _scene(record: Any, name: str) -> Any:
    return next(result for result in record["results"] if result["scene"] == name)


def _said(page: str, *sentences: str) -> None:
    flat = " ".join(text(page).split())
    for sentence in sentences:
        assert sentence in flat, f"{page} should say {sentence!r}"


@pytest.mark.parametrize("page", PAGES)
def test_every_record_that_a_page_names_exists(page: str) -> None:
    for name in re.findall(r"benchmarks/results/(\w+\.json)", text(page)):
        assert (RECORDS / name).is_file(), name


def test_a_first_training() -> None:
    record = _record("first_training")
    for epoch in ("1", "5", "20"):
        row = record["epochs"][epoch]
        shown = f"{row['val_loss']:.4f} | {row['val_residual']:.3f} | {row['val_contrast']:.3f}"
        _said("docs/training.md", f"| {epoch} | {shown} |")
    ours, flat = record["complex_nrmse"], record["flat_complex_nrmse"]
    _said("docs/training.md", f"of {ours:.3f}, where a flat object has {flat:.3f}")


def test_refinement_without_a_network() -> None:
    record = _record("refine_vs_ptychi")
    natural, lines = _scene(record, "natural"), _scene(record, "lines")
    reached = next(step for step in natural["refine"] if step["epochs"] == 60)
    assert round(reached["cpu_s"]) == 6
    _said(
        "docs/choosing.md",
        f"has an error of {natural['flat']:.3f}, reaches {reached['error']:.4f} after six seconds",
        f"ends at {natural['refine'][-1]['error']:.4f}; weakly scattering lines ({lines['flat']:.3f}) "
        f"end at {lines['refine'][-1]['error']:.4f}",
    )


def test_groups_of_a_strongly_scattering_object() -> None:
    rows = [
        row
        for row in _record("network_transfer_64")["rows"]
        if row["trained_on"] == row["scene"] == "random_field"
    ]
    alone, four = ([row["complex_nrmse"] for row in rows if row["gridsize"] == size] for size in (1, 2))
    flat = min(row["flat_complex_nrmse"] for row in rows)
    _said(
        "docs/choosing.md",
        f"with errors of {min(four):.3f} to {max(four):.3f}, where single frames end at {max(alone):.2f} "
        f"and a flat object has {flat:.2f}",
    )


def test_a_probe_that_moves_between_pixels() -> None:
    lines = _scene(_record("refine_moved_probe"), "lines")
    moved, still = (lines[name][-1]["error"] for name in ("refine_moved_probe", "refine"))
    _said(
        "docs/refinement.md",
        f"reaches an error of {moved:.3f} where the interpolated object stays at {still:.3f}",
    )


def test_the_reference_architecture_is_several_times_slower() -> None:
    ratios = [result["ratio"]["median"] for result in _record("network_throughput")["results"]]
    assert min(ratios) > 2


def test_looking_through_a_large_scan() -> None:
    phases = _record("large_inspect")["phases"]
    spent, read = (phases[name]["processor_seconds"] for name in ("inspect", "read once"))
    largest = phases["inspect"]["largest_resident_megabytes"] / 1000
    _said(
        "docs/formats.md",
        f"took {spent:.0f} s of processor time",
        f"{read:.0f} s, and at most {largest:.2f} GB",
    )


def test_a_scan_larger_than_memory() -> None:
    record = _record("large_hdf5")
    seconds, gigabytes = (
        {part: found.get(name) for part, found in record["phases"].items()}
        for name in ("seconds", "largest_resident_megabytes")
    )
    opened, trained, solved = (gigabytes[name] / 1000 for name in _STEPS)
    _said(
        "docs/formats.md",
        f"{record['frames']:,} frames of {record['detector']} × {record['detector']} px",
        f"solved at N = {record['N']}",
        f"took {seconds[_STEPS[0]]:.0f} s and at most {opened:.2f} GB",
        f"a whole epoch over all frames {trained:.2f} GB, "
        f"a whole reconstruction from all frames {solved:.2f} GB",
        f"({seconds[_STEPS[1]]:.0f} s and {seconds[_STEPS[2]]:.0f} s,",
    )
    assert max(trained, solved) < 2


def test_live_under_load() -> None:
    record, page = _record("live"), "benchmarks/live.md"
    names = {"zmq": "own message", "dectris": "DECTRIS, version 2", "dectris-v1": "DECTRIS, version 1"}
    for case, row in record["rates"]["cases"].items():
        assert (row["lost"], row["refused"]) == (0, 0)
        assert row["joined"] == record["rates"]["frames"] == 2500
        figures = f"500 | {row['received_per_s']:.0f} | 2500 | 0, 0 | {row['receiver_cpu_s']:.1f} |"
        delays = f"{row['delay_s']['p50']:.1f} s, {row['delay_s']['p95']:.1f} s |"
        how = "predicted (`unrolled`)" if "unrolled" in case else "refined"
        _said(page, f"| {names[case.split(',')[0]]} | {how} | {figures} {delays}")
    for case in _record("live_busy")["rates"]["cases"].values():
        assert (case["lost"], case["refused"]) == (0, 0)
    speeds = [row["used_per_cpu_s"] for row in _record("live_busy")["rates"]["cases"].values()]
    _said(page, f"{min(speeds[:3]):.0f} to {max(speeds[:3]):.0f} frames per processor second refined")
    _said(page, f"at {speeds[3]:.0f} predicted")
    memory = record["memory"]
    assert (memory["received"], memory["lost"]) == (100_000, 0)
    _said(page, f"grows by {memory['bytes_per_frame'] / 1000:.1f} kB a frame")
    seen = record["picture"]
    assert seen["finished_equals_offline"]
    for row in seen["rows"]:
        _said(page, f"| {100 * row['share']:.0f} % | {row['live']:.3f} | {row['offline']:.3f} |")
    _said(page, f"| 15 s later | {seen['settled']:.4f} | {seen['finished']:.4f} |")
    _said(
        page,
        f"it took {seen['delay_s']['p50']:.2f} s for half",
        f"at most {seen['delay_s']['p95']:.2f} s for 95",
    )
