"""Settings that the shared configuration knows and this version of the package does not implement.

A setting without an effect would be a promise not kept, so each of these is refused when it asks
for anything but what happens anyway. Which ones, and why, their statements in ``ptycho_config`` say.
"""

from __future__ import annotations

from ptycho_config import Config, ConfigError, Problem, RefineConfig, Resolution, field_specs

__all__ = ["check_refinement_is_asked", "check_supported"]


def check_supported(*configs: Config) -> None:
    """Refuse settings that would have no effect.

    Raises
    ------
    ConfigError
        With every such setting, and why it is not available.
    """
    problems = [
        Problem(spec.name, getattr(config, spec.name), repr(spec.default), spec.only_default)
        for config in configs
        for spec in field_specs(type(config))
        if spec.only_default and getattr(config, spec.name) != spec.default
    ]
    if problems:
        raise ConfigError(problems)


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
