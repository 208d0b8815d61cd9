"""Notices a network that has settled on an image with nothing in it.

A flat object explains most of the light of a weakly scattering sample, so a loss can fall while
nothing is learned. Two numbers tell: how much of what sets the frames apart from those of a flat
object the prediction explains, and how many channels of the network still answer to their input.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ptycho_torch.data.groups.dataset import Batch
from ptycho_torch.lightning.module import PtychoModule
from ptycho_torch.models.patch_model import PatchModel
from ptycho_torch.reassembly import Team

__all__ = ["COLLAPSE_METRICS", "CollapseGuard", "dead_fraction"]

COLLAPSE_METRICS = ("val_std_ratio", "val_dead_fraction")
"""Metrics that the guard logs."""

_LOWEST_RATIO = 0.1
# A number in every state: a checkpoint whose number is none is a damaged one.
_NOT_LOW = -1
_PATIENCE = 5
# A channel whose values differ by less than rounding answers to nothing.
_CONSTANT = 1e-6
_RECTIFIERS: frozenset[Callable[..., Any]] = frozenset(
    {F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.gelu, F.silu, F.mish, F.softplus, torch.relu}
)


class _Watch(TorchFunctionMode):
    """Counts the channels of every rectified feature map, called as a function or as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.dead = 0
        self.channels = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        value = func(*args, **(kwargs or {}))
        if func in _RECTIFIERS and value.ndim > 1:
            maps = value.detach().transpose(0, 1).flatten(1)
            spread = maps.amax(dim=1) - maps.amin(dim=1)
            self.dead += int((spread <= _CONSTANT * maps.abs().amax(dim=1)).sum())
            self.channels += len(maps)
        return value


@torch.no_grad()
def dead_fraction(model: PatchModel, batch: Batch) -> float:
    """Share of the channels after ReLU-like activations that are the same everywhere in a batch.

    Parameters
    ----------
    model
        Any network.
    batch
        Groups to predict; at least one.

    Returns
    -------
    float
        0 to 1; NaN for a network without such activations.
    """
    with _Watch() as watch:
        model(batch["counts"], batch["offsets"])
    return watch.dead / watch.channels if watch.channels else math.nan


class _Spread:
    """Running standard deviation of many tensors, in double precision."""

    def __init__(self) -> None:
        self.count = 0
        self.total = self.squares = 0.0

    def add(self, values: Tensor) -> None:
        values = values.double()
        self.count += values.numel()
        self.total += float(values.sum())
        self.squares += float(values.square().sum())

    def joined(self, processes: Team, device: torch.device) -> _Spread:
        """Those of all processes."""
        if processes.count == 1:
            return self
        numbers = torch.tensor([self.count, self.total, self.squares], dtype=torch.float64, device=device)
        whole = _Spread()
        count, whole.total, whole.squares = processes.sum(numbers).tolist()
        whole.count = int(count)
        return whole

    def std(self) -> float:
        if self.count == 0:
            return math.nan
        return math.sqrt(max(self.squares / self.count - (self.total / self.count) ** 2, 0.0))


class CollapseGuard(Callback):
    r"""Logs signs of a collapse after every validation and says so in words, once.

    ``val_std_ratio`` is the standard deviation over the measured pixels of all validation frames of
    :math:`\sqrt\lambda - \sqrt{\lambda_{flat}}`, divided by that of
    :math:`\sqrt I - \sqrt{\lambda_{flat}}`, where :math:`\lambda_{flat}` is what the object that
    transmits everything predicts. It is 0 for a flat object and near 1 for a good prediction; photon
    noise lowers it. ``val_dead_fraction`` is :func:`dead_fraction` of the first validation batch, left
    out where it is not defined.

    Warns
    -----
    UserWarning
        Once, when the ratio has been below 0.1 for five epochs.
    """

    def __init__(self) -> None:
        self._begin()
        # A network begins as a flat object, so the epochs before the first look were low too.
        self._low_since: int | None = 0
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        """Since which epoch the ratio is low, -1 where it is not, and whether that was said."""
        low_since = _NOT_LOW if self._low_since is None else self._low_since
        return {"low_since": low_since, "warned": self._warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as before an interruption."""
        low_since = state_dict["low_since"]
        self._low_since = None if low_since is None or low_since == _NOT_LOW else low_since
        self._warned = state_dict["warned"]

    def _begin(self) -> None:
        self._predicted, self._measured = _Spread(), _Spread()
        self._dead = math.nan

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the last validation."""
        self._begin()

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the departures of one batch from the flat object."""
        assert isinstance(pl_module, PtychoModule)
        model = pl_module.model.on(batch["scan"])
        flat = torch.ones(model.n_pixels, model.n_pixels, dtype=torch.complex64, device=pl_module.device)
        expected = model.predict_counts(flat).sqrt()
        measured = model.measured_in(batch["counts"])
        for spread, amplitude in (
            (self._predicted, outputs["amplitude"]),
            # A process that has no part of this batch repeats a row of another to keep in step.
            (self._measured, batch["counts"].sqrt()[: len(outputs["amplitude"])]),
        ):
            departure = amplitude - expected
            spread.add(
                departure[measured[: len(departure)].expand_as(departure)]
                if measured.ndim > 2
                else departure[..., measured]
            )
        if batch_idx == 0:
            self._dead = dead_fraction(model, batch)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log both numbers; warn if the first has been low for long."""
        processes = Team(trainer.global_rank, trainer.world_size)
        measured = self._measured.joined(processes, pl_module.device).std()
        predicted = self._predicted.joined(processes, pl_module.device).std()
        values = {
            "val_std_ratio": predicted / measured if measured > 0 else math.nan,
            # The first process alone has a part of every batch.
            "val_dead_fraction": trainer.strategy.broadcast(self._dead),
        }
        pl_module.log_dict(
            {name: value for name, value in values.items() if math.isfinite(value)}, sync_dist=True
        )
        if trainer.is_global_zero:
            self._judge(values["val_std_ratio"], values["val_dead_fraction"], trainer.current_epoch)

    def _judge(self, ratio: float, dead: float, epoch: int) -> None:
        if not ratio < _LOWEST_RATIO:
            self._low_since = None
            return
        if self._low_since is None:
            self._low_since = epoch
        if self._warned or epoch - self._low_since + 1 < _PATIENCE:
            return
        self._warned = True
        share = "" if math.isnan(dead) else f", and {dead:.0%} of its channels answer to nothing"
        warnings.warn(
            f"the network predicts a nearly flat object: after {epoch + 1} epochs it explains {ratio:.1%} of "
            f"what sets the frames apart from those of a flat one (val_std_ratio){share}; train longer, with "
            "more frames or a lower learning rate, then check positions, probe and zero frequency",
            UserWarning,
            stacklevel=2,
        )
