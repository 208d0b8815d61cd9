"""What network is trained, and through which physics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ptycho_config.base import Config, config_class
from ptycho_config.fields import setting
from ptycho_config.validation import MODEL_RULES, Rule

__all__ = ["ModelConfig"]

_NET = "Network"
_PHYSICS = "Probe and object"


@config_class
@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """Identity of a model: two models with equal settings have interchangeable weights.

    Examples
    --------
    >>> ModelConfig(N=128).gridsize
    1
    """

    rules: ClassVar[tuple[Rule, ...]] = MODEL_RULES

    N: int = setting(
        64,
        help="side of a diffraction pattern and of an object patch",
        unit="px",
        ge=32,
        multiple_of=16,
        group=_NET,
    )
    gridsize: int = setting(
        1, help="g: groups of g x g overlapping patches are solved together", ge=1, group=_NET
    )
    n_filters_scale: int = setting(2, help="width multiplier of the network", ge=1, group=_NET)
    model_type: str = setting(
        "pinn",
        help="pinn learns through the physics and needs no labels; supervised learns from labels in the data",
        choices=("pinn", "supervised"),
        group=_NET,
    )
    architecture: str = setting("unrolled", help="name of the network in the generator registry", group=_NET)
    object_head: str = setting(
        "amplitude_phase",
        help="what the network draws of an object: amplitude and phase, or real and imaginary part",
        choices=("amplitude_phase", "real_imaginary"),
        group=_NET,
    )
    amp_activation: str = setting(
        "sigmoid",
        help="activation at the end of the amplitude branch; a head of real and imaginary part has none",
        choices=("sigmoid", "swish", "silu", "softplus", "relu"),
        group=_NET,
    )
    object_big: bool = setting(
        True, help="solve all patches of a group and merge them; off: one patch per pattern", group=_PHYSICS
    )
    probe_big: bool = setting(True, help="decode the outer border of the patch too", group=_PHYSICS)
    probe_mask: bool = setting(False, help="restrict the probe to a circular support", group=_PHYSICS)
    probe_mask_sigma: float = setting(
        1.0, help="width of the soft edge of the support", unit="px", ge=0, group=_PHYSICS
    )
    probe_mask_diameter: float | None = setting(
        None, help="diameter of the support; none means N/2", unit="px", gt=0, group=_PHYSICS
    )
    pad_object: bool = setting(True, help="pad decoded patches to the full size of the frame", group=_PHYSICS)
    probe_scale: float = setting(4.0, help="normalisation constant of the probe", gt=0, group=_PHYSICS)
    gaussian_smoothing_sigma: float = setting(
        0.0,
        help="width of the Gaussian that smooths the illuminated field; 0 is off",
        unit="px",
        ge=0,
        group=_PHYSICS,
    )
