"""Versions of what is installed."""

from __future__ import annotations

__all__ = ["version_text"]

_DISTRIBUTIONS = ("ptycho-torch-cli", "ptycho-torch-core", "ptycho-config", "torch")


def version_text() -> str:
    """Versions of the three packages and of torch, one per line; imports none of them."""
    from importlib.metadata import PackageNotFoundError, version

    lines = []
    for name in _DISTRIBUTIONS:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} not installed")
    return "\n".join(lines)
