"""From files, flags and arguments to one checked configuration.

The command line, the workflows and other programs all come through here. Settings are merged by
:func:`ptycho_config.resolve`; these modules add what the data say (the frame size, the photon
count, the number of frames) and fill the legacy dictionary before any data is read.
"""

from __future__ import annotations

from ptycho_torch.bundle import BUNDLE_NAME
from ptycho_torch.config_factory.inference import InferencePayload, create_inference_payload
from ptycho_torch.config_factory.legacy import populate_legacy_params
from ptycho_torch.config_factory.live import LivePayload, create_live_payload
from ptycho_torch.config_factory.refinement import RefinementPayload, create_refinement_payload
from ptycho_torch.config_factory.training import TrainingPayload, create_training_payload
from ptycho_torch.config_factory.tuning import TuningPayload, create_tuning_payload
from ptycho_torch.data.formats.npz import infer_probe_size

__all__ = [
    "BUNDLE_NAME",
    "InferencePayload",
    "LivePayload",
    "RefinementPayload",
    "TrainingPayload",
    "TuningPayload",
    "create_inference_payload",
    "create_live_payload",
    "create_refinement_payload",
    "create_training_payload",
    "create_tuning_payload",
    "infer_probe_size",
    "populate_legacy_params",
]
