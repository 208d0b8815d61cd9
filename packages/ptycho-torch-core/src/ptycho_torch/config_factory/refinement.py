"""From files, flags and arguments to the checked configuration of a refinement without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_config import (
    OrientationConfig,
    PartsConfig,
    PyTorchExecutionConfig,
    RefineConfig,
    RefineDataConfig,
    Resolution,
    resolve,
    schema_of_job,
)
from ptycho_torch.config_factory.sources import (
    AnyPath,
    Payload,
    merged_layers,
    require_file,
    require_one_scan,
    require_parts,
    require_scan,
)
from ptycho_torch.config_factory.support import check_supported

__all__ = ["RefinementPayload", "create_refinement_payload", "sound_parts"]


@dataclass(frozen=True, kw_only=True)
class RefinementPayload(Payload):
    """What a refinement without a network needs.

    Further attributes as in :class:`ptycho_torch.config_factory.TrainingPayload`.

    Attributes
    ----------
    data_config
        Scan, start and output.
    scan_files
        The scans of the object: the paths of ``data_config``.
    refine_config
        What is fitted, and how.
    """

    data_config: RefineDataConfig
    scan_files: tuple[Path, ...]
    refine_config: RefineConfig


def create_refinement_payload(
    scan_file: AnyPath | Sequence[AnyPath] | None,
    output_dir: AnyPath | None,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    *,
    start_file: AnyPath | None = None,
    cli: Mapping[str, Any] | None = None,
    config_file: AnyPath | None = None,
) -> RefinementPayload:
    """Resolve and check the configuration of a refinement without a network.

    Parameters
    ----------
    scan_file
        Scan to reconstruct, or several scans of one object.
    output_dir
        Folder of the results.
    start_file
        Reconstruction to start from; a flat object if nobody names one.
    overrides, execution_config, cli, config_file
        As in :func:`ptycho_torch.config_factory.create_training_payload`.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ConfigError
        With every problem of every layer; a ``ValueError``.
    """
    arguments = {"scan_file": scan_file, "output_dir": output_dir, "start_file": start_file}
    layers = merged_layers(arguments, overrides, execution_config, cli, config_file, None)
    schema = schema_of_job("refine")
    done = resolve(schema, required=("scan_file",), job="refine", **layers)
    return RefinementPayload(**sound_parts(done))


def sound_parts(done: Resolution) -> dict[str, Any]:
    """Attributes of a `RefinementPayload`, with all files there.

    Parameters
    ----------
    done
        Resolved settings of a job that refines a scan.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ConfigError
        If settings do not fit each other, or this version.
    """
    data = done.config(RefineDataConfig)
    execution = done.config(PyTorchExecutionConfig)
    stated = data.scan_file if isinstance(data.scan_file, tuple) else (data.scan_file,)
    scans = tuple(require_scan(path, "scan_file") for path in stated)
    require_file(data.start_file, "start_file")
    require_file(data.dark_file, "dark_file")
    require_file(data.reader, "reader")
    parts = done.config(PartsConfig)
    require_parts(parts)
    require_one_scan(parts, scans)
    check_supported(execution)
    return {
        "data_config": data,
        "scan_files": scans,
        "refine_config": done.config(RefineConfig),
        "execution_config": execution,
        "orientation_config": done.config(OrientationConfig),
        "parts_config": parts,
        "overrides_applied": done.overrides_applied,
        "provenance": done.provenance,
        "notes": done.notes,
        "resolution": done,
    }
