"""``ptycho-torch config``: show, check and explain settings; loads neither torch nor NumPy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from ptycho_config import (
    JOBS,
    LEGACY_SPELLINGS,
    MISSING,
    SECTIONS,
    Config,
    ConfigError,
    FieldSpec,
    Problem,
    Resolution,
    field_specs,
    load_config,
    parse_assignments,
    resolve,
    schema_of_job,
    suggest,
    to_yaml,
)
from ptycho_torch_cli.console import UsageError, note, run_command
from ptycho_torch_cli.parsers import (
    CommandParser,
    add_common_flags,
    add_layer_flags,
)
from ptycho_torch_cli.shared import validate_paths

__all__ = ["build_parser", "main"]

_JOB_NAMES = "|".join(JOBS)
_EXAMPLES = {
    "show": (
        ("all settings of a training, as a file to start from", "ptycho-torch config show > run.yaml"),
        ("what a profile and a file make together", "ptycho-torch config show run.yaml --profile quick"),
    ),
    "validate": (("check a file before a long run", "ptycho-torch config validate run.yaml"),),
    "explain": (
        ("one setting", "ptycho-torch config explain nepochs"),
        ("where its value comes from", "ptycho-torch config explain training.nepochs --config run.yaml"),
    ),
}
_ACTIONS = {
    "show": "print the resolved settings as YAML, ready to be a configuration file",
    "validate": "list everything that is wrong with a configuration; exit code 2 if anything is",
    "explain": "say what a setting means, what it may be, and where its value comes from",
}


def build_parser(action: str | None = None) -> CommandParser:
    """Return the parser of the command, or of one of its actions."""
    if action is None:
        return _overview()
    positional = "KEY" if action == "explain" else "[FILE]"
    parser = CommandParser(
        f"ptycho-torch config {action}",
        description=f"{_ACTIONS[action][0].upper()}{_ACTIONS[action][1:]}.",
        usage=f"{positional} [--for {_JOB_NAMES}] [--config FILE] [--set KEY=VALUE] [--profile NAME]",
        examples=_EXAMPLES[action],
    )
    if action == "explain":
        parser.add_argument("key", metavar="KEY", help="a setting, such as nepochs or training.nepochs")
    else:
        parser.add_argument("file", nargs="?", default=None, metavar="FILE", help="same as --config FILE")
    parser.add_argument(
        "--for", dest="job", choices=JOBS, default="train", metavar=_JOB_NAMES,
        help="what the settings are for (default: train)",
    )  # fmt: skip
    add_layer_flags(parser, SECTIONS)
    add_common_flags(parser)
    return parser


def _overview() -> CommandParser:
    parser = CommandParser(
        "ptycho-torch config",
        description="Look at settings without running anything.",
        usage="{show,validate,explain} ...",
        examples=tuple(example for examples in _EXAMPLES.values() for example in examples),
    )
    names = "; ".join(f"{name}: {text}" for name, text in _ACTIONS.items())
    parser.add_argument("action", choices=tuple(_ACTIONS), metavar="ACTION", help=names)
    add_common_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in _ACTIONS:
        return run_command(_overview(), lambda args: 0, words)
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "show": _show,
        "validate": _validate,
        "explain": _explain,
    }
    return run_command(build_parser(words[0]), actions[words[0]], words[1:])


def _resolved(args: argparse.Namespace) -> Resolution:
    given = [path for path in (getattr(args, "file", None), getattr(args, "config_file", None)) if path]
    if len(given) > 1:
        raise UsageError(f"two configuration files, {given[0]} and {given[1]}; give one")
    validate_paths({"--config": given[0] if given else None})
    schema = schema_of_job(args.job)
    return resolve(
        schema,
        cli=parse_assignments(schema, getattr(args, "assignments", [])),
        file=load_config(given[0], check_keys=False) if given else None,
        profile=getattr(args, "profile", None),
        job=args.job,
    )


def _show(args: argparse.Namespace) -> int:
    resolution = _resolved(args)
    for remark in resolution.notes:
        note(f"note: {remark}")
    print(to_yaml(resolution.values()), end="")
    return 0


def _validate(args: argparse.Namespace) -> int:
    resolution = _resolved(args)
    for remark in resolution.notes:
        note(f"note: {remark}")
    n_stated = sum(item.layer != "default" for item in resolution.provenance.values())
    print(f"valid: {n_stated} settings stated, {len(resolution.provenance) - n_stated} at their defaults")
    return 0


def _explain(args: argparse.Namespace) -> int:
    resolution = _resolved(args)
    schema = schema_of_job(args.job)
    found = _find(args.key, schema)
    for section, spec in found:
        print(_description(section, spec, args.job))
        print(f"  now        {resolution.provenance[f'{section}.{spec.name}']}")
    return 0


def _find(key: str, schema: Mapping[str, type[Config]]) -> list[tuple[str, FieldSpec]]:
    section, _, name = key.replace("-", "_").rpartition(".")
    legacy = LEGACY_SPELLINGS.get(name)
    wanted = legacy.field if legacy else name
    everything = [(where, spec) for where, cls in schema.items() for spec in field_specs(cls)]
    found = [(where, spec) for where, spec in everything if section in ("", where) and spec.name == wanted]
    if not found:
        known = [spec.name for _, spec in everything]
        others = [job for job in JOBS if any(wanted in _names(cls) for cls in schema_of_job(job).values())]
        hint = suggest(name, known) or "config show lists them"
        if others:
            hint = f"add --for {others[0]}, where it plays a part"
        raise ConfigError(Problem("KEY", key, f"a setting of {', '.join(schema)}", hint))
    return found


def _names(cls: type[Config]) -> list[str]:
    return [spec.name for spec in field_specs(cls)]


def _description(section: str, spec: FieldSpec, job: str) -> str:
    default = "required" if spec.default is MISSING else repr(spec.default)
    flags = ", ".join((*spec.flags, *spec.off_flags))
    rows = [
        ("meaning", spec.help),
        ("unit", spec.unit),
        ("effect", None if spec.only_default else spec.effect),
        ("jobs", ", ".join(spec.jobs)),
        ("allowed", spec.allowed),
        ("default", str(default)),
        ("flags", flags or spec.only_default or spec.no_flag),
    ]
    if job == "train":
        rows.append(("resume", (spec.resume and f"may change: {spec.resume}") or "may not change"))
    lines = [f"{section}.{spec.name}"]
    lines += [f"  {title:9}  {text}" for title, text in rows if text]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
