"""From files, flags and arguments to one checked configuration.

The command line, the workflows and other programs all come through here. Settings are merged by
:func:`ptycho_config.resolve`; this module adds what the data say (the frame size, the photon
count, the number of frames) and fills the legacy dictionary before any data is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptycho_config import (
    SECTIONS,
    Fact,
    InferenceConfig,
    PyTorchExecutionConfig,
    RefineConfig,
    TrainingConfig,
    resolve,
    update_legacy_dict,
)
from ptycho_config.params import cfg as legacy_cfg
from ptycho_torch.bundle import BUNDLE_NAME, find_bundle, read_manifest
from ptycho_torch.config_sources import (
    AnyPath,
    Payload,
    Sources,
    holds_memory,
    merged_layers,
    noted,
    require_size,
    source_of,
    sources_of,
    training_facts,
)
from ptycho_torch.config_support import check_refinement_is_asked, check_supported
from ptycho_torch.data.memory import InMemory, ScanSource, is_in_memory
from ptycho_torch.data.npz import infer_probe_size

__all__ = [
    "BUNDLE_NAME",
    "InferencePayload",
    "TrainingPayload",
    "create_inference_payload",
    "create_training_payload",
    "infer_probe_size",
    "populate_legacy_params",
]


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


@dataclass(frozen=True, kw_only=True)
class InferencePayload(Payload):
    """What a reconstruction needs; attributes as in :class:`TrainingPayload`.

    Attributes
    ----------
    inference_config
        Bundle, data and output; ``inference_config.model`` is the network of the bundle.
    test_data
        The scan: the path of ``inference_config``, or what was given in memory.
    refine_config
        How the stitched object is refined; ``refine_epochs`` of "auto" refines nothing.
    """

    inference_config: InferenceConfig
    test_data: ScanSource = field(repr=False)
    refine_config: RefineConfig


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
        Scan to learn from: a path, or a scan in memory (see `ptycho_torch.data.memory`), beside which the
        setting of that name is ``None``. A folder of scans or a list of any of these trains on all of them.
        ``None`` leaves it to the other layers.
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
    arguments = {
        "train_data_file": train_data_file,
        "output_dir": output_dir,
        "test_data_file": test_data_file,
    }
    layers = merged_layers(arguments, overrides, execution_config, cli, config_file, profile)
    schema = {name: SECTIONS[name] for name in ("model", "training", "execution")}
    required = () if holds_memory(train_data_file) else ("train_data_file",)
    first = resolve(schema, required=required, **layers)
    stated = first.configs["training"]
    assert isinstance(stated, TrainingConfig)
    train_data = sources_of(train_data_file, stated.train_data_file, "train_data_file")
    test_data = sources_of(test_data_file, stated.test_data_file, "test_data_file")
    assert train_data is not None
    facts = training_facts(first, train_data)
    done = noted(resolve(schema, required=required, facts=facts, **layers), arguments)
    training, execution = done.configs["training"], done.configs["execution"]
    assert isinstance(training, TrainingConfig)
    assert isinstance(execution, PyTorchExecutionConfig)
    check_supported(training.model, training, execution)
    populate_legacy_params(training)
    return TrainingPayload(
        training_config=training,
        train_data=train_data,
        test_data=test_data,
        execution_config=execution,
        overrides_applied=done.overrides_applied,
        provenance=done.provenance,
        notes=done.notes,
        resolution=done,
    )


def create_inference_payload(
    model_path: AnyPath | None,
    test_data_file: AnyPath | InMemory | None,
    output_dir: AnyPath | None,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    *,
    cli: Mapping[str, Any] | None = None,
    config_file: AnyPath | None = None,
    profile: str | None = None,
) -> InferencePayload:
    """Resolve and check the configuration of a reconstruction.

    The model part comes from the bundle: a layer may leave it out or agree with it.

    Parameters
    ----------
    model_path
        Bundle file, a directory that holds ``wts.h5.zip``, or the directory it was extracted to.
    test_data_file
        Scan to reconstruct: a path, or a scan in memory, beside which the setting of that name is ``None``.
    output_dir
        Folder of the results.
    overrides, execution_config, cli, config_file, profile
        As in :func:`create_training_payload`.

    Raises
    ------
    FileNotFoundError
        If the model path or a file does not exist.
    ConfigError
        With every problem of every layer; a ``ValueError``.
    BundleError
        If the path holds no bundle or the bundle is damaged; a ``ValueError``.
    """
    arguments = {"model_path": model_path, "test_data_file": test_data_file, "output_dir": output_dir}
    layers = merged_layers(arguments, overrides, execution_config, cli, config_file, profile)
    schema = {name: SECTIONS[name] for name in ("model", "inference", "refine", "execution")}
    required = ("model_path",) if is_in_memory(test_data_file) else ("model_path", "test_data_file")
    first = resolve(schema, required=required, **layers)
    stated = first.configs["inference"]
    assert isinstance(stated, InferenceConfig)
    assert stated.model_path is not None
    test_data = source_of(test_data_file, stated.test_data_file, "test_data_file")
    assert test_data is not None
    source = str(find_bundle(stated.model_path))
    values = read_manifest(stated.model_path).configuration["model"]
    facts = {f"model.{name}": Fact(value, source) for name, value in values.items()}
    require_size(first, values.get("N"), source)
    done = noted(resolve(schema, required=required, facts=facts, **layers), arguments)
    inference, execution = done.configs["inference"], done.configs["execution"]
    refinement = done.configs["refine"]
    assert isinstance(inference, InferenceConfig)
    assert isinstance(refinement, RefineConfig)
    assert isinstance(execution, PyTorchExecutionConfig)
    check_supported(inference.model, inference, execution)
    check_refinement_is_asked(done, refinement)
    populate_legacy_params(inference)
    return InferencePayload(
        inference_config=inference,
        test_data=test_data,
        refine_config=refinement,
        execution_config=execution,
        overrides_applied=done.overrides_applied,
        provenance=done.provenance,
        notes=done.notes,
        resolution=done,
    )


def populate_legacy_params(config: TrainingConfig | InferenceConfig) -> None:
    """Fill the legacy dictionary ``ptycho_config.params.cfg`` for programs that read it.

    Nothing in this package reads it.
    """
    update_legacy_dict(legacy_cfg, config)
