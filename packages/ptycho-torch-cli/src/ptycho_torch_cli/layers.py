"""What was typed, as a layer of settings, and what is wrong with all layers together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ptycho_config import (
    SECTIONS,
    Config,
    ConfigError,
    Problem,
    field_specs,
    load_config,
    parse_assignments,
    resolve,
    schema_of_job,
)

__all__ = ["problems_of_layers", "typed_settings"]


def typed_settings(args: argparse.Namespace, schema: Mapping[str, type[Config]]) -> dict[str, Any]:
    """Settings that were typed, as flags or with ``--set``: one layer for a factory.

    Parameters
    ----------
    args
        Result of a parser of this module.
    schema
        Section -> class, as given to `add_layer_flags`.

    Returns
    -------
    dict
        Name or dotted key -> value. What was not typed is not in it.

    Raises
    ------
    ConfigError
        When an assignment cannot be read, or a flag and an assignment differ.
    """
    names = [spec.name for cls in schema.values() for spec in field_specs(cls)]
    typed = {name: getattr(args, name) for name in names if hasattr(args, name)}
    assigned = parse_assignments(schema, getattr(args, "assignments", []))
    problems = [
        Problem(name, typed[name], f"one value, but --set states {assigned[name]!r}", "keep one of them")
        for name in typed
        if name in assigned and assigned[name] != typed[name]
    ]
    if problems:
        raise ConfigError(problems)
    return {**typed, **assigned}


def problems_of_layers(
    job: str | None,
    *,
    cli: Mapping[str, Any],
    config_file: str | PathLike[str] | None,
    profile: str | None,
) -> list[Problem]:
    """Everything that is wrong with the settings of a command before its data are looked at.

    Parameters
    ----------
    job
        What the command does; all sections are looked at when it is None.
    cli
        What was typed, as from `typed_settings`.
    config_file
        Configuration file; one that is not there is left to whoever needs it.
    profile
        Name of a profile.
    """
    problems: list[Problem] = []
    file = None
    if config_file is not None and Path(config_file).is_file():
        try:
            file = load_config(config_file, check_keys=False)
        except ConfigError as error:
            problems += error.problems
    schema = SECTIONS if job is None else schema_of_job(job)
    try:
        resolve(schema, cli=cli, file=file, profile=profile, job=job)
    except ConfigError as error:
        problems += error.problems
    return problems
