"""Configuration of ptychographic reconstruction: plain data, checked when it is built.

A few dataclasses hold all settings, :func:`resolve` merges layers of them with their origin on record, and
:func:`update_legacy_dict` bridges to programs that use one flat dictionary. Importing this loads only the
standard library; a YAML reader is loaded when a YAML file is read.

Examples
--------
>>> from ptycho_config import ModelConfig, TrainingConfig
>>> TrainingConfig(model=ModelConfig(N=128), nepochs=10).model.N
128
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ptycho_config.base import Config, evolve, from_dict, stated_fields, to_dict
from ptycho_config.errors import MISSING, ConfigError, Problem, suggest
from ptycho_config.execution import PyTorchExecutionConfig
from ptycho_config.fields import FieldSpec, field_specs, setting, spec_of
from ptycho_config.flags import flag_words
from ptycho_config.inference import InferenceConfig
from ptycho_config.io import load_config, to_json, to_yaml, write_resolved
from ptycho_config.keys import JOBS, LEGACY_SPELLINGS, SECTIONS, schema_of_job
from ptycho_config.legacy import KEY_MAPPINGS, dataclass_to_legacy_dict, update_legacy_dict
from ptycho_config.live import LiveConfig
from ptycho_config.model import ModelConfig
from ptycho_config.orientation import OrientationConfig
from ptycho_config.overrides import LAYERS, parse_assignments, resolve
from ptycho_config.parts import PartsConfig
from ptycho_config.profiles import Profile, get_profile, profiles
from ptycho_config.provenance import Fact, Provenance, Resolution
from ptycho_config.refine import RefineConfig, RefineDataConfig
from ptycho_config.schema import file_schema, json_schema, markdown_table
from ptycho_config.training import TrainingConfig
from ptycho_config.tune import TUNABLE, TuneConfig

if TYPE_CHECKING:
    __version__: str

__all__ = [
    "JOBS",
    "KEY_MAPPINGS",
    "LAYERS",
    "LEGACY_SPELLINGS",
    "MISSING",
    "SECTIONS",
    "TUNABLE",
    "Config",
    "ConfigError",
    "Fact",
    "FieldSpec",
    "InferenceConfig",
    "LiveConfig",
    "ModelConfig",
    "OrientationConfig",
    "PartsConfig",
    "Problem",
    "Profile",
    "Provenance",
    "PyTorchExecutionConfig",
    "RefineConfig",
    "RefineDataConfig",
    "Resolution",
    "TrainingConfig",
    "TuneConfig",
    "__version__",
    "dataclass_to_legacy_dict",
    "evolve",
    "field_specs",
    "file_schema",
    "flag_words",
    "from_dict",
    "get_profile",
    "json_schema",
    "load_config",
    "markdown_table",
    "parse_assignments",
    "profiles",
    "resolve",
    "schema_of_job",
    "setting",
    "spec_of",
    "stated_fields",
    "suggest",
    "to_dict",
    "to_json",
    "to_yaml",
    "update_legacy_dict",
    "write_resolved",
]


def __getattr__(name: str) -> str:
    # The version is looked up on demand: importlib.metadata costs more than the rest of this package.
    if name == "__version__":
        from importlib.metadata import version

        return version("ptycho-config")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
