"""From feature maps to amplitude and phase.

Every activation is shifted so that an input of zero gives an amplitude of one. A network whose
last layer starts at zero therefore starts from the fully transmitting object, which the gauge
makes the best constant guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ptycho_config.errors import ConfigError, Problem
from ptycho_torch.types import ComplexPatches

__all__ = ["AMPLITUDE_ACTIVATIONS", "amplitude_activation", "to_object", "zero_init"]

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
