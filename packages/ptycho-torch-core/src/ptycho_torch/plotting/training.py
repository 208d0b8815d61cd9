"""How a training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.errors import DataError, ShapeError, fault
from ptycho_torch.plotting import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


__all__ = ["save_training_figure"]


def save_training_figure(
    path: str | PathLike[str],
    history: Mapping[str, Sequence[float]],
    examples: NDArray[np.complexfloating] | None = None,
    weight: NDArray[np.floating] | None = None,
    *,
    label: str = "loss",
) -> None:
    """Draw the loss over the epochs and what the network has learned to see.

    Parameters
    ----------
    path
        PNG file to write; its directory exists.
    history
        One curve per name, one value per epoch, NaN where an epoch has none. ``epoch``, where given, numbers
        the epochs; otherwise they count from 1. The loss axis is logarithmic when all values are positive and
        span a decade.
    examples
        (height, width) complex: an object; or (n, height, width): patches, of which the first four are shown.
    weight
        (height, width) real: coverage of the object or patches, to whose area they are cut; pixels below a
        tenth of its positive median are grey. None: all covered.
    label
        What the curves show.

    Raises
    ------
    DataError
        When there is no curve.
    ShapeError
        When a curve has another length than ``epoch``, ``examples`` another rank, or ``weight``
        another shape than ``examples``.
    """
    curves = {
        name: np.asarray(values, dtype=np.float64) for name, values in history.items() if name != "epoch"
    }
    if not curves:
        raise DataError(fault("history", "expected at least one curve besides 'epoch', got none"))
    stack = np.zeros((0, 1, 1), complex) if examples is None else np.asarray(examples)
    stack = stack[None] if stack.ndim == 2 else stack[:4]
    if stack.ndim != 3:
        raise ShapeError("examples", "(height, width) or (n, height, width)", stack.shape)
    covered = style.covered_pixels(weight, stack.shape[1:])
    rows, columns = style.covered_area(covered)
    stack, covered = stack[:, rows, columns], covered[rows, columns]
    figure = style.new_figure(5.0 + 2.6 * len(stack), 4.0 if len(stack) < 2 else 4.6)
    if len(stack):
        parts: Any = figure.subfigures(1, 2, width_ratios=(4.4, 2.6 * len(stack) + 0.4))
        _draw_examples(parts[1], stack, covered)
        axes = parts[0].subplots()
    else:
        axes = figure.subplots()
    _draw_losses(axes, curves, history.get("epoch"))
    axes.set_ylabel(label, fontsize=9)
    style.write_figure(figure, path)


def _draw_losses(
    axes: Axes, curves: Mapping[str, NDArray[np.float64]], epochs: Sequence[float] | None
) -> None:
    from matplotlib.ticker import MaxNLocator

    seen: list[float] = []
    for (name, values), colour in zip(curves.items(), style.COLOURS * len(curves), strict=False):
        numbers = np.arange(1, len(values) + 1) if epochs is None else np.asarray(epochs, dtype=np.float64)
        if numbers.shape != values.shape:
            raise ShapeError(f"history[{name!r}]", f"{numbers.shape} as epoch", values.shape)
        known = np.isfinite(values)
        marker = "o" if known.sum() < 30 else ""
        axes.plot(
            numbers[known],
            values[known],
            marker=marker,
            markersize=3,
            linewidth=1.4,
            color=colour,
            label=name,
        )
        seen.extend(values[known].tolist())
    if seen and min(seen) > 0 and max(seen) > 10 * min(seen):
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    style.plain_axes(axes)


def _draw_examples(figure: Any, stack: NDArray[np.complexfloating], covered: NDArray[np.bool_]) -> None:
    stack = np.where(np.isfinite(stack), stack, 0).astype(np.complex128)
    amplitudes = np.abs(stack)
    phases = np.stack([style.levelled_phase(image, covered) for image in stack])
    grid = figure.subplots(2, len(stack), squeeze=False)
    extent = (-0.5, stack.shape[2] - 0.5, stack.shape[1] - 0.5, -0.5)
    phase_map, phase_limits = style.phase_style(phases[:, covered])
    for line, values, cmap, limits, label in (
        (grid[0], amplitudes, style.AMPLITUDE_MAP, style.value_limits(amplitudes[:, covered]), "amplitude"),
        (grid[1], phases, phase_map, phase_limits, "phase (rad)"),
    ):
        for axes, picture in zip(line, values, strict=True):
            shown = style.show_image(axes, picture, covered, cmap, limits, extent)
            axes.set_xticks([])
            axes.set_yticks([])
        style.add_colorbar(figure, shown, line, label)
