"""Whether what a trainer has restored from a checkpoint is of the kind that it can go on from.

Lightning takes what it reads as it is. A count that is a text, or a moment of the optimiser of another shape,
would end the training somewhere in its first epoch, with an error about something else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["require_sound_state", "states_of"]

_LOOPS = "loops"
_OURS = ("ptycho_torch.", "lightning.")
_COUNTS = ("last_epoch", "_step_count", "num_bad_epochs", "cooldown_counter")
_MOMENTS_OF_ADAM = frozenset({"step", "exp_avg", "exp_avg_sq"})
_RATES = ("base_lrs", "_last_lr")


def states_of(trainer: pl.Trainer) -> dict[str, Mapping[str, Any]]:
    """Counts of the loops, and the state of every callback of this package and of Lightning, by its key."""
    # The trainer has this list and does not declare it.
    callbacks: list[Callback] = getattr(trainer, "callbacks")  # noqa: B009
    ours = [callback for callback in callbacks if type(callback).__module__.startswith(_OURS)]
    return {_LOOPS: trainer.fit_loop.state_dict()} | {each.state_key: each.state_dict() for each in ours}


def require_sound_state(trainer: pl.Trainer, fresh: Mapping[str, Mapping[str, Any]]) -> None:
    """Look at everything that was restored.

    Parameters
    ----------
    trainer
        About to train.
    fresh
        From `states_of`, before anything was restored.

    Raises
    ------
    ValueError
        If something is of another kind than it has to be.
    """
    for key, state in states_of(trainer).items():
        _require_alike(state, fresh[key], key)
    _require_counts(trainer.fit_loop.state_dict(), _LOOPS)
    for optimizer in trainer.optimizers:
        _require_groups(optimizer)
        _require_moments(optimizer)
    for config in trainer.lr_scheduler_configs:
        _require_schedule(config.scheduler.state_dict())


def _wrong(name: str, value: object) -> ValueError:
    return ValueError(f"{name} is {str(value)[:40]!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _require_counts(value: Any, name: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _require_counts(item, f"{name}.{key}")
    elif not isinstance(value, int) or value < 0:
        raise _wrong(name, value)


def _require_alike(value: Any, before: Any, name: str) -> None:
    """Numbers stay numbers, tensors tensors of one shape; what was nothing may become anything."""
    if isinstance(before, Tensor):
        if not isinstance(value, Tensor) or (before.ndim == 0 and value.ndim):
            raise _wrong(name, value)
    elif isinstance(before, int | float):
        if not isinstance(value, int | float):
            raise _wrong(name, value)
    elif isinstance(before, str) and not isinstance(value, str):
        raise _wrong(name, value)
    elif isinstance(before, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(name, value)
        for key in before:
            _require_alike(value.get(key), before[key], f"{name}.{key}")


def _require_groups(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for name, usual in optimizer.defaults.items():
            value: Any = group.get(name)
            parts = zip(value, usual, strict=True) if isinstance(usual, tuple) else ((value, usual),)
            for part, other in parts:
                if isinstance(other, int | float) and not _is_number(part):
                    raise _wrong(f"the {name} of the optimizer", value)


def _require_moments(optimizer: Optimizer) -> None:
    needed = _MOMENTS_OF_ADAM if "betas" in optimizer.defaults else frozenset()
    for parameter, moments in optimizer.state.items():
        if moments and not needed <= set(moments):
            raise _wrong("what the optimizer knows of a weight", sorted(map(str, moments)))
        for name, value in moments.items():
            fits = isinstance(value, Tensor) and value.shape in (parameter.shape, ())
            if value is not None and not fits:
                raise _wrong(f"{name} of the optimizer", value)


def _require_schedule(state: Mapping[str, Any]) -> None:
    for name in _COUNTS:
        if name in state and not _is_number(state[name]):
            raise _wrong(f"{name} of the schedule", state[name])
    for name in _RATES:
        rates = state.get(name, [])
        if not isinstance(rates, list) or not all(_is_number(rate) for rate in rates):
            raise _wrong(f"{name} of the schedule", rates)
