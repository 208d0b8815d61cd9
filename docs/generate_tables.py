"""Write the reference pages that follow from the code: settings by section, flags by command.

Run it from anywhere with the three packages installed; a test compares its output with the committed pages.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from ptycho_config import SECTIONS, FieldSpec, field_specs, markdown_table, profiles
from ptycho_torch.data.format_registry import markdown_table as format_table
from ptycho_torch.diagnosis.table import DIAGNOSES
from ptycho_torch.live.source_registry import sources
from ptycho_torch.reference.configs import CONFIG_CLASSES
from ptycho_torch.reference.keywords import Keyword, keywords
from ptycho_torch_cli.__main__ import COMMANDS
from ptycho_torch_cli.parsers import CommandParser

__all__ = ["main", "pages"]

HERE = Path(__file__).resolve().parent

SECTION_TEXT = {
    "model": "What network is trained, and through which physics. Stored in the bundle.",
    "training": "What is learned, from which data, towards which loss.",
    "inference": "Which scan is reconstructed with which trained model.",
    "orientation": "How frames and positions are turned against each other when a scan is opened.",
    "parts": "What the file of a scan lacks, or states wrong: positions, probe, mask, optics from elsewhere.",
    "refine": "How an object is refined against all frames: by `refine`, `live`, and `infer --refine N`.",
    "tune": "What `tune` searches among the settings of `refine`, and for how long.",
    "refine_data": "Which scan `refine` reconstructs without a network.",
    "live": "Where frames and positions of a scan that is being measured come from, and where it is shown.",
    "execution": "Where and how a run is executed. Never part of a model's identity.",
}
TITLES = {"options": "Help", "positional arguments": "Arguments"}
FORMATS = "<!-- formats: written by generate_tables.py -->", "<!-- end of formats -->"
SOURCES = "<!-- sources: written by generate_tables.py -->", "<!-- end of sources -->"
DIAGNOSED = "<!-- diagnoses: written by generate_tables.py -->", "<!-- end of diagnoses -->"
DIAGNOSIS_ROWS = (
    "| name | looks for | says so when | acts |",
    "|---|---|---|---|",
    "| `domain` | counts or amplitudes that are neither whole numbers nor roots of such | neither their "
    "grains nor the light of the probe tell which | |",
    "| `unread` | positions that are not numbers | NaN or infinity; a scan with more than half of them is "
    "refused | yes |",
    "| `unwritten` | frames that are not in the file, which gives a fill value for them | pieces that were "
    "never written, and parts of a virtual dataset that are mapped to nothing | yes |",
)
HEAD = ("| flag | value | meaning |", "|---|---|---|")
ACTIONS = ("show", "validate", "explain")


def _cell(text: str) -> str:
    return text.replace("%%", "%").replace("|", "\\|").replace("<", "\\<")


def _setting_page(section: str) -> str:
    cls = SECTIONS[section]
    title = f"# {cls.__name__}: section `{section}`"
    return f"{title}\n\n{SECTION_TEXT[section]}\n\n## Settings\n\n{markdown_table(cls)}"


EFFECT_HEAD = """# What each setting does, and the tests that show it

Tests are named by function. They look at what a run does or leaves behind, not at what was passed on. Those
marked `cuda` need a GPU. A setting has an effect in the jobs named; elsewhere any value but its default is
refused, or ignored with a note when it comes from a file. The column *resume* says why a training that is
continued may have another value; without an entry it may not.
"""
EFFECT_ROWS = ("| setting | jobs | effect | resume | tests |", "|---|---|---|---|---|")


def _effect_row(spec: FieldSpec) -> str:
    effect = spec.effect
    if spec.only_default:
        effect = f"refused at any value but `{spec.default!r}`: {spec.only_default}"
    effect += f" ({spec.no_flag})" if spec.no_flag else ""
    tests = "<br>".join(f"`{name}`" for name in spec.tests)
    return f"| `{spec.name}` | {', '.join(spec.jobs)} | {_cell(effect)} | {spec.resume} | {tests} |"


def _effect_page() -> str:
    lines = [EFFECT_HEAD]
    for section, cls in SECTIONS.items():
        lines += [f"## Section `{section}`", "", *EFFECT_ROWS, *map(_effect_row, field_specs(cls)), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _profile_page() -> str:
    lines = [
        "# Profiles",
        "",
        "Named starting points for `--profile`. A file and typed flags outrank them, except locked values.",
        "",
        "| profile | for | sets | locked |",
        "|---|---|---|---|",
    ]
    for name, profile in profiles().items():
        stated = [
            f"`{section}.{key} = {value!r}`"
            for section, values in profile.values.items()
            for key, value in values.items()
        ]
        locked = ", ".join(f"`{address}`" for address in sorted(profile.locked))
        lines.append(f"| `{name}` | {_cell(profile.help)} | {', '.join(stated)} | {locked} |")
    return "\n".join(lines) + "\n"


def _rows(actions: list[argparse.Action]) -> list[str]:
    rows = []
    for action in actions:
        names = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.metavar}`"
        value = str(action.metavar) if action.option_strings and action.nargs != 0 and action.metavar else ""
        if value and getattr(action, "off_flags", ()):
            value += f" after `{action.option_strings[0]}`"
        rows.append(f"| {names} | {_cell(value)} | {_cell(action.help or '')} |")
    return rows


def _parsers() -> dict[str, CommandParser]:
    """Parser of every command by what is typed after ``ptycho-torch``."""
    found: dict[str, CommandParser] = {}
    for name, (module, _) in COMMANDS.items():
        build = import_module(f"ptycho_torch_cli.{module}").build_parser
        if name == "config":
            found |= {f"config {action}": build(action) for action in ACTIONS}
        else:
            found[name] = build()
    return found


def _flag_page() -> str:
    lines = [
        "# Flags",
        "",
        "Every spelling of every flag, as `--help` groups them. The defaults are those of the settings:",
        "a flag that is not typed leaves the decision to a file, a profile or the default.",
        "",
    ]
    for title, parser in _parsers().items():
        usage = parser.format_usage().removeprefix("usage: ").strip()
        lines += [f"## ptycho-torch {title}", "", f"{parser.description}", "", f"`{usage}`", ""]
        for group in parser._action_groups:
            members = [member for member in group._group_actions if member.help != argparse.SUPPRESS]
            if members:
                heading = TITLES.get(str(group.title), group.title)
                lines += [f"### {heading}", "", *HEAD, *_rows(members), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


KEYWORD_HEAD = """# Keywords of ptychodus

What becomes of each keyword that ptychodus states, and that programs written against the torch modules of
PtychoPINN state: the setting that takes its value, or why it has no effect. A keyword without effect is
accepted; a training lists all of them in one line of its log. What is left out of a call has the default
given here. See [Under ptychodus](../ptychodus.md).
"""
KEYWORD_ROWS = ("| keyword | default | becomes | how, or why it has no effect |", "|---|---|---|---|")


def _keyword_row(entry: Keyword) -> str:
    becomes = ", ".join(f"`{name}`" for name in entry.becomes) or "no effect"
    return f"| `{entry.name}` | `{entry.default!r}` | {becomes} | {_cell(entry.note)} |"


def _keyword_page() -> str:
    lines = [KEYWORD_HEAD]
    for owner in CONFIG_CLASSES:
        rows = [_keyword_row(entry) for entry in keywords(owner)]
        table = [*KEYWORD_ROWS, *rows] if rows else ["It has no keywords."]
        lines += [f"## {owner.__name__}", "", str(owner.__doc__), "", *table, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _renewed(name: str, marks: tuple[str, str], table: str) -> str:
    """A page that people write, with the table between two marks renewed."""
    start, end = marks
    before, rest = (HERE / name).read_text(encoding="utf-8").split(start)
    return f"{before}{start}\n\n{table}\n{end}{rest.split(end)[1]}"


def _source_table() -> str:
    rows = []
    for kind in sources():
        extra = f"`{kind.extra}`" if kind.extra else ""
        rows.append(f"| `{kind.form}` | {' and '.join(kind.gives)} | {_cell(kind.help)} | {extra} |")
    return "\n".join(["| address | gives | what it is | extra |", "|---|---|---|---|", *rows]) + "\n"


def _diagnosis_table() -> str:
    rows = [
        f"| `{one.name}` | {_cell(one.looks_for)} | {_cell(one.threshold)} | {'yes' if one.cleans else ''} |"
        for one in DIAGNOSES
    ]
    return "\n".join([*DIAGNOSIS_ROWS, *rows]) + "\n"


def pages() -> dict[str, str]:
    """Path below this folder -> content."""
    found = {f"config/{section}.md": _setting_page(section) for section in SECTIONS}
    return {
        **found,
        "config/effects.md": _effect_page(),
        "config/profiles.md": _profile_page(),
        "config/flags.md": _flag_page(),
        "config/ptychodus-keywords.md": _keyword_page(),
        "formats.md": _renewed("formats.md", FORMATS, format_table()),
        "live.md": _renewed("live.md", SOURCES, _source_table()),
        "diagnoses.md": _renewed("diagnoses.md", DIAGNOSED, _diagnosis_table()),
    }


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
