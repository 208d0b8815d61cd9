"""From two feature maps to a complex object: by amplitude and phase, or by real and imaginary part.

Features of zero give the object one everywhere. A network whose last layer starts at zero
therefore starts from the fully transmitting object, which the gauge makes the best constant guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.models.registry import GeneratorSpec
from ptycho_torch.types import ComplexPatches

__all__ = [
    "AMPLITUDE_ACTIVATIONS",
    "OBJECT_HEADS",
    "ObjectHead",
    "amplitude_activation",
    "object_head",
    "to_object",
    "zero_init",
]

ObjectHead: TypeAlias = Callable[[Tensor, Tensor], ComplexPatches]

_SILU_AT_ONE = 1.2784645427610738  # silu(_SILU_AT_ONE) = 1
_SOFTPLUS_AT_ONE = math.log(math.e - 1)  # softplus(_SOFTPLUS_AT_ONE) = 1


def _sigmoid(x: Tensor) -> Tensor:
    return 2 * torch.sigmoid(x)


def _silu(x: Tensor) -> Tensor:
    return F.silu(x + _SILU_AT_ONE)


def _softplus(x: Tensor) -> Tensor:
    return F.softplus(x + _SOFTPLUS_AT_ONE)


def _relu(x: Tensor) -> Tensor:
    return F.relu(x + 1)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": _sigmoid,
    "swish": _silu,
    "silu": _silu,
    "softplus": _softplus,
    "relu": _relu,
}

AMPLITUDE_ACTIVATIONS: tuple[str, ...] = tuple(_ACTIVATIONS)
OBJECT_HEADS: tuple[str, ...] = ("amplitude_phase", "real_imaginary")


def amplitude_activation(name: str) -> Callable[[Tensor], Tensor]:
    """Activation that turns a feature map into an amplitude.

    ============ =====================================================================
    name         amplitude of feature x
    ============ =====================================================================
    sigmoid      ``2 sigmoid(x)``, bounded to (0, 2)
    softplus     ``softplus(x + log(e - 1))``, positive, unbounded
    relu         ``max(0, x + 1)``, zero or more, unbounded
    swish, silu  ``silu(x + 1.278)``, unbounded; down to -0.28, a sign flip of the object
    ============ =====================================================================

    Raises
    ------
    ConfigError
        If the name is unknown.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(Problem("amp_activation", name, f"one of {', '.join(_ACTIVATIONS)}"))
    return _ACTIVATIONS[name]


def object_head(spec: GeneratorSpec, *, bounded_phase: bool = False) -> ObjectHead:
    r"""Function that makes an object of the last two feature maps :math:`a, b` of a network.

    ================ ==========================================================================
    name             object
    ================ ==========================================================================
    amplitude_phase  :math:`g(a)\, e^{ib}` with the amplitude activation :math:`g`
    real_imaginary   :math:`(1 + a) + i b`, unbounded; a phase wraps without a jump, and the
                     amplitude activation has no part in it
    ================ ==========================================================================

    Parameters
    ----------
    spec
        Names the head and the amplitude activation.
    bounded_phase
        Take :math:`\pi \tanh b` for the phase; real and imaginary part are never bounded.

    Returns
    -------
    callable
        Takes two real tensors of one shape and returns a complex one of that shape.

    Raises
    ------
    ConfigError
        If the head or the activation is unknown.
    """
    activation = amplitude_activation(spec.amp_activation)
    if spec.object_head not in OBJECT_HEADS:
        raise ConfigError(Problem("object_head", spec.object_head, f"one of {', '.join(OBJECT_HEADS)}"))
    if spec.object_head == "real_imaginary":
        return _from_parts
    # No function of this one: a model is sent to the processes that are spawned to work on it.
    return partial(_from_polar, activation=activation, bounded_phase=bounded_phase)


def _from_polar(
    first: Tensor, second: Tensor, *, activation: Callable[[Tensor], Tensor], bounded_phase: bool
) -> ComplexPatches:
    return to_object(activation(first), math.pi * torch.tanh(second) if bounded_phase else second)


def _from_parts(real: Tensor, imaginary: Tensor) -> ComplexPatches:
    return torch.complex(1 + real, imaginary)


def to_object(amplitude: Tensor, phase: Tensor) -> ComplexPatches:
    """Complex object from amplitude and phase in radians, real tensors of one shape.

    Written with sine and cosine because :func:`torch.polar` has no gradient for a negative
    amplitude, which the silu head can give.
    """
    return torch.complex(amplitude * torch.cos(phase), amplitude * torch.sin(phase))


def zero_init(layer: nn.Conv2d) -> nn.Conv2d:
    """Set weights and bias of a convolution to zero and return it."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
