"""From files, flags and arguments to the checked configuration of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptycho_config import (
    OrientationConfig,
    PartsConfig,
    PyTorchExecutionConfig,
    Resolution,
    TrainingConfig,
    resolve,
    schema_of_job,
)
from ptycho_torch.config_factory.legacy import populate_legacy_params
from ptycho_torch.config_factory.sources import (
    AnyPath,
    Payload,
    Sources,
    holds_memory,
    merged_layers,
    noted,
    require_file,
    require_one_scan,
    require_parts,
    sources_of,
    taken,
    training_facts,
)
from ptycho_torch.config_factory.support import check_supported
from ptycho_torch.data.limits import larger_arrays
from ptycho_torch.data.scan.memory import ScanSource

__all__ = ["TrainingPayload", "TrainingTask", "create_training_payload"]


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What a training computes with: its settings and its scans, without how they came about.

    Attributes
    ----------
    config
        What is learned; ``config.model`` is the network.
    execution
        Where and how it runs.
    orientation
        How the frames and positions of these scans are turned.
    parts
        What the files of these scans lack, or state wrong.
    train_data, test_data
        Scans to learn from, and to validate on; None: some of the training data are set aside.
    """

    config: TrainingConfig
    execution: PyTorchExecutionConfig
    orientation: OrientationConfig
    parts: PartsConfig
    train_data: tuple[ScanSource, ...] = field(repr=False)
    test_data: tuple[ScanSource, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class TrainingPayload(Payload):
    """What a training needs.

    Attributes
    ----------
    training_config
        What is learned from which data; ``training_config.model`` is the network.
    train_data, test_data
        The scans: the paths of ``training_config``, folders of scans opened up, or what was given in memory.
    execution_config
        Where and how it runs; always an instance.
    orientation_config
        How frames and positions are turned and scaled when a scan is opened.
    parts_config
        What lies elsewhere: positions, probe, mask, optics.
    overrides_applied
        Each setting that differs from its default, and every execution setting, with its value.
    provenance
        Origin of every value; prints as ``nepochs = 30  [cli]  over file=20  over default=50``.
    notes
        Audit entries: older spellings, cropped frames, limits set by the data.
    resolution
        The whole outcome of the merge, as written to ``resolved_config.json``.
    """

    training_config: TrainingConfig
    train_data: tuple[ScanSource, ...] = field(repr=False)
    test_data: tuple[ScanSource, ...] | None = field(repr=False)

    @property
    def task(self) -> TrainingTask:
        """What the training computes with."""
        return TrainingTask(
            config=self.training_config,
            execution=self.execution_config,
            orientation=self.orientation_config,
            parts=self.parts_config,
            train_data=self.train_data,
            test_data=self.test_data,
        )


def create_training_payload(
    train_data_file: Sources | None,
    output_dir: AnyPath | None,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    *,
    test_data_file: Sources | None = None,
    cli: Mapping[str, Any] | None = None,
    config_file: AnyPath | None = None,
    profile: str | None = None,
) -> TrainingPayload:
    """Resolve and check the configuration of a training.

    Parameters
    ----------
    train_data_file
        Scan to learn from: a path, or a scan in memory (see `ptycho_torch.data.scan.memory`), which may be an
        object of another program that has its arrays as attributes, and beside which the setting of that name
        is ``None``. A folder of scans or a list of any of these trains on all of them. ``None`` leaves it
        to the other layers.
    output_dir
        Folder of the run. ``None`` leaves it to the other layers.
    overrides
        Settings that outrank everything else: flat, dotted or grouped by section.
    execution_config
        Its stated fields rank below the overrides.
    test_data_file
        Scan to validate on, in the same forms.
    cli
        Command-line flags that were typed.
    config_file
        YAML, TOML or JSON.
    profile
        Name of a profile.

    Returns
    -------
    TrainingPayload

    Raises
    ------
    FileNotFoundError
        If a data or configuration file does not exist.
    ConfigError
        With every problem of every layer; a ``ValueError``.
    DataError
        If the data file cannot be read; a ``ValueError``.
    """
    train_data_file = taken(train_data_file, "train_data_file")
    test_data_file = taken(test_data_file, "test_data_file")
    arguments = {
        "train_data_file": train_data_file,
        "output_dir": output_dir,
        "test_data_file": test_data_file,
    }
    layers = merged_layers(arguments, overrides, execution_config, cli, config_file, profile)
    schema = schema_of_job("train")
    # Settings of a reconstruction are taken too: components reconstruct with what they trained.
    required = () if holds_memory(train_data_file) else ("train_data_file",)
    sources: dict[str, tuple[ScanSource, ...] | None] = {}

    def facts(stated: Resolution) -> dict[str, Any]:
        asked = stated.config(TrainingConfig)
        require_file(asked.reader, "reader")
        parts = stated.config(PartsConfig)
        require_parts(parts)
        paths = {"train_data_file": asked.train_data_file, "test_data_file": asked.test_data_file}
        with larger_arrays(stated.config(PyTorchExecutionConfig).largest_array_gib):
            for name, given in (("train_data_file", train_data_file), ("test_data_file", test_data_file)):
                sources[name] = sources_of(given, paths[name], name, asked.reader, parts)
            require_one_scan(parts, sources["train_data_file"], sources["test_data_file"])
            return training_facts(stated, sources["train_data_file"] or (), asked.reader, parts)

    done = noted(resolve(schema, required=required, facts=facts, **layers), arguments)
    training, execution = done.config(TrainingConfig), done.config(PyTorchExecutionConfig)
    check_supported(training.model, training, execution)
    populate_legacy_params(training)
    return TrainingPayload(
        training_config=training,
        train_data=sources["train_data_file"] or (),
        test_data=sources["test_data_file"],
        execution_config=execution,
        orientation_config=done.config(OrientationConfig),
        parts_config=done.config(PartsConfig),
        overrides_applied=done.overrides_applied,
        provenance=done.provenance,
        notes=done.notes,
        resolution=done,
    )
