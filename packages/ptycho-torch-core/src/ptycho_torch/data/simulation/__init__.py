"""Objects, probes and patterns whose truth is known."""

from __future__ import annotations

from ptycho_torch.data.simulation.faults import Faults
from ptycho_torch.data.simulation.scenes import OBJECTS
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene

__all__ = ["OBJECTS", "Faults", "simulate_scan", "simulate_scene"]
