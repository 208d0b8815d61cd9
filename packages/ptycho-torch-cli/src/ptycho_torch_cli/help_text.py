"""What ``--help`` says of a flag, and how it is laid out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ptycho_config import MISSING, FieldSpec

__all__ = ["Formatter", "help_of", "shown_spellings", "spellings_with_value"]


class Formatter(argparse.HelpFormatter):
    """Spellings first, one placeholder after them, and none of the underscored spellings."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        return ", ".join(spellings_with_value(action, shown_spellings(action)))


def spellings_with_value(action: argparse.Action, spellings: Sequence[str]) -> list[str]:
    """Spellings of a flag, its placeholder after the last; off-switches take no value and come after it."""
    off = [flag for flag in getattr(action, "off_flags", ()) if flag in spellings]
    on = [flag for flag in spellings if flag not in off]
    placeholder = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return [*on[:-1], f"{on[-1]}{placeholder}", *off]


def shown_spellings(action: argparse.Action) -> list[str]:
    """Spellings of a flag without the underscored ones, unless there are no others."""
    return [flag for flag in action.option_strings if "_" not in flag] or list(action.option_strings)


def help_of(spec: FieldSpec) -> str:
    """Meaning, unit and default of a setting, for a parser.

    Parameters
    ----------
    spec
        The setting.
    """
    text = spec.help
    if spec.unit:
        text += f" [{spec.unit}]"
    if spec.default is not MISSING:
        text += f" (default: {_default_text(spec)})"
    return text.replace("%", "%%")


def _default_text(spec: FieldSpec) -> str:
    value = spec.default
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
