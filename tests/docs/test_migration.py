"""The page for those who come from PtychoPINN: both columns agree with what the packages know."""

from __future__ import annotations

import re
from ast import literal_eval
from importlib import import_module

import pytest
from pages import text

from ptycho_config import (
    LEGACY_SPELLINGS,
    SECTIONS,
    FieldSpec,
    InferenceConfig,
    ModelConfig,
    RefineConfig,
    TrainingConfig,
    dataclass_to_legacy_dict,
    field_specs,
    profiles,
)
from ptycho_config.legacy import KEY_MAPPINGS
from ptycho_torch_cli.__main__ import COMMANDS
from ptycho_torch_cli.parsers import CommandParser

PAGE = "docs/migration.md"


def _rows(heading: str) -> list[tuple[list[str], list[str]]]:
    """Words in code of the first two cells of each row of the table with this heading."""
    table = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text(PAGE), re.MULTILINE)
    assert table is not None, f"no table begins with {heading!r}"
    cells = [row.split("|")[1:3] for row in table[1].splitlines()]
    return [(re.findall(r"`([^`]+)`", there), re.findall(r"`([^`]+)`", here)) for there, here in cells]


def _pairs(heading: str) -> dict[str, str]:
    """Older name -> name here, taken cell by cell in the order of the words."""
    pairs = [pair for row in _rows(heading) for pair in zip(*row, strict=True)]
    assert len({older for older, _ in pairs}) == len(pairs)
    return dict(pairs)


def _names_here() -> list[str]:
    """Dotted names of our packages in the right-hand cells."""
    cells = re.findall(r"^\|[^|]*\|([^|]*)\|", text(PAGE), re.MULTILINE)
    names = re.findall(r"`(ptycho_(?:config|torch)\.[\w.]+)`", " ".join(cells))
    assert len(names) > 25
    return sorted(set(names))


def _parsers() -> list[CommandParser]:
    return [
        import_module(f"ptycho_torch_cli.{COMMANDS[name][0]}").build_parser() for name in ("train", "infer")
    ]


@pytest.mark.parametrize("name", _names_here())
def test_names_that_replace_those_of_ptychopinn_exist(name: str) -> None:
    parent, _, last = name.rpartition(".")
    assert hasattr(import_module(parent), last)


def test_keys_of_the_flat_dictionary_are_those_that_are_written() -> None:
    listed = _pairs("legacy key")
    assert listed == {legacy: setting for setting, legacy in KEY_MAPPINGS.items()}
    for cls in (ModelConfig, TrainingConfig, InferenceConfig):
        own = {spec.name for spec in field_specs(cls)} | {spec.name for spec in field_specs(ModelConfig)}
        written = {key for key in dataclass_to_legacy_dict(cls()) if key not in own}
        assert written <= set(listed)


def test_older_settings_are_those_that_are_understood() -> None:
    assert _pairs("older setting") == {name: known.field for name, known in LEGACY_SPELLINGS.items()}


def test_every_older_flag_is_listed_beside_the_one_that_it_means() -> None:
    listed = {flag: here for there, here in _rows("flag") for flag in there}
    refining = {spec.name for spec in field_specs(RefineConfig)}  # which is new here
    older: dict[str, str] = {}
    for action in (action for parser in _parsers() for action in parser._actions):
        if isinstance(spec := getattr(action, "spec", None), FieldSpec) and spec.name not in refining:
            older |= dict.fromkeys(spec.flags[1:], spec.flags[0])
    assert len(older) > 10
    for flag, canonical in older.items():
        assert flag in listed, f"{flag} is accepted and not on the page"
        assert canonical in listed[flag], f"{flag} means {canonical}, the page says {listed[flag]}"


def test_deprecated_flags_are_listed_beside_what_replaces_them() -> None:
    listed = {flag: here for there, here in _rows("flag") for flag in there}
    for parser in _parsers():
        (group,) = [group for group in parser._action_groups if group.title == "Deprecated"]
        for action in group._group_actions:
            (flag,) = action.option_strings
            assert listed[flag], flag
            assert all(new in action.help for new in listed[flag]), f"{flag}: {action.help}"


def test_flags_on_the_page_are_accepted() -> None:
    accepted = {flag for parser in _parsers() for action in parser._actions for flag in action.option_strings}
    for there, here in _rows("flag"):
        assert {word.split()[0] for word in (*there, *here)} <= accepted


def test_defaults_that_differ_are_those_of_the_settings() -> None:
    defaults = {spec.name: spec.default for section in SECTIONS.values() for spec in field_specs(section)}
    rows = re.findall(
        r"^\| `(\w+)`[^|]*\| `([^`]+)`[^|]*\| `([^`]+)`", _section("Defaults that differ"), re.M
    )
    assert len(rows) >= 5
    for name, there, here in rows:
        assert defaults[name] == literal_eval(here), name
        assert literal_eval(there) != literal_eval(here), name


def test_flags_without_counterpart_are_refused() -> None:
    accepted = {
        flag: action for parser in _parsers() for action in parser._actions for flag in action.option_strings
    }
    rows = [
        row.split("|")[1]
        for row in _section("Flags without counterpart").splitlines()
        if row.startswith("| `")
    ]
    flags = re.findall(r"`(--[\w-]+) ?([\w.]*)`", " ".join(rows))
    assert len(flags) > 10
    for flag, value in flags:
        action = accepted.get(flag)
        if value:
            assert value not in {*profiles(), *(getattr(action, "choices", None) or ())}, flag
        else:
            assert action is None, flag


def _section(title: str) -> str:
    return re.split(r"^## ", text(PAGE).partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]


OURS = ("api.base_api", "config_params", "model", "lightning_utils", "train", "inference", "config_bridge")


@pytest.mark.parametrize("name", OURS)
def test_modules_that_are_given_for_programs_of_ptychopinn_are_on_the_page(name: str) -> None:
    cells = " ".join(row.split("|")[1] for row in text(PAGE).splitlines() if row.startswith("|"))
    assert f"`ptycho_torch.{name}" in cells
    module = import_module(f"ptycho_torch.{name}")
    for given in module.__all__:
        assert given in text(PAGE) or given == "DataloaderFormats", given
