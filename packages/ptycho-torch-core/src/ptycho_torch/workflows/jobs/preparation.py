"""From a checked configuration to a calibrated model and the frames to train it on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ptycho_config import TrainingConfig
from ptycho_torch.config_factory.training import TrainingTask
from ptycho_torch.control import Progress
from ptycho_torch.data.groups.dataset import GroupDataset, ScanGroups, SeveralScans
from ptycho_torch.data.groups.grouping import Groups, covering_groups, make_groups
from ptycho_torch.data.groups.labels import LabelSource, labels_of
from ptycho_torch.data.groups.sampling import shares, split_validation
from ptycho_torch.data.reading import read_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.memory import ScanSource
from ptycho_torch.errors import DataError, Fault
from ptycho_torch.lightning.objective import Objective
from ptycho_torch.models import PatchModel, build_patch_model
from ptycho_torch.physics.scaling import calibrate
from ptycho_torch.prediction.scan_match import closest_scan

__all__ = ["PreparedTraining", "Shown", "prepare_training"]

logger = logging.getLogger(__name__)

_LABEL_FRAMES = 64


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What stands for a training in pictures.

    Attributes
    ----------
    data
        Groups whose patches are drawn; its number of a scan is that of the optics they are seen through.
    scan
        The scan of these groups, whose object is drawn.
    """

    data: GroupDataset = field(repr=False)
    scan: Scan = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class PreparedTraining:
    """Everything a trainer needs.

    Attributes
    ----------
    scans
        The training scans, in counts.
    test_scans
        The scans to validate on, in counts; none if a part of the training groups is set aside.
    train, validation
        Groups; validation may be empty.
    model
        Fresh weights, calibrated on the training groups; scan ``i`` of it is scan ``i`` here.
    """

    scans: tuple[Scan, ...] = field(repr=False)
    test_scans: tuple[Scan, ...] = field(default=(), repr=False)
    train: ScanGroups = field(repr=False)
    validation: ScanGroups = field(repr=False)
    model: PatchModel = field(repr=False)

    @property
    def shown(self) -> Shown:
        """Validation groups, or those trained on if there are no others; of several scans the first."""
        data = (self.validation if len(self.validation) else self.train).scans[0]
        return Shown(data=data, scan=self.test_scans[0] if self.test_scans else self.scans[data.scan])

    @property
    def datasets(self) -> tuple[GroupDataset, ...]:
        """The groups of each scan: those to train on, then those to validate on."""
        return (*self.train.scans, *self.validation.scans)

    @property
    def probes(self) -> tuple[torch.Tensor, ...]:
        """Complex, ``(modes, N, N)``: the probe of each training scan."""
        return tuple(self.model.on(number).probe_modes.detach() for number in range(len(self.scans)))


def prepare_training(task: TrainingTask, *, progress: Progress | None = None) -> PreparedTraining:
    """Read the data, choose frames, calibrate and build the model; writes nothing.

    Parameters
    ----------
    task
        Settings, and where the data are.
    progress
        Called with frames checked and frames in all of each scan that is read.

    Raises
    ------
    DataError
        If a scan breaks the data contract.
    ConfigError
        If more frames are asked for than exist or the architecture is unknown.
    """
    config, execution = task.config, task.execution
    scans = tuple(_read(source, task, progress) for source in task.train_data)
    groups = _training_groups(scans, config)
    splits = [
        split_validation(
            np.arange(len(found)),
            execution.val_fraction if task.test_data is None else 0.0,
            seed=execution.val_seed,
        )
        for found in groups
    ]
    model = _calibrated_model(scans, groups, [rows for rows, _ in splits], config)
    labelled = Objective.from_config(config).needs("labels")
    train = _together(
        [
            _dataset(scan, found, rows, model.on(number), number, labelled=labelled)
            for number, (scan, found, (rows, _)) in enumerate(zip(scans, groups, splits, strict=True))
        ]
    )
    test_scans: tuple[Scan, ...] = ()
    if task.test_data is None:
        aside = [
            _dataset(scan, found, rows, model.on(number), number, labelled=labelled)
            for number, (scan, found, (_, rows)) in enumerate(zip(scans, groups, splits, strict=True))
        ]
    else:
        test_scans = tuple(_read(source, task, progress) for source in task.test_data)
        aside = [_validation(scan, model, labelled) for scan in test_scans]
    validation = _together(aside)
    logger.info(
        "training on %d groups of %d%s, validating on %d; mean %s counts per frame",
        len(train),
        config.model.gridsize**2,
        f" of {len(scans)} scans" if len(scans) > 1 else "",
        len(validation),
        ", ".join(f"{float(model.on(number).mean_counts):.4g}" for number in range(len(scans))),
    )
    return PreparedTraining(
        scans=scans, test_scans=test_scans, train=train, validation=validation, model=model
    )


def _calibrated_model(
    scans: Sequence[Scan], groups: Sequence[Groups], rows: Sequence[np.ndarray], config: TrainingConfig
) -> PatchModel:
    """A model with fresh weights and one calibration per scan, on the frames that are trained on."""
    parts = []
    for scan, found, chosen in zip(scans, groups, rows, strict=True):
        mean_counts = float(scan.counts_per_frame()[np.unique(found.frames[chosen])].mean())
        measured = None if scan.bad_pixels is None else torch.from_numpy(~scan.bad_pixels)
        calibration = calibrate(
            torch.from_numpy(scan.probe),
            mean_counts,
            measured=measured,
            smoothing_sigma=config.model.gaussian_smoothing_sigma,
        )
        ceiling = None if scan.ceiling is None else torch.from_numpy(scan.ceiling).float()
        parts.append((calibration, measured, ceiling))
    model = build_patch_model(
        config.model,
        parts[0][0],
        measured=parts[0][1],
        ceiling=parts[0][2],
        trainable_probe=config.probe_trainable,
        trainable_scale=config.intensity_scale_trainable,
        seed=config.seed,
    )
    for calibration, measured, ceiling in parts[1:]:
        model.add_scan(calibration, measured=measured, ceiling=ceiling)
    return model


def _training_groups(scans: Sequence[Scan], config: TrainingConfig) -> list[Groups]:
    """Groups of each scan; numbers that are asked for count over all scans, in proportion to their frames."""
    frames = [scan.n_frames for scan in scans]
    n_groups = shares(_of_those_kept(config.n_groups, scans), frames)
    n_subsample = shares(config.n_subsample, frames, name="n_subsample")
    return [
        make_groups(
            scan.positions,
            gridsize=config.model.gridsize,
            n_groups=wanted,
            neighbor_count=config.neighbor_count,
            seed=config.seed if config.subsample_seed is None else config.subsample_seed,
            sequential=config.sequential_sampling,
            n_subsample=drawn,
            oversampling=config.enable_oversampling,
            pool_size=config.neighbor_pool_size,
            scan_index=scan.scan_index,
        )
        for scan, wanted, drawn in zip(scans, n_groups, n_subsample, strict=True)
    ]


def _of_those_kept(n_groups: int | None, scans: Sequence[Scan]) -> int | None:
    """All frames that were kept, where more were asked for and the files hold as many.

    The number comes from the files, or was meant for them: which frames are left out is known only now.
    """
    kept = sum(scan.n_frames for scan in scans)
    left_out = sum(scan.n_left_out for scan in scans)
    if n_groups is None or not kept < n_groups <= kept + left_out:
        return n_groups
    logger.info("n_groups = %d: %d, because %d frames are left out", n_groups, kept, left_out)
    return kept


def _validation(scan: Scan, model: PatchModel, labelled: bool) -> GroupDataset:
    """All of a scan to validate on, seen through the optics of the training scan that it resembles most."""
    groups = covering_groups(scan.positions, model.n_channels, scan_index=scan.scan_index)
    number, _ = closest_scan(model, scan)
    return _dataset(scan, groups, np.arange(len(groups)), model.on(number), number, labelled=labelled)


def _together(scans: Sequence[GroupDataset]) -> ScanGroups:
    return scans[0] if len(scans) == 1 else SeveralScans(scans)


def _dataset(
    scan: Scan, groups: Groups, rows: np.ndarray, model: PatchModel, number: int, *, labelled: bool
) -> GroupDataset:
    labels = _labels(scan, model) if labelled else None
    return GroupDataset(scan.diffraction, groups.frames[rows], groups.offsets[rows], labels, number)


@torch.no_grad()
def _labels(scan: Scan, model: PatchModel) -> LabelSource:
    """Labels in the gauge of the model: scaled so that they predict the mean counts of their frames."""
    source = labels_of(scan)
    sample = np.linspace(0, scan.n_frames - 1, min(scan.n_frames, _LABEL_FRAMES)).astype(np.int64)
    predicted = float((model.predict_counts(source.patches(sample)) * model.measured).sum())
    counts = float(scan.take(sample).counts_per_frame().sum())
    if not predicted > 0:
        raise DataError(
            Fault("the labels transmit no light; expected object patches near one", "labels"), scan.source
        )
    return replace(source, scale=(counts / predicted) ** 0.5)


def _read(source: ScanSource, task: TrainingTask, progress: Progress | None) -> Scan:
    config = task.config
    return read_scan(
        source,
        n_pixels=config.model.N,
        measurement_domain=config.measurement_domain,
        nphotons=config.nphotons,
        progress=progress,
        reader=config.reader,
        orientation=task.orientation,
        parts=task.parts,
        clean=config.clean,
        strict=config.strict,
    )
