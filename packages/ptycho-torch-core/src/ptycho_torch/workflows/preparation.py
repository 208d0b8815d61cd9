"""From a checked configuration to a calibrated model and the frames to train it on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ptycho_torch.config_factory import TrainingPayload
from ptycho_torch.data.contract import Scan
from ptycho_torch.data.dataset import GroupDataset
from ptycho_torch.data.npz import load_scan
from ptycho_torch.data.sampling import Indices, choose_frames, split_validation
from ptycho_torch.models import PatchModel, build_patch_model
from ptycho_torch.physics.scaling import calibrate

__all__ = ["PreparedTraining", "prepare_training", "read_scan"]

logger = logging.getLogger(__name__)

_SAMPLE_FRAMES = 16


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


def read_scan(path: Path, *, n_pixels: int, measurement_domain: str, nphotons: float) -> Scan:
    """Read a scan for a model of ``n_pixels``; amplitudes of unknown dose get ``nphotons`` per frame.

    Parameters
    ----------
    path
        NPZ file.
    n_pixels
        Frame size of the model; larger frames are cropped.
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
    scan = load_scan(path, measurement_domain=measurement_domain, N=n_pixels)
    logger.info("%s: %d frames of %d px, %s", path, scan.n_frames, scan.N, scan.domain.reason)
    if scan.domain.domain == "counts" or _are_whole_counts(scan.diffraction[:_SAMPLE_FRAMES]):
        return scan
    factor = nphotons / float(scan.counts_per_frame().mean())
    logger.info("%s: amplitudes of unknown dose, scaled to %g photons per frame", path, nphotons)
    counts = scan.diffraction.astype(np.float32) * np.float32(factor)
    return replace(scan, diffraction=counts)


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
    assert config.train_data_file is not None
    scan = _read(config.train_data_file, payload)
    seed = config.seed if config.subsample_seed is None else config.subsample_seed
    chosen = choose_frames(
        scan.n_frames,
        config.n_groups,
        n_subsample=config.n_subsample,
        sequential=config.sequential_sampling,
        seed=seed,
    )
    if config.test_data_file is None:
        train, aside = split_validation(chosen, execution.val_fraction, seed=execution.val_seed)
        validation = _groups(scan, aside)
    else:
        other = _read(config.test_data_file, payload)
        train, validation = chosen, _groups(other, np.arange(other.n_frames))
    mean_counts = float(scan.counts_per_frame()[train].mean())
    model = build_patch_model(
        config.model,
        calibrate(torch.from_numpy(scan.probe), mean_counts),
        measured=None if scan.bad_pixels is None else torch.from_numpy(~scan.bad_pixels),
        trainable_probe=config.probe_trainable,
        trainable_scale=config.intensity_scale_trainable,
        seed=config.seed,
    )
    logger.info(
        "training on %d frames, validating on %d; mean %.4g counts per frame",
        len(train),
        len(validation),
        mean_counts,
    )
    return PreparedTraining(scan=scan, train=_groups(scan, train), validation=validation, model=model)


def _read(path: Path, payload: TrainingPayload) -> Scan:
    config = payload.training_config
    return read_scan(
        path,
        n_pixels=config.model.N,
        measurement_domain=config.measurement_domain,
        nphotons=config.nphotons,
    )


def _groups(scan: Scan, frames: Indices) -> GroupDataset:
    return GroupDataset(scan.diffraction, frames[:, None])
