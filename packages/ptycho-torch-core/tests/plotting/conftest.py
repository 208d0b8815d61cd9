"""Figures caught before they are written."""

from __future__ import annotations

import pytest

from ptycho_torch.plotting import style


@pytest.fixture
def figures(monkeypatch):
    """List that receives every figure instead of its file."""
    caught = []
    monkeypatch.setattr(style, "write_figure", lambda figure, path: caught.append(figure))
    return caught
