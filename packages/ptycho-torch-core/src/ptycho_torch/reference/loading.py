"""The frames of a caller: a folder to train on, or arrays to reconstruct."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_torch.errors import DataError, ShapeError, fault
from ptycho_torch.reference.manager import LOGGER_NAME, ConfigManager
from ptycho_torch.reference.telling import told

__all__ = ["DataloaderFormats", "Patterns", "PtychoDataLoader"]

logger = logging.getLogger(LOGGER_NAME)


class DataloaderFormats(Enum):
    """Ways in which the reference hands data on. All of them mean the same here."""

    LIGHTNING_ONLY_MODULE = "lightning_only_module"
    LIGHTNING_MODULE = "lightning_module"
    TENSORDICT = "tensordict"
    PYTORCH = "pytorch"


@dataclass(frozen=True, kw_only=True)
class Patterns:
    """Frames of a caller, with positions in pixels of an array whose size it does not tell.

    Attributes
    ----------
    counts
        Real, ``(n, H, W)``, zero frequency at ``[H // 2, W // 2]``; counts.
    probe
        Complex64, ``(modes, N, N)``.
    positions
        float64, ``(n, 2)``, ``[y, x]`` in px: where pixel ``(N - 1) / 2`` of each patch lies.
    """

    counts: np.ndarray
    probe: np.ndarray
    positions: np.ndarray


class PtychoDataLoader:
    """Scans of a folder, for a training.

    Parameters
    ----------
    data_dir
        Holds NPZ files, each of which is a scan, or ``diffraction.h5`` and ``product.h5``.
    config_manager
        Configuration of the caller.
    data_format
        Any of :class:`DataloaderFormats`.
    output_dir
        Where runs go; each makes a folder of its own there.

    Attributes
    ----------
    sources
        Paths of the scans.
    output_dir
        Folder of this run.

    Raises
    ------
    FileNotFoundError
        If ``data_dir`` does not exist.
    DataError
        If it holds no scan.
    """

    @told()
    def __init__(
        self,
        data_dir: str | Path,
        config_manager: ConfigManager,
        data_format: DataloaderFormats = DataloaderFormats.LIGHTNING_ONLY_MODULE,
        output_dir: str | Path = ".",
    ) -> None:
        self.config_manager = config_manager
        self.data_format = data_format
        self.sources = _scans_in(Path(data_dir))
        # Two runs may start in one second.
        self.output_dir = Path(output_dir) / f"run_{time.strftime('%Y%m%d-%H%M%S')}_{os.getpid()}"

    @staticmethod
    @told()
    def from_np(*, diff_patterns: Any, probe: Any, positions: Any, config_manager: ConfigManager) -> Patterns:
        """Frames in memory, to reconstruct.

        Parameters
        ----------
        diff_patterns
            Real, ``(n, H, W)``; counts, whole numbers or not, of any byte order.
        probe
            Complex, ``(modes, H, W)`` or ``(H, W)``.
        positions
            ``(n, 2)``, ``[y, x]`` in px.
        config_manager
            Configuration of the model.

        Raises
        ------
        ShapeError
            If an array has another shape.
        DataError
            If a position is no finite number.
        """
        counts = np.asarray(diff_patterns)
        light = np.asarray(probe, dtype=np.complex64)
        light = light[None] if light.ndim == 2 else light
        where = np.asarray(positions, dtype=np.float64)
        if counts.ndim != 3:
            raise ShapeError("diff_patterns", "(n, height, width)", counts.shape)
        if light.ndim != 3:
            raise ShapeError("probe", "(modes, height, width)", light.shape)
        if where.shape != (len(counts), 2):
            raise ShapeError("positions", f"({len(counts)}, 2), one for each frame", where.shape)
        if not np.isfinite(where).all():
            raise DataError(fault("positions", "hold NaN or infinity; leave those frames out"))
        return Patterns(counts=counts, probe=light, positions=where)


def _scans_in(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such directory; give the folder with the training data")
    # Runs of earlier trainings lie in folders below.
    archives = tuple(sorted(folder.glob("*.npz")))
    if archives:
        logger.info("training on %s", ", ".join(path.name for path in archives))
        return archives
    pair = [folder / name for name in ("diffraction.h5", "product.h5")]
    if all(path.is_file() for path in pair):
        logger.info("training on diffraction.h5 and product.h5")
        return (folder,)
    raise DataError(
        "no training data: expected NPZ files (ptychodus exports them), or diffraction.h5 and product.h5",
        folder,
    )
