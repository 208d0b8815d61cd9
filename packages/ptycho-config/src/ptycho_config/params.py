"""The legacy dictionary.

``cfg`` exists for programs that were written against one global dictionary of settings. Factories fill it
through :func:`ptycho_config.legacy.update_legacy_dict`; the packages of this project never read it. New code
should pass configuration objects instead.
"""

from __future__ import annotations

from typing import Any

__all__ = ["cfg"]

cfg: dict[str, Any] = {}
"""Settings under their legacy names; empty until a factory fills it."""
