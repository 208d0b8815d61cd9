"""From files, flags and arguments to the checked configuration of a live scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptycho_config import (
    Fact,
    LiveConfig,
    OrientationConfig,
    PartsConfig,
    PyTorchExecutionConfig,
    RefineConfig,
    Resolution,
    resolve,
    schema_of_job,
)
from ptycho_torch.bundle import find_bundle, read_manifest
from ptycho_torch.config_factory.inference import orientation_of_bundle
from ptycho_torch.config_factory.sources import AnyPath, Payload, merged_layers, require_parts
from ptycho_torch.config_factory.support import check_supported

__all__ = ["LivePayload", "create_live_payload"]


@dataclass(frozen=True, kw_only=True)
class LivePayload(Payload):
    """What a live scan needs.

    Further attributes as in :class:`ptycho_torch.config_factory.TrainingPayload`.

    Attributes
    ----------
    live_config
        Sources, model and output.
    frames_from
        Address of the frames, that of ``live_config``.
    refine_config
        How the object is refined without a model.
    """

    live_config: LiveConfig
    frames_from: str
    refine_config: RefineConfig


def create_live_payload(
    frames_from: str | None,
    output_dir: AnyPath | None,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    *,
    positions_from: str | None = None,
    model_path: AnyPath | None = None,
    cli: Mapping[str, Any] | None = None,
    config_file: AnyPath | None = None,
) -> LivePayload:
    """Resolve and check the configuration of a live scan. No source is opened.

    Parameters
    ----------
    frames_from, positions_from
        Addresses, see `ptycho_torch.live.source_registry`.
    output_dir
        Folder of the results.
    model_path
        Output folder of a training, or its bundle.
    overrides, execution_config, cli, config_file
        As in :func:`ptycho_torch.config_factory.create_training_payload`.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ConfigError
        With every problem of every layer; a ``ValueError``.
    BundleError
        If the model path holds no bundle or the bundle is damaged; a ``ValueError``.
    """
    arguments = {
        "frames_from": frames_from,
        "positions_from": positions_from,
        "output_dir": output_dir,
        "model_path": model_path,
    }
    layers = merged_layers(arguments, overrides, execution_config, cli, config_file, None)
    turned: list[str] = []

    def facts(stated: Resolution) -> dict[str, Fact]:
        require_parts(stated.config(PartsConfig))
        model = stated.config(LiveConfig).model_path
        if model is None:
            return {}
        trained = read_manifest(model).configuration.get("orientation", {})
        return orientation_of_bundle(trained, stated, str(find_bundle(model)), turned)

    done = resolve(schema_of_job("live"), required=("frames_from",), facts=facts, job="live", **layers)
    live, execution = done.config(LiveConfig), done.config(PyTorchExecutionConfig)
    check_supported(execution)
    return LivePayload(
        live_config=live,
        frames_from=live.frames_from or "",
        refine_config=done.config(RefineConfig),
        execution_config=execution,
        orientation_config=done.config(OrientationConfig),
        parts_config=done.config(PartsConfig),
        overrides_applied=done.overrides_applied,
        provenance=done.provenance,
        notes=(*done.notes, *turned),
        resolution=done,
    )
