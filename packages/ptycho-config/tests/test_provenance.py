"""Origins are printed, looked up and written out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ptycho_config import SECTIONS, Provenance, resolve


@pytest.mark.rule("CFG-016")
def test_the_line_is_the_agreed_one() -> None:
    line = str(Provenance("nepochs", 30, "cli", (("file", 20), ("default", 50))))
    assert line == "nepochs = 30  [cli]  over file=20  over default=50"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1e9, "1e+09"),
        (0.001, "0.001"),
        (1.23456789, "1.23456789"),
        (None, "None"),
        ("cnn", "cnn"),
        (True, "True"),
    ],
)
def test_values_are_shown_short_and_exact(value: object, shown: str) -> None:
    assert str(Provenance("x", value, "cli")) == f"x = {shown}  [cli]"


def test_settings_are_found_by_name_and_by_address() -> None:
    table = resolve(SECTIONS, cli={"N": 96}).provenance
    assert table["N"] == table["model.N"]
    assert len(table) == len(list(table)) == len(str(table).splitlines())
    with pytest.raises(KeyError):
        table["n"]


def test_a_name_of_two_sections_is_listed_by_address() -> None:
    names = list(resolve(SECTIONS).provenance)
    assert "training.output_dir" in names
    assert "inference.output_dir" in names
    assert "nepochs" in names


def test_everything_can_be_written_as_json() -> None:
    done = resolve(
        SECTIONS, cli={"train_data_file": Path("a.npz"), "K": 7, "nepochs": 30}, file={"nepochs": 20}
    )
    record = json.loads(json.dumps(done.to_dict()))
    assert record["values"]["training"]["train_data_file"] == "a.npz"
    assert "model" not in record["values"]["training"]
    assert record["provenance"]["nepochs"] == {
        "value": 30,
        "layer": "cli",
        "source": "",
        "outranked": [["file", 20], ["default", 50]],
    }
    assert record["overrides_applied"]["nepochs"] == 30
    assert "K is an older spelling" in record["notes"][0]
