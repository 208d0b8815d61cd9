"""Settings that the shared configuration knows and this version of the package does not implement.

A setting without an effect would be a promise not kept, so each of these is refused when it asks
for anything but what happens anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptycho_config import Config, ConfigError, Problem, RefineConfig, Resolution, field_specs

__all__ = ["check_refinement_is_asked", "check_supported"]

_ONLY_DEFAULT: Mapping[str, str] = {
    "probe_scale": "the probe is calibrated from the data instead",
    "positions_provided": "patches are stitched where they were scanned, never without scan positions",
    "backend": "this package runs on PyTorch; the TensorFlow backend is another program",
}


def check_supported(*configs: Config) -> None:
    """Refuse settings that would have no effect.

    Raises
    ------
    ConfigError
        With every such setting, and why it is not available.
    """
    problems = []
    for config in configs:
        for spec in field_specs(type(config)):
            value = getattr(config, spec.name)
            reason = _refusal(spec.name, value, spec.default)
            if reason is not None:
                problems.append(Problem(spec.name, value, *reason))
    if problems:
        raise ConfigError(problems)


def _refusal(name: str, value: Any, default: Any) -> tuple[str, str] | None:
    if name in _ONLY_DEFAULT and value != default:
        return repr(default), _ONLY_DEFAULT[name]
    return None


def check_refinement_is_asked(resolution: Resolution, refinement: RefineConfig) -> None:
    """Refuse settings of a refinement that nobody asked for: they would have no effect.

    Raises
    ------
    ConfigError
        With every such setting.
    """
    if refinement.refine_epochs != "auto":
        return
    problems = [
        Problem(spec.name, getattr(refinement, spec.name), repr(spec.default), "ask for it with --refine N")
        for spec in field_specs(RefineConfig)
        # A file may hold them for another run.
        if resolution.provenance[spec.name].layer in ("cli", "overrides")
        and getattr(refinement, spec.name) != spec.default
    ]
    if problems:
        raise ConfigError(problems)
