"""What a program calls: train, reconstruct, evaluate."""

from ptycho_torch.workflows.inference import EvaluationOutcome, InferenceOutcome, evaluate, infer
from ptycho_torch.workflows.reconstruction import forward_residual_of, reconstruct
from ptycho_torch.workflows.training import (
    TrainingFailed,
    TrainingInterrupted,
    TrainingOutcome,
    train,
)

__all__ = [
    "EvaluationOutcome",
    "InferenceOutcome",
    "TrainingFailed",
    "TrainingInterrupted",
    "TrainingOutcome",
    "evaluate",
    "forward_residual_of",
    "infer",
    "reconstruct",
    "train",
]
