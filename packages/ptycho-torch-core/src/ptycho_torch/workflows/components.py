"""One call each for programs that embed this package: train, train and reconstruct, load, save.

Names and return values are those that programs written for PtychoPINN know. Settings go through the
factories of :mod:`ptycho_torch.config_factory`, runs through :func:`~ptycho_torch.workflows.train` and
:func:`~ptycho_torch.workflows.reconstruct`; nothing is decided here that they do not decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_config import (
    ConfigError,
    ModelConfig,
    Problem,
    PyTorchExecutionConfig,
    RefineConfig,
    TrainingConfig,
    dataclass_to_legacy_dict,
    from_dict,
)
from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory import populate_legacy_params
from ptycho_torch.config_factory.training import TrainingTask
from ptycho_torch.control import Progress, ShouldStop
from ptycho_torch.data.groups.grouping import covering_groups
from ptycho_torch.data.inputs import files_read
from ptycho_torch.data.limits import larger_arrays
from ptycho_torch.data.reading import read_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.scan.memory import ScanSource
from ptycho_torch.errors import BundleError, ShapeError, fault
from ptycho_torch.models import PatchModel
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.held_out import judge
from ptycho_torch.workflows.calls import ScanLike, payload_of, placed
from ptycho_torch.workflows.jobs.judging import warn_of
from ptycho_torch.workflows.jobs.training import TrainingOutcome, train
from ptycho_torch.workflows.processes.device import numerics, resolve_accelerator
from ptycho_torch.workflows.processes.spreading import ReconstructionTask, reconstruct_in_processes
from ptycho_torch.workflows.runs.directory import RunDirectory
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.saving import (
    ARRAYS,
    RECONSTRUCTION_FILES,
    Reconstructed,
    announce_product,
    compare_with_truth,
    write_results,
)

__all__ = [
    "MODEL_NAME",
    "load_inference_bundle_torch",
    "run_cdi_example_torch",
    "save_outputs",
    "train_cdi_model_torch",
]

MODEL_NAME = "diffraction_to_obj"
"""Name of the model that turns frames into object patches."""


def run_cdi_example_torch(
    train_data: ScanLike | None,
    test_data: ScanLike | None,
    config: TrainingConfig,
    flip_x: bool = False,
    flip_y: bool = False,
    transpose: bool = False,
    M: int | None = None,
    do_stitching: bool = False,
    execution_config: PyTorchExecutionConfig | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    should_stop: ShouldStop | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> tuple[np.ndarray | None, np.ndarray | None, dict[str, Any]]:
    """Train on one scan and, if asked to, reconstruct another with the best weights.

    Parameters
    ----------
    train_data, test_data, config, execution_config, overrides, callbacks, overwrite, resume
        As in :func:`train_cdi_model_torch`.
    flip_x, flip_y, transpose
        Positions run the other way along x or y than those of the file; rows and columns of the frames are
        swapped. The settings ``orientation.flip_x``, ``flip_y`` and ``transpose_frames``.
    M
        Side in px of the middle of each patch that is used; None uses all of it. The setting ``middle_trim``.
    do_stitching
        Reconstruct the test data, of which every frame is used. Without it nothing is reconstructed.
    should_stop
        Asked after every batch of both; its first true answer ends the run.
    progress
        Called with batches done and batches in all while training, then with groups done and groups in all
        while reconstructing.

    Returns
    -------
    amplitude, phase : ndarray or None
        Float32, ``(height, width)``, phase in rad: the stitched object; None without ``do_stitching``.
    results : dict
        As :func:`train_cdi_model_torch`; with ``do_stitching`` also ``recon_amp`` and ``recon_phase`` (the
        two arrays), ``reconstruction`` (object, weight, origin), ``probe``, ``scan`` (what was
        reconstructed), ``report`` (scores, if the scan holds a known object), ``forward_residual`` and
        ``verdict`` (whether the object explains frames better than an empty one).

    Raises
    ------
    ConfigError
        As :func:`train_cdi_model_torch`, and if ``do_stitching`` is asked for without test data.
    RunCancelled
        When ``should_stop`` said so. A training that was complete is kept.
    """
    place = placed(flip_x=flip_x, flip_y=flip_y, transpose=transpose, middle=M)
    payload = payload_of(train_data, test_data, config, execution_config, {**place, **(overrides or {})})
    source = _only_scan(payload.test_data) if do_stitching else None
    outcome = train(
        payload,
        callbacks=callbacks,
        should_stop=should_stop,
        progress=progress,
        overwrite=overwrite,
        resume=resume,
    )
    results = _results_of(outcome) | {"payload": payload}
    if source is None:
        return None, None, results
    results |= _reconstructed(outcome.model, source, payload.task, should_stop=should_stop, progress=progress)
    return results["recon_amp"], results["recon_phase"], results


def train_cdi_model_torch(
    train_data: ScanLike | None,
    test_data: ScanLike | None,
    config: TrainingConfig,
    execution_config: PyTorchExecutionConfig | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    should_stop: ShouldStop | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> dict[str, Any]:
    """Train a model and save it as a bundle in ``config.output_dir``.

    Parameters
    ----------
    train_data
        Scan to learn from: a path, a :class:`~ptycho_torch.data.Scan`, arrays by their names in the data
        contract, or an object that has these as attributes, such as a ``RawData``. It takes the place
        of ``config.train_data_file``; None uses that.
    test_data
        Scan to validate on, in the same forms and with ``config.test_data_file`` likewise. None where the
        configuration has none either: a part of the training data is set aside.
    config
        Of it, what was stated counts; the rest is filled from the data and the defaults.
    execution_config
        Where and how it runs.
    overrides
        Settings by name, or by section and name, which outrank both.
    callbacks
        Further Lightning callbacks.
    should_stop
        Asked after every batch; its first true answer ends the training.
    progress
        Called with batches done and batches of all epochs.
    overwrite
        Replace the results of an older run in the same directory once this one is complete.
    resume
        Continue a training of the same settings and data that was cancelled, interrupted or killed.

    Returns
    -------
    dict
        ``backend`` (``"pytorch"``), ``models`` (:data:`MODEL_NAME` to the model with its best weights),
        ``history`` (metric to its value in every epoch, NaN where it was not measured), ``metrics`` (last
        value of each), ``bundle_path``, ``best_checkpoint``, ``output_dir``, ``files``, ``training_verdict``
        (whether what the model draws explains frames better than an empty object) and ``payload``.

    Raises
    ------
    FileNotFoundError, ConfigError, DataError
        Before anything is written, as :func:`ptycho_torch.config_factory.create_training_payload` and
        :func:`ptycho_torch.workflows.train`.
    TrainingFailed, TrainingInterrupted
        As :func:`ptycho_torch.workflows.train`.
    RunCancelled
        When ``should_stop`` said so; it names the last checkpoint.
    """
    payload = payload_of(train_data, test_data, config, execution_config, overrides)
    outcome = train(
        payload,
        callbacks=callbacks,
        should_stop=should_stop,
        progress=progress,
        overwrite=overwrite,
        resume=resume,
    )
    return _results_of(outcome) | {"payload": payload}


def load_inference_bundle_torch(
    bundle_dir: str | PathLike[str], model_name: str = MODEL_NAME, *, device: torch.device | str = "cpu"
) -> tuple[dict[str, torch.nn.Module], dict[str, Any]]:
    """Load a trained model and the configuration it was trained with.

    The legacy dictionary ``ptycho_config.params.cfg`` is filled with that configuration.

    Parameters
    ----------
    bundle_dir
        Output directory of a training, the bundle file, or the directory it was extracted to.
    model_name
        Which model is wanted; a bundle holds :data:`MODEL_NAME`.
    device
        Where the model goes.

    Returns
    -------
    models : dict
        Name to model, in evaluation mode; pass it to :func:`ptycho_torch.workflows.reconstruct`.
    config : dict
        Settings of model and training under their legacy names, such as ``N``, ``gridsize``, ``nphotons``.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    BundleError
        If there is no sound bundle.
    ConfigError
        For another model name.
    """
    if model_name != MODEL_NAME:
        hint = "the network is chosen when a model is trained, with the setting architecture"
        raise ConfigError(Problem("model_name", model_name, repr(MODEL_NAME), hint))
    model, manifest = load_bundle(bundle_dir, device=device)
    try:
        network = from_dict(ModelConfig, manifest.configuration["model"])
        config = from_dict(TrainingConfig, {**manifest.configuration.get("training", {}), "model": network})
    except ConfigError as error:
        raise BundleError(
            fault("manifest.json", f"training settings cannot be used: {error}"), bundle_dir
        ) from error
    populate_legacy_params(config)
    return {MODEL_NAME: model}, dataclass_to_legacy_dict(config)


def save_outputs(
    amplitude: np.ndarray | None,
    phase: np.ndarray | None,
    results: Mapping[str, Any],
    output_dir: str | PathLike[str],
    *,
    pictures: bool = True,
    overwrite: bool = False,
) -> tuple[Path, ...]:
    """Write what :func:`run_cdi_example_torch` reconstructed: arrays, pictures, product and scores.

    The files are those of :func:`ptycho_torch.workflows.infer`, but for ``resolved_config.json``, which the
    training has written. The directory may be that of the training.

    Parameters
    ----------
    amplitude, phase
        Real, ``(height, width)``, phase in rad. The object that is saved is made of them.
    results
        From :func:`run_cdi_example_torch`.
    output_dir
        Where to write; created if need be.
    pictures
        Whether pictures are drawn.
    overwrite
        Replace older results there once these are complete.

    Returns
    -------
    tuple of Path
        The files.

    Raises
    ------
    ConfigError
        If nothing was reconstructed, the directory holds other results, or a file would go over a scan.
    ShapeError
        If the arrays have another shape than what was reconstructed.
    ResultsIncomplete
        If a file could not be written; all others have been. Without ``reconstruction.npz`` no older result
        is replaced.
    """
    stitched = results.get("reconstruction")
    if amplitude is None or phase is None or not isinstance(stitched, StitchedObject):
        hint = "call run_cdi_example_torch with do_stitching=True and test data"
        raise ConfigError(Problem("results", None, "the results of a run that reconstructed a scan", hint))
    for name, values in (("amplitude", amplitude), ("phase", phase)):
        if np.shape(values) != stitched.object.shape:
            raise ShapeError(name, stitched.object.shape, np.shape(values))
    kept = StitchedObject(
        object=(amplitude * np.exp(1j * np.asarray(phase))).astype(np.complex64),
        weight=stitched.weight,
        origin=stitched.origin,
    )
    made = Reconstructed(
        object=kept,
        probe=results["probe"],
        frames=results["scan"],
        residual=results["forward_residual"],
        report=results["report"],
        verdict=results["verdict"],
        settings=results["payload"].resolution,
    )
    task = results["payload"].task
    scans = (results["scan"], *task.train_data, *(task.test_data or ()))
    read = files_read(scans, task.config.reader, task.parts)
    run = RunDirectory.check(
        Path(output_dir), "infer", RECONSTRUCTION_FILES, overwrite=overwrite, inputs=read
    )
    with run.at_work() as work:
        leaving = Leaving(work)
        write_results(leaving, made, pictures=pictures)
        leaving.require(ARRAYS)
        files = run.publish()
    leaving.require_all(run.path, files)
    return files


def _only_scan(test_data: Sequence[ScanSource] | None) -> ScanSource:
    """The scan to reconstruct after a training."""
    if test_data is None:
        hint = "give the scan to reconstruct, which may be the training scan"
        raise ConfigError(Problem("test_data", None, "a scan, because do_stitching is on", hint))
    if len(test_data) > 1:
        hint = "reconstruct the others with load_inference_bundle_torch and reconstruct"
        raise ConfigError(Problem("test_data", f"{len(test_data)} scans", "one scan to reconstruct", hint))
    return test_data[0]


def _results_of(outcome: TrainingOutcome) -> dict[str, Any]:
    names = dict.fromkeys(name for row in outcome.history for name in row)
    return {
        "backend": "pytorch",
        "models": {MODEL_NAME: outcome.model},
        "history": {name: [row.get(name, float("nan")) for row in outcome.history] for name in names},
        "metrics": dict(outcome.metrics),
        "bundle_path": outcome.bundle,
        "best_checkpoint": outcome.best_checkpoint,
        "output_dir": outcome.output_dir,
        "files": outcome.files,
        "training_verdict": outcome.verdict,
    }


def _reconstructed(
    trained: PatchModel,
    source: ScanSource,
    task: TrainingTask,
    *,
    should_stop: ShouldStop | None,
    progress: Progress | None,
) -> dict[str, Any]:
    config, execution = task.config, task.execution
    with larger_arrays(execution.largest_array_gib):
        scan: Scan = read_scan(
            source,
            n_pixels=config.model.N,
            measurement_domain=config.measurement_domain,
            nphotons=config.nphotons,
            reader=config.reader,
            orientation=task.orientation,
            parts=task.parts,
            clean=config.clean,
            strict=config.strict,
        )
    announce_product(scan)
    device = resolve_accelerator(execution.accelerator)
    model = trained.to(device).eval()
    try:
        work = ReconstructionTask.asked_for(
            model,
            scan,
            covering_groups(scan.positions, model.n_channels, scan_index=scan.scan_index),
            execution,
            batch_size=config.batch_size,
            progress=progress,
            should_stop=should_stop,
        )
        probe = work.model.probe.detach().cpu().numpy()
        with numerics():
            result, residual, _ = reconstruct_in_processes(work, execution, device)
    finally:
        model.cpu()
    verdict = judge(scan, result, probe, config=RefineConfig())
    warn_of(verdict)
    return {
        "recon_amp": np.abs(result.object),
        "recon_phase": np.angle(result.object),
        "reconstruction": result,
        "probe": probe,
        "scan": scan,
        "report": compare_with_truth(result, scan, probe),
        "forward_residual": residual,
        "verdict": verdict,
    }
