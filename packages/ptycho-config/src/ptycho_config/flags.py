"""Settings as they are typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptycho_config.base import Config
from ptycho_config.fields import FieldSpec, field_specs

__all__ = ["flag_words"]


def flag_words(cls: type[Config], settings: Mapping[str, Any]) -> list[str]:
    """Words of a command line that state settings.

    Parameters
    ----------
    cls : type
        Configuration class whose settings they are.
    settings : mapping
        Name -> value.

    Returns
    -------
    list of str
        In the order of ``settings``; not quoted for a shell.

    Raises
    ------
    KeyError
        For a setting that the class does not have, or that has no flag.

    Examples
    --------
    >>> from ptycho_config import RefineConfig
    >>> flag_words(RefineConfig, {"refine_probe": True, "probe_modes": 3, "slow_phases": False})
    ['--refine-probe', '--probe-modes', '3', '--no-slow-phases']
    """
    specs = {spec.name: spec for spec in field_specs(cls) if spec.flags}
    return [word for name, value in settings.items() for word in _words(specs[name], value)]


def _words(spec: FieldSpec, value: Any) -> list[str]:
    if spec.kind == "bool" and isinstance(value, bool):
        return [spec.flags[0] if value else spec.off_flags[0]]
    if value is None:
        return [spec.flags[0], "none"]
    if spec.kind == "int_list":
        return [spec.flags[0], ",".join(map(str, value))]
    return [spec.flags[0], *map(str, value if isinstance(value, tuple) else (value,))]
