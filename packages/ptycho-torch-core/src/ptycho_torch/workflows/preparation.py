"""From a checked configuration to a calibrated model and the frames to train it on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ptycho_config import TrainingConfig
from ptycho_torch.config_factory import TrainingPayload
from ptycho_torch.data.contract import Scan
from ptycho_torch.data.dataset import GroupDataset
from ptycho_torch.data.grouping import Groups, covering_groups, make_groups
from ptycho_torch.data.labels import LabelSource, labels_of
from ptycho_torch.data.memory import ScanSource, name_of
from ptycho_torch.data.reader import open_scan
from ptycho_torch.data.sampling import split_validation
from ptycho_torch.errors import DataError
from ptycho_torch.lightning.objective import Objective
from ptycho_torch.models import PatchModel, build_patch_model
from ptycho_torch.physics.scaling import calibrate

__all__ = ["PreparedTraining", "prepare_training", "read_scan"]

logger = logging.getLogger(__name__)

_SAMPLE_FRAMES = 16
_LABEL_FRAMES = 64


@dataclass(frozen=True, kw_only=True)
class PreparedTraining:
    """Everything a trainer needs.

    Attributes
    ----------
    scan
        The training scan, in counts.
    train, validation
        Groups; validation may be empty.
    model
        Fresh weights, calibrated on the training groups.
    """

    scan: Scan = field(repr=False)
    train: GroupDataset = field(repr=False)
    validation: GroupDataset = field(repr=False)
    model: PatchModel = field(repr=False)


def read_scan(source: ScanSource, *, n_pixels: int | None, measurement_domain: str, nphotons: float) -> Scan:
    """Read a scan for a model of ``n_pixels``; amplitudes of unknown dose get ``nphotons`` per frame.

    Parameters
    ----------
    source
        Whatever :func:`ptycho_torch.data.reader.open_scan` knows: a file, a directory, a scan in memory.
    n_pixels
        Frame size of the model; larger frames are cropped. None: as the scan has them.
    measurement_domain
        ``"auto"``, ``"counts"`` or ``"amplitude"``.
    nphotons
        Mean counts per frame of a scan whose amplitudes are not roots of whole counts.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    DataError
        If the scan breaks the data contract.
    """
    scan = open_scan(source, measurement_domain=measurement_domain, N=n_pixels)
    name = name_of(source)
    logger.info("%s: %d frames of %d px, %s", name, scan.n_frames, scan.N, scan.domain.reason)
    if scan.domain.domain == "counts" or _are_whole_counts(scan.diffraction[:_SAMPLE_FRAMES]):
        return scan
    factor = nphotons / float(scan.counts_per_frame().mean())
    logger.info("%s: amplitudes of unknown dose, scaled to %g photons per frame", name, nphotons)
    return scan.scaled(factor)


def _are_whole_counts(frames: np.ndarray) -> bool:
    values = frames[frames != 0]
    # Squares of single-precision roots carry a relative error of some 1e-7.
    near = np.allclose(values, np.round(values), rtol=5e-7, atol=0.05)
    # A value that rounds to no count at all is the square of a normalised amplitude.
    return near and bool((values > 0.5).all())


def prepare_training(payload: TrainingPayload) -> PreparedTraining:
    """Read the data, choose frames, calibrate and build the model; writes nothing.

    Raises
    ------
    DataError
        If a scan breaks the data contract.
    ConfigError
        If more frames are asked for than exist or the architecture is unknown.
    """
    config, execution = payload.training_config, payload.execution_config
    scan = _read(payload.train_data, payload)
    groups = _training_groups(scan, config)
    if payload.test_data is None:
        rows, aside = split_validation(
            np.arange(len(groups)), execution.val_fraction, seed=execution.val_seed
        )
        other, others = scan, groups
    else:
        other = _read(payload.test_data, payload)
        others = covering_groups(other.positions, config.model.gridsize**2, scan_index=other.scan_index)
        rows, aside = np.arange(len(groups)), np.arange(len(others))
    mean_counts = float(scan.counts_per_frame()[np.unique(groups.frames[rows])].mean())
    measured = None if scan.bad_pixels is None else torch.from_numpy(~scan.bad_pixels)
    calibration = calibrate(
        torch.from_numpy(scan.probe),
        mean_counts,
        measured=measured,
        smoothing_sigma=config.model.gaussian_smoothing_sigma,
    )
    model = build_patch_model(
        config.model,
        calibration,
        measured=measured,
        trainable_probe=config.probe_trainable,
        trainable_scale=config.intensity_scale_trainable,
        seed=config.seed,
    )
    logger.info(
        "training on %d groups of %d, validating on %d; mean %.4g counts per frame",
        len(rows),
        groups.n_channels,
        len(aside),
        mean_counts,
    )
    wants_labels = Objective.from_config(config).label_weight > 0
    return PreparedTraining(
        scan=scan,
        train=_dataset(scan, groups, rows, _labels(scan, model) if wants_labels else None),
        validation=_dataset(other, others, aside, _labels(other, model) if wants_labels else None),
        model=model,
    )


def _training_groups(scan: Scan, config: TrainingConfig) -> Groups:
    return make_groups(
        scan.positions,
        gridsize=config.model.gridsize,
        n_groups=config.n_groups,
        neighbor_count=config.neighbor_count,
        seed=config.seed if config.subsample_seed is None else config.subsample_seed,
        sequential=config.sequential_sampling,
        n_subsample=config.n_subsample,
        oversampling=config.enable_oversampling,
        pool_size=config.neighbor_pool_size,
        scan_index=scan.scan_index,
    )


def _dataset(scan: Scan, groups: Groups, rows: np.ndarray, labels: LabelSource | None) -> GroupDataset:
    return GroupDataset(scan.diffraction, groups.frames[rows], groups.offsets[rows], labels)


@torch.no_grad()
def _labels(scan: Scan, model: PatchModel) -> LabelSource:
    """Labels in the gauge of the model: scaled so that they predict the mean counts of their frames."""
    source = labels_of(scan)
    sample = np.linspace(0, scan.n_frames - 1, min(scan.n_frames, _LABEL_FRAMES)).astype(np.int64)
    predicted = float((model.predict_counts(source.patches(sample)) * model.measured).sum())
    counts = float(scan.diffraction[sample].sum(dtype=np.float64))
    if not predicted > 0:
        raise DataError("the labels transmit no light; expected object patches near one", scan.source)
    return replace(source, scale=(counts / predicted) ** 0.5)


def _read(source: ScanSource, payload: TrainingPayload) -> Scan:
    config = payload.training_config
    return read_scan(
        source,
        n_pixels=config.model.N,
        measurement_domain=config.measurement_domain,
        nphotons=config.nphotons,
    )
