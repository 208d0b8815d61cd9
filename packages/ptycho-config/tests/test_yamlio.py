"""Scalars are those of YAML 1.2."""

from __future__ import annotations

from typing import Any

import pytest

from ptycho_config.yamlio import dump_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-2.", -2.0),
        ("30", 30),
        ("-7", -7),
        ("010", 10),
        ("0x10", 16),
        ("0o10", 8),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("10:00:00:00", "10:00:00:00"),
        ("2024-01-02", "2024-01-02"),
        ("'30'", "30"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    read = parse_yaml(f"key: {text}")["key"]
    assert read == value
    assert type(read) is type(value)


def test_not_a_number_is_read_as_one_so_that_it_can_be_refused() -> None:
    assert parse_yaml("key: .nan")["key"] != parse_yaml("key: .nan")["key"]
    assert parse_yaml("key: -.inf")["key"] == -float("inf")


VALUES = [
    1e-3,
    1e-20,
    1e9,
    0.1,
    3,
    "30",
    "1e-3",
    "true",
    "null",
    "~",
    "",
    "no",
    "10:00:00:00",
    "0x10",
    True,
    None,
]


@pytest.mark.parametrize("value", [*VALUES, "µm ü", "a: b # c", [1, 2], {"a": [None]}, "line\nbreak"])
def test_what_is_written_is_read_back(value: Any) -> None:
    read = parse_yaml(dump_yaml({"key": value}))["key"]
    assert read == value
    assert type(read) is type(value)
