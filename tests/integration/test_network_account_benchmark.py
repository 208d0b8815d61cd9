"""Where the time of the network goes: the small form of the benchmark, and what its page concludes."""

from __future__ import annotations

from pathlib import Path

from ptycho_torch.lightning.module import PtychoModule
from ptycho_torch.models import unrolled

PAGE = Path(__file__).resolve().parents[2] / "benchmarks" / "network_account.md"


def test_the_benchmark_runs_and_leaves_the_network_as_it_was(quick_record) -> None:
    constants, step = (unrolled._WIDTHS, unrolled._FINEST), PtychoModule.optimizer_step
    found = quick_record("network_account")
    assert constants == (unrolled._WIDTHS, unrolled._FINEST)
    assert PtychoModule.optimizer_step is step
    (training,), (prediction,) = found["training"], found["prediction"]
    assert 0 < training["share"]["step"]["median"] < 1
    assert prediction["time_of_whole_over_pair"] > prediction["time_of_unets_over_pair"] > 1
    assert {row["network"] for row in found["smaller"]} == {
        "as it is",
        "from a quarter of the resolution",
        "as wide at all scales as at the finest",
    }

    # The last convolution of two U-Nets: 16 maps to 4 × 2 of 16 × 16 px, windows of 3 × 3.
    stages = prediction["multiplications_by_stage"]
    assert stages["last"] == 2 * 16**2 * 16 * 8 * 9
    assert prediction["multiplications"] == sum(stages.values())


def test_the_page_holds_the_figures_of_the_record(record) -> None:
    found, page = record("network_account"), PAGE.read_text()
    for row in found["training"]:
        assert row["share"]["ready_step"]["median"] > 0.85
        assert row["share"]["between_batches"]["median"] < 0.01
    for name in ("time_of_unets_over_pair", "time_of_whole_over_pair", "arithmetic_of_unets_over_pair"):
        told = " | ".join(f"{row[name]:.0f}" for row in found["prediction"])
        assert f"| {told} |" in page, name
    for row in found["smaller"]:
        assert f"{row['error_of_the_network']:.3f} | {row['error_with_steps']:.4f} |" in page, row["network"]
