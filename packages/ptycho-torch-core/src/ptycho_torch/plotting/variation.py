"""A probe that varies over the scan."""

from __future__ import annotations

from os import PathLike

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.errors import ShapeError
from ptycho_torch.plotting import style

__all__ = ["save_probe_variation_figure"]

_MOST_SHOWN = 5


def save_probe_variation_figure(
    path: str | PathLike[str],
    probe: NDArray[np.complexfloating],
    modes: NDArray[np.complexfloating],
    weights: NDArray[np.complexfloating],
) -> None:
    """Draw the first mode of a probe, the modes that it varies by, and their weights.

    Parameters
    ----------
    path
        PNG file to write; its directory exists.
    probe
        (P, N, N) complex.
    modes
        (K, N, N) complex; the first five are drawn.
    weights
        (n, K) complex: real part, imaginary part and modulus are drawn against the number of the frame.

    Raises
    ------
    ShapeError
        If there are not as many weights per frame as modes.
    """
    if weights.ndim != 2 or weights.shape[1] != len(modes):
        raise ShapeError("weights", f"(frames, {len(modes)})", weights.shape)
    shown = min(len(modes), _MOST_SHOWN)
    figure = style.new_figure(2.2 * (shown + 1), 2.4 + 1.6 * shown)
    grid = figure.add_gridspec(1 + shown, shown + 1)
    images = [("first mode", probe[0]), *((f"variation {k + 1}", modes[k]) for k in range(shown))]
    for column, (name, image) in enumerate(images):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(np.abs(image), cmap="viridis")
        axes.set_title(f"|{name}|")
        axes.set_axis_off()
    for k in range(shown):
        axes = figure.add_subplot(grid[1 + k, :])
        parts = {
            "real": weights[:, k].real,
            "imaginary": weights[:, k].imag,
            "modulus": np.abs(weights[:, k]),
        }
        for name, values in parts.items():
            axes.plot(values, label=name, linewidth=1)
        axes.set_ylabel(f"weight {k + 1}")
        style.plain_axes(axes)
        if k == 0:
            axes.legend(loc="upper right", fontsize="small")
    axes.set_xlabel("frame")
    style.write_figure(figure, path)
