"""The command ``ptycho-torch``: train on a ptychography scan, reconstruct, evaluate, inspect.

Importing this package, or any module of it, loads neither torch nor NumPy; a command imports what it needs
when it runs.
"""

from __future__ import annotations

__version__: str

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    # On demand, because importlib.metadata takes longer to load than the rest of a help text.
    if name == "__version__":
        from importlib.metadata import version

        return version("ptycho-torch-cli")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
