"""Patches of a scan become one object."""

from ptycho_torch.reassembly.processes import Processes
from ptycho_torch.reassembly.stitching import Canvas, CanvasGeometry, StitchedObject, canvas_for, stitch

__all__ = ["Canvas", "CanvasGeometry", "Processes", "StitchedObject", "canvas_for", "stitch"]
