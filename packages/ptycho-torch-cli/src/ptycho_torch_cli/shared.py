"""What `train`, `infer` and `refine` do alike before a run starts."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ptycho_config import (
    Config,
    ConfigError,
    OrientationConfig,
    PartsConfig,
    Problem,
    PyTorchExecutionConfig,
    field_specs,
    spec_of,
)
from ptycho_torch_cli.console import UsageError, note
from ptycho_torch_cli.layers import problems_of_layers, typed_settings

if TYPE_CHECKING:
    from ptycho_torch.diagnosis.verdict import Verdict

__all__ = [
    "LIMIT",
    "array_limit_of",
    "build_execution_config_from_args",
    "check_target",
    "cli_layer",
    "exit_code",
    "missing_files_are_usage",
    "orientation_of",
    "parts_of",
    "print_resolution",
    "record_of_run",
    "require_sound_layers",
    "resolve_accelerator",
    "validate_paths",
    "wants_quiet",
]


LIMIT = "largest_array_gib"
"""Setting that commands take which read scans, whether they are jobs or not."""


def resolve_accelerator(accelerator: str | None, device: str | None) -> str | None:
    """Accelerator that the flags ``--accelerator`` and ``--device`` ask for together.

    Parameters
    ----------
    accelerator
        Value of ``--accelerator``; None when it was not typed.
    device
        Value of the deprecated ``--device``; None when it was not typed. ``cuda:0`` counts as ``cuda``.

    Returns
    -------
    str or None
        ``accelerator`` if it names one (``auto`` leaves it open); else the device; None when neither was
        typed.

    Warns
    -----
    DeprecationWarning
        When ``device`` is given.
    """
    if device is None:
        return accelerator
    wins = accelerator not in (None, "auto")
    outcome = f"; --accelerator {accelerator} wins" if wins else ""
    warnings.warn(f"--device is deprecated, use --accelerator{outcome}", DeprecationWarning, stacklevel=2)
    return accelerator if wins else device.partition(":")[0]


def cli_layer(args: argparse.Namespace, schema: Mapping[str, type[Config]]) -> dict[str, Any]:
    """Everything that was typed, as one layer of settings; deprecated flags become what replaces them.

    Warns
    -----
    DeprecationWarning
        Once per deprecated flag.
    """
    layer = typed_settings(args, schema)
    # --set takes dotted keys too.
    stated = {key.rpartition(".")[2]: (key, value) for key, value in layer.items()}
    if hasattr(args, "device"):
        key, accelerator = stated.get("accelerator", ("accelerator", None))
        layer[key] = resolve_accelerator(accelerator, args.device)
    if getattr(args, "disable_mlflow", False):
        warnings.warn(
            "--disable_mlflow is deprecated, use --logger none and --quiet", DeprecationWarning, stacklevel=2
        )
        if "logger_backend" not in stated:
            layer["logger_backend"] = None
    return layer


def build_execution_config_from_args(args: argparse.Namespace) -> PyTorchExecutionConfig:
    """Execution settings that were typed as flags, for programs that reuse a parser of this package.

    Parameters
    ----------
    args
        Result of the parser of `train` or `infer`.

    Returns
    -------
    PyTorchExecutionConfig
        Only typed flags are stated in it, so that a factory lets files and profiles decide the rest.

    Raises
    ------
    ConfigError
        When typed flags contradict each other.
    """
    flags_only = argparse.Namespace(**{**vars(args), "assignments": []})
    return PyTorchExecutionConfig(**cli_layer(flags_only, {"execution": PyTorchExecutionConfig}))


def orientation_of(args: argparse.Namespace) -> OrientationConfig:
    """How a command that is no job turns the scan that it reads: what was typed."""
    names = [spec.name for spec in field_specs(OrientationConfig)]
    return OrientationConfig(**{name: getattr(args, name) for name in names if name in args})


def parts_of(args: argparse.Namespace) -> PartsConfig:
    """What a command that is no job is told of the scan that it reads.

    Raises
    ------
    ConfigError
        A file that was typed is not there, or settings contradict each other.
    """
    typed = {spec.name: getattr(args, spec.name) for spec in field_specs(PartsConfig) if spec.name in args}
    parts = PartsConfig(**typed)
    validate_paths({f"--{name}": getattr(parts, name) for name in ("positions", "mask", "probe")})
    return parts


@contextmanager
def array_limit_of(args: argparse.Namespace) -> Iterator[None]:
    """What a command that is no job lets arrays of its scans take: what was typed."""
    from ptycho_torch.data.limits import larger_arrays

    with larger_arrays(getattr(args, LIMIT, None)):
        yield


Paths: TypeAlias = Mapping[str, str | PathLike[str] | tuple[Path, ...] | None]


def require_sound_layers(
    job: str,
    layer: Mapping[str, Any],
    args: argparse.Namespace,
    config_file: str | PathLike[str] | None,
    paths: Paths,
    *,
    folders: tuple[str, ...] = (),
) -> None:
    """Check that the files named on the command line exist; if not, say what else is wrong too.

    Parameters
    ----------
    job
        What the command does.
    layer
        What was typed, as from `cli_layer`.
    args
        Result of the parser, for the profile.
    config_file
        Configuration file that will be read.
    paths, folders
        As for `validate_paths`.

    Raises
    ------
    ConfigError
        With every path that is missing or of the wrong kind, and every problem of every layer.
    """
    try:
        validate_paths({"--config": config_file, **paths}, folders=folders)
    except ConfigError as error:
        profile = getattr(args, "profile", None)
        found = problems_of_layers(job, cli=layer, config_file=config_file, profile=profile)
        raise ConfigError([*error.problems, *found]) from None


def validate_paths(paths: Paths, *, folders: tuple[str, ...] = ()) -> None:
    """Check that the files named on the command line exist.

    Parameters
    ----------
    paths
        Flag or argument -> path, or several; None is left alone.
    folders
        Those that may also be a folder.

    Raises
    ------
    ConfigError
        With every path that is missing or of the wrong kind.
    """
    problems = []
    named = [
        (name, Path(path))
        for name, given in paths.items()
        if given is not None
        for path in (given if isinstance(given, tuple) else (given,))
    ]
    if not named:
        return
    from ptycho_torch.data.paths import inside_of

    for name, path in named:
        if not inside_of(path)[0].exists():
            problems.append(Problem(name, str(path), "a file that exists", "there is no such file"))
        elif path.is_dir() and name not in folders:
            problems.append(Problem(name, str(path), "a file", "this is a directory"))
    if problems:
        raise ConfigError(problems)


def check_target(
    name: str, path: Path, *, suffix: str, overwrite: bool, inputs: Sequence[str | Path] = ()
) -> None:
    """Check that a file may be written; nothing is written.

    Parameters
    ----------
    name
        Flag that names it.
    path
        The file.
    suffix
        What its name must end in.
    overwrite
        Whether it may exist.
    inputs
        What the command reads.

    Raises
    ------
    ConfigError
        With everything that stands in the way.
    """
    problems = []
    if path.suffix.lower() != suffix:
        problems.append(Problem(name, str(path), f"a name ending in {suffix}"))
    if path.is_dir():
        problems.append(Problem(name, str(path), "a file", "this is a directory"))
    elif path.exists() and not overwrite:
        problems.append(Problem(name, str(path), "a new file", "it exists; --overwrite replaces it"))
    from ptycho_torch.outputs import output_problems

    problems += output_problems(name, path, inputs)
    if not path.parent.is_dir():
        problems.append(Problem(name, str(path), "a file in a folder that exists", "create it first"))
    if problems:
        raise ConfigError(problems)


@contextmanager
def missing_files_are_usage() -> Iterator[None]:
    """Let a file that a setting names and that is not there count as wrong usage."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error


def record_of_run(layer: Mapping[str, Any], cls: type[Config], command: str) -> Path | None:
    """Settings that the run in the output folder was started with, which need not be typed again.

    Parameters
    ----------
    layer
        What was typed, as from `cli_layer`.
    cls
        Has the setting ``output_dir``.
    command
        Whose run is meant.
    """
    from ptycho_torch.workflows.runs.directory import resolved_config

    stated = {key.rpartition(".")[2]: value for key, value in layer.items()}
    return resolved_config(Path(stated.get("output_dir", spec_of(cls, "output_dir").default)), command)


def exit_code(verdict: Verdict | None, *, strict: bool) -> int:
    """1 where a result is bad and strictness was asked for, else 0."""
    return 1 if strict and verdict is not None and verdict.is_bad else 0


def wants_quiet(args: argparse.Namespace) -> bool:
    """Whether progress and log lines were switched off."""
    return bool(args.quiet or args.disable_mlflow)


def print_resolution(payload: Any) -> None:
    """Print every setting with its origin; remarks go to standard error."""
    print(payload.provenance)
    for remark in payload.notes:
        note(f"note: {remark}")
