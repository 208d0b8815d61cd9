"""What a training leaves to look at: curves, sample patches, the object, its worth, and one page about it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ptycho_config import RefineConfig, TrainingConfig
from ptycho_torch.atomic import atomic_write
from ptycho_torch.control import Progress
from ptycho_torch.data.groups.dataset import GroupDataset
from ptycho_torch.data.groups.grouping import Groups, covering_groups
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.memory import ScanSource, name_of
from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.html_report import REPORT_NAME, Picture, write_html_report
from ptycho_torch.models import PatchModel
from ptycho_torch.physics.probe import illumination
from ptycho_torch.plotting import save_patch_figure, save_training_figure
from ptycho_torch.prediction.reconstruction import reconstruct
from ptycho_torch.refine.held_out import judge
from ptycho_torch.workflows.jobs.judging import said_of
from ptycho_torch.workflows.jobs.preparation import PreparedTraining
from ptycho_torch.workflows.runs.leaving import Leaving

__all__ = [
    "TRAINING_PICTURES",
    "VERDICT",
    "PatchSample",
    "groups_to_draw",
    "sample_patches",
    "verdict_left_in",
    "write_training_pictures",
]

_CURVES, _PATCHES = "training.png", "patches.png"
TRAINING_PICTURES = (_CURVES, _PATCHES, REPORT_NAME)
VERDICT = "verdict.json"
_SAMPLES = 4
_DRAWN_PATCHES = 2048


@dataclass(frozen=True, kw_only=True)
class PatchSample:
    """A few frames, what a model predicts for them, and the patches it solved.

    Attributes
    ----------
    frames
        int64, ``(n,)``: their numbers in the scan.
    measured, predicted
        Float32, ``(n, N, N)``: counts.
    patches
        Complex64, ``(n, N, N)``.
    """

    frames: np.ndarray
    measured: np.ndarray = field(repr=False)
    predicted: np.ndarray = field(repr=False)
    patches: np.ndarray = field(repr=False)


@torch.no_grad()
def sample_patches(model: PatchModel, data: GroupDataset, count: int = _SAMPLES) -> PatchSample:
    """Predict frames spread evenly over a data set; of a group, its first frame.

    Parameters
    ----------
    model
        Trained model, on the device to use; it is left in the mode it was in.
    data
        Groups, at least one.
    count
        How many frames at most.
    """
    rows = np.unique(np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(np.int64))
    batch = data.__getitems__([int(row) for row in rows])
    device = model.intensity_scale.device
    was_training = model.training
    model.eval()
    try:
        patches = model(batch["counts"].to(device), batch["offsets"].to(device))[:, 0]
    finally:
        model.train(was_training)
    return PatchSample(
        frames=batch["frame"][:, 0].numpy(),
        measured=batch["counts"][:, 0].numpy(),
        predicted=model.predict_counts(patches).cpu().numpy(),
        patches=patches.cpu().numpy(),
    )


def groups_to_draw(scan: Scan, n_channels: int, n_patches: int | None) -> Groups:
    """Groups to stitch for a picture: those nearest to the middle, where neighbours leave no holes.

    Parameters
    ----------
    scan
        Its positions are used.
    n_channels
        Frames per group.
    n_patches
        The groups hold at most that many, but there is at least one; None: one group around every frame.
    """
    groups = covering_groups(scan.positions, n_channels, scan_index=scan.scan_index)
    if n_patches is None or n_patches >= groups.frames.size:
        return groups
    middle = (groups.centres.min(axis=0) + groups.centres.max(axis=0)) / 2
    order = np.argsort(((groups.centres - middle) ** 2).sum(axis=1), kind="stable")
    rows = np.sort(order[: max(1, n_patches // groups.n_channels)])
    return Groups(
        frames=groups.frames[rows],
        seeds=groups.seeds[rows],
        centres=groups.centres[rows],
        offsets=groups.offsets[rows],
    )


def write_training_pictures(
    leaving: Leaving,
    config: TrainingConfig,
    sources: Sequence[ScanSource],
    prepared: PreparedTraining,
    rows: Sequence[Mapping[str, float]],
    progress: Progress | None = None,
) -> Verdict | None:
    """Write curves with the object, what it is worth, sample patches, and ``report.html``.

    Parameters
    ----------
    leaving
        Receives the files; its folder holds ``resolved_config.json``.
    config
        Settings of the run.
    sources
        Where the training scans came from.
    prepared
        Data and the trained model.
    rows
        Metrics of every epoch.
    progress
        Called with groups predicted and groups in all, to draw the object.

    Returns
    -------
    Verdict or None
        On the object that is drawn; None where it could not be made.
    """
    shown = prepared.shown
    model = prepared.model.on(shown.data.scan)
    # Drawing must not take longer than learning did, however large the scan.
    groups = groups_to_draw(shown.scan, model.n_channels, _DRAWN_PATCHES)
    verdict = None
    with leaving.file(_CURVES) as path:
        batch_size = config.batch_size
        result = reconstruct(model, shown.scan, groups=groups, batch_size=batch_size, progress=progress)
        save_training_figure(path, _curves(rows), result.object, result.weight)
    if _CURVES not in leaving.failures:
        with leaving.file(VERDICT) as path:
            drawn = shown.scan.take(np.unique(groups.frames))
            verdict = judge(drawn, result, model.probe.detach().numpy(), config=RefineConfig())
            with atomic_write(path, "w") as stream:
                json.dump(verdict.to_dict(), stream, indent=2)
    with leaving.file(_PATCHES) as path:
        _draw_patches(path, model, shown.data)
    n_drawn = len(groups.frames)
    captions = {
        _CURVES: "Loss over the epochs, and the object stitched from "
        + ("all frames" if n_drawn == shown.scan.n_frames else f"the {n_drawn} frames in the middle"),
        _PATCHES: f"Frames {'that were set aside' if len(prepared.validation) else 'of the training'}: "
        "measured and predicted diffraction, and the patch",
    }
    with leaving.file(REPORT_NAME):
        write_html_report(
            leaving.folder,
            title=f"Training on {', '.join(name_of(source) for source in sources)}",
            facts=[*_facts(prepared, config, sources, rows), *said_of(verdict)],
            pictures=[Picture(name=name, caption=caption) for name, caption in captions.items()],
        )
    return verdict


def verdict_left_in(folder: Path) -> Verdict | None:
    """The verdict that a training has left; None: there is none."""
    path = folder / VERDICT
    return Verdict.from_dict(json.loads(path.read_text())) if path.is_file() else None


def _curves(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    logged = set().union(*rows)
    names = [name for name in ("train_loss", "val_loss") if name in logged]
    curves: dict[str, list[float]] = {name: [row.get(name, math.nan) for row in rows] for name in names}
    return {**curves, "epoch": [row["epoch"] + 1 for row in rows]}


def _draw_patches(path: Path, model: PatchModel, data: GroupDataset) -> None:
    sample = sample_patches(model, data)
    save_patch_figure(
        path,
        sample.measured,
        sample.predicted,
        sample.patches,
        illumination=illumination(model.probe.detach()).cpu().numpy(),
        measured_pixels=model.measured.cpu().numpy(),
        frames=sample.frames.tolist(),
    )


def _facts(
    prepared: PreparedTraining,
    config: TrainingConfig,
    sources: Sequence[ScanSource],
    rows: Sequence[Mapping[str, float]],
) -> list[tuple[str, str]]:
    model, network = prepared.model, config.model
    name = "val_loss" if any("val_loss" in row for row in rows) else "train_loss"
    best = min((row for row in rows if name in row), key=lambda row: row[name])
    facts = []
    for number, (scan, source) in enumerate(zip(prepared.scans, sources, strict=True)):
        counts = f"{float(model.on(number).mean_counts):.4g} counts per frame"
        facts.append((name_of(source), f"{scan.n_frames} frames of {scan.N} × {scan.N} px, {counts}"))
    facts += [
        ("groups", f"{len(prepared.train)} to train on, {len(prepared.validation)} to validate on"),
        ("network", f"{network.architecture}, {sum(p.numel() for p in model.parameters()):,} parameters"),
        ("epochs", f"{len(rows)} of {config.nepochs}"),
        (f"lowest {name}", f"{best[name]:.6g} in epoch {best['epoch'] + 1:.0f}"),
    ]
    if "val_residual" in best:
        facts.append(("forward residual in that epoch", f"{best['val_residual']:.4f}"))
    return facts
