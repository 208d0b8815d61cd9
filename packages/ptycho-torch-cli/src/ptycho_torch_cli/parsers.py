"""Command lines built from the statements of the settings.

A flag that was not typed is absent from the result, so it cannot outrank anything; the defaults that
``--help`` shows are those of :mod:`ptycho_config`. Everything wrong with a command line is reported at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ptycho_config import (
    Config,
    ConfigError,
    FieldSpec,
    Problem,
    field_specs,
    get_profile,
    parse_assignments,
    profiles,
    suggest,
)
from ptycho_torch_cli.help_text import Formatter, help_of, shown_spellings
from ptycho_torch_cli.layers import problems_of_layers, typed_settings
from ptycho_torch_cli.versions import version_text

__all__ = [
    "CommandParser",
    "add_common_flags",
    "add_layer_flags",
    "add_run_flags",
    "add_settings",
    "add_switch",
]

_PROBLEMS = "_problems"
# How argparse begins its message about arguments that are missing.
_REQUIRED = "the following arguments are required: "


class CommandParser(argparse.ArgumentParser):
    """An argument parser that knows no abbreviations and collects everything that is wrong.

    Parameters
    ----------
    prog
        The command as it is typed.
    description
        What it does.
    usage
        The flags that matter most; the full list would fill the screen.
    examples
        What is done and the command line that does it; ``--help`` ends with them.
    """

    def __init__(
        self, prog: str, *, description: str, usage: str, examples: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            usage=f"{prog} {usage}",
            formatter_class=Formatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            exit_on_error=False,
        )
        self.schema: dict[str, type[Config]] = {}
        self.job: str | None = None
        self.examples = tuple(examples)

    def format_help(self) -> str:
        """What ``--help`` prints; argparse would fill the lines of the examples into one paragraph."""
        lines = [f"  {what}:\n    {command}\n" for what, command in self.examples]
        return super().format_help() + ("\nExamples:\n" + "".join(lines) if lines else "")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, or report every problem on standard error and exit with code 2."""
        tokens = list(sys.argv[1:] if args is None else args)
        found: list[str] = []
        parsed, rest = self._parse_known(tokens, found)
        found = [str(problem) for problem in parsed.__dict__.pop(_PROBLEMS, [])] + found
        found += self._explain_rest(rest)
        try:
            typed = typed_settings(parsed, self.schema)
        except ConfigError as error:
            typed = {}
            found += [str(problem) for problem in error.problems]
        if found:
            self._refuse(found + self._wrong_in_file(parsed, typed))
        return parsed

    def _wrong_in_file(self, parsed: argparse.Namespace, typed: Mapping[str, Any]) -> list[str]:
        """What else is wrong with the settings that a run would have."""
        if not self.schema:
            return []
        given = [getattr(parsed, name, None) for name in ("config_file", "file")]
        file = next((path for path in given if path is not None), None)
        job = getattr(parsed, "job", self.job)
        found = problems_of_layers(job, cli=typed, config_file=file, profile=getattr(parsed, "profile", None))
        return [str(problem) for problem in found]

    def error(self, message: str) -> NoReturn:
        """Report one problem, or every argument that is missing, and exit with code 2."""
        self._refuse(self._missing(message) or [message])

    def _missing(self, message: str) -> list[str]:
        """What is missing and what it is for, where argparse only names it."""
        head, _, names = message.partition(_REQUIRED)
        if head or not names:
            return []
        known = {"/".join(a.option_strings) or str(a.metavar): a for a in self._actions}
        missing = [known[name] for name in names.split(", ")]
        return [
            f"{' '.join([*action.option_strings[:1], str(action.metavar)])}: missing; {action.help}; "
            f"{self.prog} --help shows examples"
            for action in missing
        ]

    def _parse_known(self, tokens: list[str], found: list[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parse; a flag that argparse itself refuses is noted and left out, so that the rest is looked at."""
        while True:
            try:
                return self.parse_known_args(tokens, argparse.Namespace())
            except argparse.ArgumentError as error:
                missing = self._missing(str(error))
                if missing:
                    self._refuse(found + missing)
                found.append(str(error).removeprefix("argument "))
                names = set((error.argument_name or "").split("/"))
                at = next((i for i, token in enumerate(tokens) if token.split("=")[0] in names), None)
                if at is None:
                    self._refuse(found)
                del tokens[at]

    def _explain_rest(self, rest: Sequence[str]) -> list[str]:
        known = [flag for action in self._actions for flag in shown_spellings(action)]
        found: list[str] = []
        after_unknown = False
        for token in rest:
            is_flag = token.startswith("-") and not token[1:2].isdigit()
            if is_flag:
                hint = suggest(token.split("=")[0], known) or f"{self.prog} --help lists the flags"
                found.append(f"{token}: unknown flag; {hint}")
            elif not after_unknown:
                found.append(f"{token}: unexpected argument; {self.format_usage().strip()}")
            after_unknown = is_flag and "=" not in token
        return found

    def _refuse(self, problems: Sequence[str]) -> NoReturn:
        if len(problems) == 1:
            text = f"{self.prog}: {problems[0]}\n"
        else:
            lines = "".join(f"  - {problem}\n" for problem in problems)
            text = f"{self.prog}: {len(problems)} problems in the command line:\n{lines}"
        self.exit(2, text)


def _note(namespace: argparse.Namespace, problems: Iterable[Problem | str]) -> None:
    namespace.__dict__.setdefault(_PROBLEMS, []).extend(problems)


class _Setting(argparse.Action):
    """Reads one setting as its statement says; what is wrong is noted, not raised."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, spec: FieldSpec, **rest: Any) -> None:
        self.spec = spec
        self.off_flags = spec.off_flags
        if spec.kind == "bool":
            rest["nargs"] = "?" if spec.words else 0
            rest["metavar"] = "[" + "|".join(spec.words) + "]" if spec.words else None
        if spec.kind == "paths":
            rest["nargs"] = "+"
        super().__init__(option_strings, dest, **rest)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if self.spec.kind == "paths":
            self._take_paths(namespace, values, option_string)
            return
        text = values if isinstance(values, str) else None
        flag = option_string or self.option_strings[0]
        if flag in self.spec.off_flags:
            if text is not None:
                _note(namespace, [Problem(flag, text, "no value after it")])
            setattr(namespace, self.dest, False)
            return
        try:
            setattr(namespace, self.dest, True if text is None else self.spec.parse(text))
        except ConfigError as error:
            _note(namespace, [Problem(flag, text, item.expected, item.hint) for item in error.problems])

    def _take_paths(
        self, namespace: argparse.Namespace, values: list[str], option_string: str | None
    ) -> None:
        """One path or several, after one flag or after the same flag again."""
        before = getattr(namespace, self.dest, None)
        known = [] if before is None else list(before) if isinstance(before, tuple) else [before]
        try:
            given = self.spec.parse(values[0]) if len(values) == 1 and not known else [*known, *values]
            setattr(namespace, self.dest, self.spec.check(given))
        except ConfigError as error:
            flag = option_string or self.option_strings[0]
            shown = values[0] if len(values) == 1 else values
            _note(namespace, [Problem(flag, shown, item.expected, item.hint) for item in error.problems])


class _Checked(argparse.Action):
    """Keeps a text, or a list of them, that a check lets pass."""

    def __init__(self, *args: Any, check: Callable[[str], object], repeat: bool = False, **rest: Any) -> None:
        self.check = check
        self.repeat = repeat
        super().__init__(*args, **rest)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        try:
            self.check(values)
        except ConfigError as error:
            _note(namespace, error.problems)
            return
        before = getattr(namespace, self.dest, [])
        setattr(namespace, self.dest, [*before, values] if self.repeat else values)


def add_settings(
    parser: CommandParser,
    section: str,
    cls: type[Any],
    *,
    job: str | None = None,
    only: Collection[str] | None = None,
    heading: str | None = None,
) -> None:
    """Add the flag of each setting of a class that has one, under the headings that the settings name.

    Parameters
    ----------
    parser
        Receives the flags; a setting is stored under its own name.
    section
        Leads the headings, as in "Training: Loss".
    cls
        A dataclass whose fields were stated with :func:`ptycho_config.setting`.
    job
        Leave out the settings that have no effect in this job.
    only
        Names of the settings that a command offers which takes a few and is no job.
    heading
        One heading for all of them instead.
    """
    groups: dict[str, Any] = {}
    for spec in field_specs(cls):
        if not spec.flags or (job and job not in spec.jobs) or (only is not None and spec.name not in only):
            continue
        title = heading or f"{section.capitalize()}: {spec.group}"
        if title not in groups:
            groups[title] = _group_of(parser, title)
        groups[title].add_argument(
            *spec.flags,
            *spec.off_flags,
            action=_Setting,
            dest=spec.name,
            spec=spec,
            metavar=spec.metavar,
            help=help_of(spec),
        )


def _group_of(parser: CommandParser, title: str) -> Any:
    """The group of this heading: settings of several classes may stand under one."""
    there = (group for group in parser._action_groups if group.title == title)
    return next(there, None) or parser.add_argument_group(title)


def add_switch(group: Any, flag: str, help: str, *, dest: str | None = None) -> None:
    """Add a flag that is no setting and is off unless it is typed."""
    name = dest or flag.removeprefix("--").replace("-", "_")
    group.add_argument(flag, action="store_true", default=False, dest=name, help=help)


def add_layer_flags(
    parser: CommandParser,
    schema: Mapping[str, type[Config]],
    *,
    job: str | None = None,
    with_profile: bool = True,
) -> None:
    """Add ``--config``, ``--set`` and ``--profile``.

    Parameters
    ----------
    parser
        Receives the flags.
    schema
        Sections that may be stated.
    job
        What the command does; an assignment without an effect in it is refused.
    with_profile
        Whether there are profiles for it.
    """
    parser.schema, parser.job = dict(schema), job
    group = parser.add_argument_group("Where settings come from")
    group.add_argument(
        "--config",
        dest="config_file",
        metavar="FILE",
        help="YAML, TOML or JSON with settings, or resolved_config.json of an earlier run; typed flags "
        "outrank it",
    )
    group.add_argument(
        "--set",
        dest="assignments",
        metavar="KEY=VALUE",
        action=_Checked,
        repeat=True,
        check=lambda text: parse_assignments(schema, [text], job=job),
        help="any setting by its name, such as training.nepochs=30; may be repeated; counts like a flag",
    )
    if with_profile:
        names = "; ".join(f"{name}: {profile.help}" for name, profile in profiles().items())
        group.add_argument(
            "--profile",
            metavar="NAME",
            action=_Checked,
            check=get_profile,
            help=f"a named starting point, outranked by a file and by flags. {names}".replace("%", "%%"),
        )


def add_run_flags(parser: CommandParser, *, with_resume: str = "") -> None:
    """Add the flags of commands that run for a while, with those that are deprecated.

    Parameters
    ----------
    parser
        Receives the flags.
    with_resume
        What ``--resume`` does, if the command can continue a run.
    """
    group = parser.add_argument_group("Run")
    group.add_argument(
        "--dry-run",
        action="store_true",
        default=False,
        help="print every setting with its origin and stop; write nothing",
    )
    add_switch(group, "--overwrite", "replace the results in the output folder")
    if with_resume:
        add_switch(group, "--resume", with_resume)
    add_switch(group, "--quiet", "no progress, no log lines; warnings remain")
    old = parser.add_argument_group("Deprecated")
    old.add_argument("--device", metavar="NAME", help="use --accelerator, which wins when both are given")
    add_switch(old, "--disable_mlflow", "use --logger none and --quiet")


def add_common_flags(parser: CommandParser) -> None:
    """Add ``--debug`` and ``--version``."""
    group = parser.add_argument_group("Information")
    add_switch(group, "--debug", "show where an error arose", dest="traceback")
    group.add_argument("--version", action=_Version, help="versions of the packages, and stop")


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **rest: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **rest)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        print(version_text())
        parser.exit(0)
