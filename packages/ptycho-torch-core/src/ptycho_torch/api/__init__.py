"""Training and reconstruction under the names that programs written against PtychoPINN import; deprecated."""

from __future__ import annotations

__all__: list[str] = []
