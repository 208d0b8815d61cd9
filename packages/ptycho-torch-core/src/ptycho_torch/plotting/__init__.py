"""Figures people look at, written as PNG files.

Every figure is drawn on a canvas of its own: nothing touches the state of ``matplotlib.pyplot``, so these
functions may run beside a notebook, on a machine without a display and in several threads. Matplotlib is
imported when a figure is drawn. Amplitudes and narrow phases use perceptually uniform, colour-blind safe
maps; a phase that fills most of the circle gets a cyclic one. Pixels without coverage are grey.
"""

from ptycho_torch.plotting.comparison import save_comparison_figure, save_frc_figure, save_resolution_figure
from ptycho_torch.plotting.error_bars import save_error_bar_figure, save_warning_map
from ptycho_torch.plotting.objects import save_object_figures
from ptycho_torch.plotting.patches import save_patch_figure
from ptycho_torch.plotting.scan import save_scan_figure
from ptycho_torch.plotting.training import save_training_figure
from ptycho_torch.plotting.variation import save_probe_variation_figure

__all__ = [
    "save_comparison_figure",
    "save_error_bar_figure",
    "save_frc_figure",
    "save_object_figures",
    "save_patch_figure",
    "save_probe_variation_figure",
    "save_resolution_figure",
    "save_scan_figure",
    "save_training_figure",
    "save_warning_map",
]
