"""From files, flags and arguments to one checked configuration.

The command line, the workflows and other programs all come through here. Settings are merged by
:func:`ptycho_config.resolve`; this module adds what the data say (the frame size, the photon
count, the number of frames) and fills the legacy dictionary before any data is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ptycho_config import (
    SECTIONS,
    ConfigError,
    Fact,
    InferenceConfig,
    Problem,
    PyTorchExecutionConfig,
    RefineConfig,
    Resolution,
    TrainingConfig,
    load_config,
    resolve,
    update_legacy_dict,
)
from ptycho_config.params import cfg as legacy_cfg
from ptycho_torch.bundle import BUNDLE_NAME, find_bundle, read_manifest
from ptycho_torch.config_support import check_refinement_is_asked, check_supported
from ptycho_torch.data.contract import Scan
from ptycho_torch.data.memory import InMemory, ScanSource, is_in_memory, name_of
from ptycho_torch.data.npz import infer_probe_size
from ptycho_torch.data.reader import ScanHeader, read_scan_header, scan_files

__all__ = [
    "BUNDLE_NAME",
    "InferencePayload",
    "TrainingPayload",
    "create_inference_payload",
    "create_training_payload",
    "infer_probe_size",
    "populate_legacy_params",
]

AnyPath = str | PathLike[str]
Sources = AnyPath | InMemory | Sequence[AnyPath | InMemory]


@dataclass(frozen=True, kw_only=True)
class _Payload:
    execution_config: PyTorchExecutionConfig
    overrides_applied: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(repr=False)
    notes: tuple[str, ...] = ()
    resolution: Resolution = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class TrainingPayload(_Payload):
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
class InferencePayload(_Payload):
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
    layers = _layers(arguments, overrides, execution_config, cli, config_file, profile)
    schema = {name: SECTIONS[name] for name in ("model", "training", "execution")}
    required = () if _is_in_memory(train_data_file) else ("train_data_file",)
    first = resolve(schema, required=required, **layers)
    stated = first.configs["training"]
    assert isinstance(stated, TrainingConfig)
    train_data = _sources(train_data_file, stated.train_data_file, "train_data_file")
    test_data = _sources(test_data_file, stated.test_data_file, "test_data_file")
    assert train_data is not None
    facts = _training_facts(first, train_data)
    done = _noted(resolve(schema, required=required, facts=facts, **layers), arguments)
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
    layers = _layers(arguments, overrides, execution_config, cli, config_file, profile)
    schema = {name: SECTIONS[name] for name in ("model", "inference", "refine", "execution")}
    required = ("model_path",) if is_in_memory(test_data_file) else ("model_path", "test_data_file")
    first = resolve(schema, required=required, **layers)
    stated = first.configs["inference"]
    assert isinstance(stated, InferenceConfig)
    assert stated.model_path is not None
    test_data = _source(test_data_file, stated.test_data_file, "test_data_file")
    assert test_data is not None
    source = str(find_bundle(stated.model_path))
    values = read_manifest(stated.model_path).configuration["model"]
    facts = {f"model.{name}": Fact(value, source) for name, value in values.items()}
    _require_size(first, values.get("N"), source)
    done = _noted(resolve(schema, required=required, facts=facts, **layers), arguments)
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


def _layers(
    arguments: Mapping[str, Sources | None],
    overrides: Mapping[str, Any] | None,
    execution_config: PyTorchExecutionConfig | None,
    cli: Mapping[str, Any] | None,
    config_file: AnyPath | None,
    profile: str | None,
) -> dict[str, Any]:
    # A scan in memory has no path: whatever path a lower layer states is not what is used.
    stated = {
        name: None if _is_in_memory(value) else value
        for name, value in arguments.items()
        if value is not None
    }
    clash = sorted(set(stated) & set(overrides or {}))
    if clash:
        raise ConfigError(
            Problem(name, (overrides or {})[name], "a value in one place", f"it is also the argument {name}")
            for name in clash
        )
    if config_file is not None:
        _require_file(Path(config_file), "config")
    return {
        "overrides": {**stated, **(overrides or {})},
        "execution_config": execution_config,
        "cli": cli,
        "file": None if config_file is None else load_config(config_file),
        "profile": profile,
    }


def _require_file(path: Path | None, name: str) -> None:
    if path is not None and not path.is_file():
        what = "is a directory, expected a file" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{name}: {path}: {what}")


def _is_in_memory(given: Sources | None) -> bool:
    """Whether this is a scan in memory, or a list with one in it."""
    if is_in_memory(given) or given is None or isinstance(given, (str, PathLike)):
        return is_in_memory(given)
    assert isinstance(given, Sequence)
    return any(is_in_memory(item) for item in given)


def _source(given: AnyPath | InMemory | None, path: Path | None, name: str) -> ScanSource | None:
    """The scan in memory, or the path that was resolved: a file, or a directory with the files of a scan."""
    if isinstance(given, (Scan, Mapping)):
        return given
    if path is not None and not path.exists():
        raise FileNotFoundError(f"{name}: {path}: no such file or directory")
    return path


def _sources(
    given: Sources | None, stated: Path | tuple[Path, ...] | None, name: str
) -> tuple[ScanSource, ...] | None:
    """One or several scans, folders of scans opened up."""
    items: Sequence[Any] = stated if isinstance(stated, tuple) else [stated]
    if _is_in_memory(given):
        items = [given] if is_in_memory(given) else list(given)  # type: ignore[arg-type]
    found: list[ScanSource] = []
    for item in items:
        path = None if is_in_memory(item) or item is None else Path(item)
        source = _source(item, path, name)
        if isinstance(source, Path):
            found.extend(scan_files(source))
        elif source is not None:
            found.append(source)
    return tuple(found) or None


def _noted(resolution: Resolution, arguments: Mapping[str, Any]) -> Resolution:
    """The resolution, with a note for each scan that has no path to be found at again."""
    notes = tuple(
        f"{name}: {name_of(value)}, which has no path"
        for name, given in arguments.items()
        for value in (given if isinstance(given, (list, tuple)) else [given])
        if is_in_memory(value)
    )
    return replace(resolution, notes=(*resolution.notes, *notes))


def _require_size(resolution: Resolution, size: Any, source: str) -> None:
    """Frames can be cropped to the size of a network, a trained network cannot be cropped."""
    asked = resolution.provenance["N"]
    if asked.layer != "default" and asked.value != size:
        hint = "leave N away; larger frames are cropped to the size of the model"
        raise ConfigError(
            Problem("N", asked.value, f"{size}, the size of the model in {source} ({asked.layer})", hint)
        )


def _training_facts(first: Resolution, scans: Sequence[ScanSource]) -> dict[str, Any]:
    """What the scans say together: the frame size, the photon count, the number of frames."""
    headers = [(read_scan_header(scan), name_of(scan)) for scan in scans]
    each = [_scan_facts(header, name) for header, name in headers]
    facts: dict[str, Any] = {name: fact for found in reversed(each) for name, fact in found.items()}
    if first.provenance["N"].layer == "default":
        _require_one_size([found["model.N"] for found in each if "model.N" in found])
    counted = [header.n_frames for header, _ in headers]
    total = None if any(count is None for count in counted) else sum(count or 0 for count in counted)
    name = headers[0][1] if len(headers) == 1 else f"{len(headers)} scans"
    limit = _frame_limit(first, total, name)
    return facts if limit is None else {**facts, "n_groups": limit}


def _require_one_size(sizes: Sequence[Fact]) -> None:
    """Scans of different frame sizes can be trained together only at a size that somebody states."""
    other = next((fact for fact in sizes if fact.value != sizes[0].value), None)
    if other is not None:
        expected = f"one frame size; {sizes[0].source} says {sizes[0].value}, {other.source} {other.value}"
        smallest = min(fact.value for fact in sizes)
        raise ConfigError(Problem("N", other.value, expected, f"state N={smallest} to crop the larger ones"))


def _scan_facts(header: ScanHeader, name: str) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if header.probe_size is not None:
        facts["model.N"] = Fact(header.probe_size, f"probe in {name}")
    photons = header.metadata.get("nphotons")
    if isinstance(photons, int | float):
        facts["nphotons"] = Fact(float(photons), f"metadata of {name}")
    return facts


def _frame_limit(resolution: Resolution, n_frames: int | None, name: str) -> Fact | None:
    """The number of groups, when nobody asked for a number and the default exceeds what there is."""
    asked = resolution.provenance["n_groups"]
    if asked.layer != "default" or n_frames is None:
        return None
    drawn = resolution.provenance["n_subsample"].value
    limit, reason = n_frames, f"frames in {name}"
    if drawn is not None and drawn < n_frames:
        limit, reason = drawn, f"n_subsample of the frames in {name}"
    if limit >= asked.value:
        return None
    if resolution.provenance["gridsize"].value > 1:
        # Groups of several frames may be fewer than frames: how many differ is known once they are made.
        return Fact(None, f"as many as differ among the {limit} {reason}")
    return Fact(limit, reason)
