"""From files, flags and arguments to the checked configuration of a search of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptycho_config import (
    ConfigError,
    Problem,
    PyTorchExecutionConfig,
    RefineConfig,
    TuneConfig,
    field_specs,
    resolve,
    schema_of_job,
)
from ptycho_torch.config_factory.refinement import RefinementPayload, sound_parts
from ptycho_torch.config_factory.sources import AnyPath, merged_layers

__all__ = ["TuningPayload", "create_tuning_payload"]

_JOB = "tune"
_TYPED = ("cli", "overrides")


@dataclass(frozen=True, kw_only=True)
class TuningPayload(RefinementPayload):
    """What a search of settings needs; further attributes as in its base class.

    Attributes
    ----------
    tune_config
        What is searched, and for how long.
    """

    tune_config: TuneConfig

    @property
    def fixed(self) -> dict[str, Any]:
        """Settings of the refinement that are not searched.

        Those that were typed, or given by a program, with whatever value; those of a file that differ from
        the defaults.
        """
        found = {}
        for spec in field_specs(RefineConfig):
            value = getattr(self.refine_config, spec.name)
            if self.provenance[f"refine.{spec.name}"].layer in _TYPED or value != spec.default:
                found[spec.name] = value
        return found


def create_tuning_payload(
    scan_file: AnyPath | None,
    output_dir: AnyPath | None,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    *,
    cli: Mapping[str, Any] | None = None,
    config_file: AnyPath | None = None,
) -> TuningPayload:
    """Resolve and check the configuration of a search of settings.

    Parameters
    ----------
    scan_file
        Scan for which settings are searched.
    output_dir
        Folder of the results.
    overrides, execution_config, cli, config_file
        As in :func:`ptycho_torch.config_factory.create_training_payload`.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ConfigError
        With every problem of every layer, or if several scans are named; a ``ValueError``.
    """
    arguments = {"scan_file": scan_file, "output_dir": output_dir}
    layers = merged_layers(arguments, overrides, execution_config, cli, config_file, None)
    done = resolve(schema_of_job(_JOB), required=("scan_file",), job=_JOB, **layers)
    parts = sound_parts(done)
    if len(parts["scan_files"]) > 1:
        names = ", ".join(str(path) for path in parts["scan_files"])
        hint = "tune one of them, and refine all with what was found"
        raise ConfigError(Problem("scan_file", names, "one scan", hint))
    return TuningPayload(**parts, tune_config=done.config(TuneConfig))
