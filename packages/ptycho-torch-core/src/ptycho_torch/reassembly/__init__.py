"""Patches of a scan become one object."""

from ptycho_torch.reassembly.processes import ALONE, Processes
from ptycho_torch.reassembly.stitching import Canvas, CanvasGeometry, StitchedObject, canvas_for, stitch

__all__ = ["ALONE", "Canvas", "CanvasGeometry", "Processes", "StitchedObject", "canvas_for", "stitch"]
