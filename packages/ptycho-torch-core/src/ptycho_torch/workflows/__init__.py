"""What a program calls: train, reconstruct, refine, evaluate.

:func:`train` and :func:`infer` run payloads of the factories and leave files;
:func:`run_cdi_example_torch` and its neighbours take a configuration object and return arrays.
"""

from ptycho_torch.control import RunCancelled
from ptycho_torch.prediction.reconstruction import forward_residual_of, reconstruct
from ptycho_torch.workflows.components import (
    load_inference_bundle_torch,
    run_cdi_example_torch,
    save_outputs,
    train_cdi_model_torch,
)
from ptycho_torch.workflows.jobs.evaluation import EvaluationOutcome, evaluate
from ptycho_torch.workflows.jobs.fitting import TrainingFailed, TrainingInterrupted
from ptycho_torch.workflows.jobs.inference import InferenceOutcome, infer
from ptycho_torch.workflows.jobs.live import LiveOutcome, run_live
from ptycho_torch.workflows.jobs.live_check import check_sources
from ptycho_torch.workflows.jobs.refinement import RefinementOutcome, refine_scan
from ptycho_torch.workflows.jobs.training import TrainingOutcome, train
from ptycho_torch.workflows.jobs.tuning import TuningFailed, TuningOutcome, tune_scan
from ptycho_torch.workflows.processes.beside import ProcessDied
from ptycho_torch.workflows.runs.leaving import ResultsIncomplete

__all__ = [
    "EvaluationOutcome",
    "InferenceOutcome",
    "LiveOutcome",
    "ProcessDied",
    "RefinementOutcome",
    "ResultsIncomplete",
    "RunCancelled",
    "TrainingFailed",
    "TrainingInterrupted",
    "TrainingOutcome",
    "TuningFailed",
    "TuningOutcome",
    "check_sources",
    "evaluate",
    "forward_residual_of",
    "infer",
    "load_inference_bundle_torch",
    "reconstruct",
    "refine_scan",
    "run_cdi_example_torch",
    "run_live",
    "save_outputs",
    "train",
    "train_cdi_model_torch",
    "tune_scan",
]
