"""Patches of a scan become one object."""

from ptycho_torch.reassembly.centring import centred_canvas
from ptycho_torch.reassembly.resampling import ResampledPatches
from ptycho_torch.reassembly.stitching import Canvas, CanvasGeometry, StitchedObject, canvas_for, stitch
from ptycho_torch.reassembly.team import ALONE, Team

__all__ = [
    "ALONE",
    "Canvas",
    "CanvasGeometry",
    "ResampledPatches",
    "StitchedObject",
    "Team",
    "canvas_for",
    "centred_canvas",
    "stitch",
]
