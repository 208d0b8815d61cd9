"""From files, flags and arguments to the checked configuration of a reconstruction with a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ptycho_config import (
    Fact,
    InferenceConfig,
    OrientationConfig,
    PartsConfig,
    PyTorchExecutionConfig,
    RefineConfig,
    Resolution,
    field_specs,
    resolve,
    schema_of_job,
)
from ptycho_torch.bundle import find_bundle, read_manifest
from ptycho_torch.config_factory.legacy import populate_legacy_params
from ptycho_torch.config_factory.sources import (
    AnyPath,
    Payload,
    merged_layers,
    noted,
    require_file,
    require_parts,
    require_path,
    require_size,
    source_of,
    taken,
)
from ptycho_torch.config_factory.support import check_refinement_is_asked, check_supported
from ptycho_torch.data.scan.memory import HoldsScan, InMemory, ScanSource, is_in_memory

__all__ = ["InferencePayload", "create_inference_payload", "orientation_of_bundle"]


@dataclass(frozen=True, kw_only=True)
class InferencePayload(Payload):
    """What a reconstruction needs; attributes as in :class:`TrainingPayload`.

    Attributes
    ----------
    inference_config
        Bundle, data and output; ``inference_config.model`` is the network of the bundle.
    model_path
        Bundle, as stated.
    test_data
        The scan: the path of ``inference_config``, or what was given in memory.
    refine_config
        How the stitched object is refined; ``refine_epochs`` of "auto" refines nothing.
    """

    inference_config: InferenceConfig
    model_path: Path
    test_data: ScanSource = field(repr=False)
    refine_config: RefineConfig


def create_inference_payload(
    model_path: AnyPath | None,
    test_data_file: AnyPath | InMemory | HoldsScan | None,
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
    test_data: AnyPath | InMemory | None = taken(test_data_file, "test_data_file")
    arguments = {"model_path": model_path, "test_data_file": test_data, "output_dir": output_dir}
    layers = merged_layers(arguments, overrides, execution_config, cli, config_file, profile)
    schema = schema_of_job("infer")
    required = ("model_path",) if is_in_memory(test_data) else ("model_path", "test_data_file")
    scans: list[ScanSource] = []
    turned: list[str] = []

    def facts(stated: Resolution) -> dict[str, Fact]:
        asked = stated.config(InferenceConfig)
        require_file(asked.reader, "reader")
        require_parts(stated.config(PartsConfig))
        scan = source_of(test_data, asked.test_data_file, "test_data_file")
        scans.extend([] if scan is None else [scan])
        return _facts_of_bundle(asked.model_path, stated, turned)

    done = noted(resolve(schema, required=required, facts=facts, job="infer", **layers), arguments)
    done = replace(done, notes=(*done.notes, *turned))
    inference, refinement = done.config(InferenceConfig), done.config(RefineConfig)
    execution = done.config(PyTorchExecutionConfig)
    check_supported(inference.model, inference, execution)
    check_refinement_is_asked(done, refinement)
    populate_legacy_params(inference)
    return InferencePayload(
        inference_config=inference,
        model_path=require_path(inference.model_path, "model_path"),
        test_data=scans[0],
        refine_config=refinement,
        execution_config=execution,
        orientation_config=done.config(OrientationConfig),
        parts_config=done.config(PartsConfig),
        overrides_applied=done.overrides_applied,
        provenance=done.provenance,
        notes=done.notes,
        resolution=done,
    )


def _facts_of_bundle(model_path: Path | None, stated: Resolution, notes: list[str]) -> dict[str, Fact]:
    """The network and the orientation of a bundle, as settings that nobody has to state."""
    if model_path is None:
        return {}
    source = str(find_bundle(model_path))
    configuration = read_manifest(model_path).configuration
    values = configuration["model"]
    require_size(stated, values.get("N"), source)
    facts = {f"model.{name}": Fact(value, source) for name, value in values.items()}
    notes.extend(_notes_of_parts(configuration.get("parts", {}), stated, source))
    return facts | orientation_of_bundle(configuration.get("orientation", {}), stated, source, notes)


def _notes_of_parts(trained: Mapping[str, Any], stated: Resolution, source: str) -> list[str]:
    """What was stated beside the scans of the training and nobody states for this one, which is another."""
    missing = [
        f"{spec.name}: {trained[spec.name]}"
        for spec in field_specs(PartsConfig)
        if trained.get(spec.name, spec.default) != spec.default
        and stated.provenance[f"parts.{spec.name}"].layer == "default"
    ]
    if not missing:
        return []
    listed = ", ".join(missing)
    return [f"the training of {source} had {listed}; state for this scan what it needs of them"]


def orientation_of_bundle(
    trained: Mapping[str, Any], stated: Resolution, source: str, notes: list[str]
) -> dict[str, Fact]:
    """What the scans of the training were turned by, where nobody states it for this one; with a note.

    Parameters
    ----------
    trained
        Orientation in the bundle.
    stated
        What the layers say.
    source
        Name of the bundle.
    notes
        Sentences are appended.
    """
    facts = {}
    for spec in field_specs(OrientationConfig):
        address = f"orientation.{spec.name}"
        asked, value = stated.provenance[address], trained.get(spec.name, spec.default)
        if asked.layer == "default":
            facts[address] = Fact(value, source)
        if asked.layer == "default" and value != spec.default:
            notes.append(f"{spec.name}: {value}, as in the training of {source}")
        elif asked.layer != "default" and value != asked.value:
            notes.append(f"{spec.name}: {asked.value} [{asked.layer}]; the training of {source} had {value}")
    return facts
