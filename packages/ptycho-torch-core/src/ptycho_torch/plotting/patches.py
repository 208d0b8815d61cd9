"""What a network makes of single frames: measured and predicted diffraction beside the object patch."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho_torch.errors import DataError, ShapeError, fault
from ptycho_torch.plotting import style

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["save_patch_figure"]

_COUNTS_MAP = "viridis"
_MOST_SHOWN = 4
_LIT_SHARE = 0.05


def save_patch_figure(
    path: str | PathLike[str],
    measured: NDArray[Any],
    predicted: NDArray[Any],
    patches: NDArray[np.complexfloating],
    *,
    illumination: NDArray[Any] | None = None,
    measured_pixels: NDArray[np.bool_] | None = None,
    frames: Sequence[int] | None = None,
) -> None:
    """Draw a row for each of the first four frames: measured, predicted, their difference, and the patch.

    Counts are shown on one logarithmic scale. The difference is that of the amplitudes, whose noise is the
    same everywhere: half a count to the square root.

    Parameters
    ----------
    path
        PNG file to write; its directory exists.
    measured, predicted
        (n, N, N) real, counts.
    patches
        (n, N, N) complex.
    illumination
        (N, N) real: pixels of the patch with less than a twentieth of its peak are grey. None: all lit.
    measured_pixels
        (N, N) bool; False: not measured, shown grey. None: all measured.
    frames
        Number of each frame, for the labels; counted from 0 when left out.

    Raises
    ------
    ShapeError
        When the arrays do not fit together.
    DataError
        When there is no frame, or a value is not finite.
    """
    measured, predicted, patches = (np.asarray(a)[:_MOST_SHOWN] for a in (measured, predicted, patches))
    _check(measured, predicted, patches)
    everywhere = np.ones(measured.shape[1:], dtype=bool)
    seen = everywhere if measured_pixels is None else measured_pixels
    lit = everywhere if illumination is None else illumination > _LIT_SHARE * np.max(illumination)
    logs = [np.log10(1 + np.maximum(counts, 0).astype(np.float64)) for counts in (measured, predicted)]
    roots = [np.sqrt(np.maximum(counts, 0).astype(np.float64)) for counts in (measured, predicted)]
    difference = roots[1] - roots[0]
    reach = max(float(np.percentile(np.abs(difference[:, seen]), 99.5)), 1e-6)
    amplitude = np.abs(patches).astype(np.float64)
    phase = np.stack([style.levelled_phase(patch.astype(np.complex128), lit) for patch in patches])
    phase_map, phase_limits = style.phase_style(phase[:, lit])
    top = max(float(logs[0][:, seen].max()), 1e-6)
    columns = (
        ("measured", logs[0], _COUNTS_MAP, (0.0, top), seen, "log10(1 + counts)"),
        ("predicted", logs[1], _COUNTS_MAP, (0.0, top), seen, "log10(1 + counts)"),
        (
            "difference",
            difference,
            style.DIFFERENCE_MAP,
            (-reach, reach),
            seen,
            "predicted − measured (√counts)",
        ),
        (
            "amplitude",
            amplitude,
            style.AMPLITUDE_MAP,
            style.value_limits(amplitude[:, lit]),
            lit,
            "amplitude",
        ),
        ("phase", phase, phase_map, phase_limits, lit, "phase (rad)"),
    )
    labels = range(len(measured)) if frames is None else frames
    residuals = [
        float(np.abs(d[seen]).sum() / max(r[seen].sum(), 1e-12))
        for d, r in zip(difference, roots[0], strict=True)
    ]
    _draw(path, columns, [f"frame {n}\nresidual {r:.1%}" for n, r in zip(labels, residuals, strict=False)])


def _check(measured: NDArray[Any], predicted: NDArray[Any], patches: NDArray[Any]) -> None:
    shape = measured.shape
    if measured.ndim != 3 or shape[1] != shape[2]:
        raise ShapeError("measured", "(n, N, N)", shape)
    if 0 in shape:
        raise DataError(fault("measured", f"expected at least one frame, got shape {shape}"))
    for name, array in (("predicted", predicted), ("patches", patches)):
        if array.shape != shape:
            raise ShapeError(name, f"{shape} as measured", array.shape)
    for name, array in (("measured", measured), ("predicted", predicted), ("patches", patches)):
        if not np.isfinite(array).all():
            raise DataError(fault(name, "expected finite values, got NaN or inf"))


def _draw(path: str | PathLike[str], columns: Sequence[tuple[Any, ...]], labels: Sequence[str]) -> None:
    rows, size = len(labels), columns[0][1].shape[1]
    figure = style.new_figure(11.0, 2.1 * rows + 0.9)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    extent = (-0.5, size - 0.5, size - 0.5, -0.5)
    for number, (title, stack, cmap, limits, mask, label) in enumerate(columns):
        for axes, picture in zip(grid[:, number], stack, strict=True):
            shown = style.show_image(axes, picture, mask, cmap, limits, extent)
            axes.set_xticks([])
            axes.set_yticks([])
        grid[0, number].set_title(title, fontsize=10)
        bar = figure.colorbar(
            shown, ax=grid[:, number], location="bottom", shrink=0.9, aspect=18, pad=0.02, extend="neither"
        )
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7, length=2, width=0.6)
    for axes, label in zip(grid[:, 0], labels, strict=True):
        axes.set_ylabel(label, fontsize=8)
    style.write_figure(figure, path)
