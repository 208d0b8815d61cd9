"""Generators by name, and the model that couples one to the physics."""

from ptycho_torch.models import cnn as _cnn  # registers "cnn"
from ptycho_torch.models import fno as _fno  # registers "fno"
from ptycho_torch.models import unrolled as _unrolled  # registers "unrolled"
from ptycho_torch.models.build import build_patch_model
from ptycho_torch.models.patch_model import PatchModel
from ptycho_torch.models.registry import (
    GeneratorSpec,
    build_generator,
    generator_names,
    register_generator,
)
from ptycho_torch.models.scan_physics import ScanPhysics

__all__ = [
    "GeneratorSpec",
    "PatchModel",
    "ScanPhysics",
    "build_generator",
    "build_patch_model",
    "generator_names",
    "register_generator",
]

del _cnn, _fno, _unrolled
