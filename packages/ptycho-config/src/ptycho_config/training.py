"""What is learned, from which data, towards which loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ptycho_config.base import Config, config_class
from ptycho_config.fields import nested, setting
from ptycho_config.model import ModelConfig
from ptycho_config.validation import TRAINING_RULES, Rule

__all__ = ["TrainingConfig"]

_DATA = "Data"
_LOSS = "Loss"
_OPTIM = "Optimiser and schedule"


@config_class
@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """One training: model, data, loss and schedule.

    ``n_images`` is taken as the older spelling of ``n_groups``, with a ``DeprecationWarning``.

    Examples
    --------
    >>> TrainingConfig(train_data_file="scan.npz", nepochs=10).train_data_file.name
    'scan.npz'
    """

    rules: ClassVar[tuple[Rule, ...]] = TRAINING_RULES
    deprecated: ClassVar[Mapping[str, str]] = {"n_images": "n_groups"}

    model: ModelConfig = nested(ModelConfig, help="the network to train")

    train_data_file: Path | tuple[Path, ...] | None = setting(
        None,
        help="scan to learn from: a file, several, or a folder of them",
        cli=("--train-data", "--train_data_file"),
        group=_DATA,
    )
    test_data_file: Path | tuple[Path, ...] | None = setting(
        None,
        help="scan to validate on, in the same forms; none sets a part of the training data aside",
        cli=("--test-data", "--test_data_file", "--test_data"),
        group=_DATA,
    )
    batch_size: int = setting(16, help="groups per optimiser step", ge=1, cli=("--batch_size",), group=_OPTIM)
    nepochs: int = setting(
        50, help="passes over the training data", ge=1, cli=("--max-epochs", "--max_epochs"), group=_OPTIM
    )
    mae_weight: float = setting(
        0.0, help="weight of the mean absolute error of the amplitudes", ge=0, group=_LOSS
    )
    nll_weight: float = setting(1.0, help="weight of the Poisson negative log-likelihood", ge=0, group=_LOSS)
    realspace_mae_weight: float = setting(
        0.0, help="weight of the mean absolute error to labelled patches", ge=0, group=_LOSS
    )
    realspace_weight: float = setting(
        0.0, help="weight of the total variation of the object", ge=0, group=_LOSS
    )
    nphotons: float = setting(1e9, help="photons per diffraction pattern", unit="photons", gt=0, group=_DATA)
    measurement_domain: str = setting(
        "auto",
        help="what the frames hold: amplitude, counts, or auto to decide from the data",
        choices=("auto", "amplitude", "counts"),
        group=_DATA,
    )
    n_groups: int | None = setting(
        512,
        help="groups to train on; none means as many as the data allows",
        ge=1,
        cli=("--n-images", "--n_images"),
        group=_DATA,
    )
    n_subsample: int | None = setting(
        None, help="frames to draw from the scan before grouping; none means all", ge=1, group=_DATA
    )
    subsample_seed: int | None = setting(None, help="seed of that draw; none means seed", ge=0, group=_DATA)
    neighbor_count: int = setting(
        4, help="K: nearest neighbours from which groups are formed", ge=1, group=_DATA
    )
    enable_oversampling: bool = setting(
        False, help="let several groups start from the same frame", group=_DATA
    )
    neighbor_pool_size: int | None = setting(
        None, help="neighbours to choose group members from; none means neighbor_count", ge=1, group=_DATA
    )
    positions_provided: bool = setting(True, help="use the scan positions of the data file", group=_DATA)
    probe_trainable: bool = setting(False, help="refine the probe during training", group=_LOSS)
    probe_learning_rate: float = setting(1e-2, help="learning rate of the probe", gt=0, group=_OPTIM)
    intensity_scale_trainable: bool = setting(
        True, help="refine the intensity scale during training", group=_LOSS
    )
    output_dir: Path = setting(
        Path("training_outputs"),
        help="folder for everything the run writes",
        cli=("--output_dir",),
        group=_DATA,
    )
    sequential_sampling: bool = setting(
        False, help="take frames in scan order instead of at random", group=_DATA
    )
    backend: str = setting(
        "pytorch", help="program that trains", choices=("pytorch", "tensorflow"), group=_DATA
    )
    seed: int = setting(0, help="seed of the first weights and of the batch order", ge=0, group=_OPTIM)
    torch_loss_mode: str = setting(
        "poisson", help="statistics of the diffraction loss", choices=("poisson", "mae"), group=_LOSS
    )
    optimizer: str = setting("adam", help="optimiser", choices=("adam", "adamw", "sgd"), group=_OPTIM)
    momentum: float = setting(0.9, help="momentum of sgd", ge=0, lt=1, group=_OPTIM)
    weight_decay: float = setting(0.0, help="weight decay", ge=0, group=_OPTIM)
    adam_beta1: float = setting(0.9, help="first moment decay of adam and adamw", ge=0, lt=1, group=_OPTIM)
    adam_beta2: float = setting(0.999, help="second moment decay of adam and adamw", ge=0, lt=1, group=_OPTIM)
    gradient_clip_algorithm: str = setting(
        "norm",
        help="what gradient_clip_val bounds: the norm of all gradients, every value, or, adaptive, the norm "
        "of each unit relative to its weights",
        choices=("norm", "value", "adaptive"),
        group=_OPTIM,
    )
    lr_warmup_epochs: int = setting(
        0, help="epochs over which WarmupCosine raises the learning rate", unit="epochs", ge=0, group=_OPTIM
    )
    lr_min_ratio: float = setting(
        0.1,
        help="where Exponential, MultiStage and WarmupCosine end, as a fraction of the first rate",
        ge=0,
        le=1,
        group=_OPTIM,
    )
    plateau_factor: float = setting(
        0.5, help="factor by which ReduceLROnPlateau lowers the learning rate", gt=0, lt=1, group=_OPTIM
    )
    plateau_patience: int = setting(
        2, help="epochs without improvement before it does", unit="epochs", ge=0, group=_OPTIM
    )
    plateau_min_lr: float = setting(1e-5, help="learning rate below which it does not go", ge=0, group=_OPTIM)
    plateau_threshold: float = setting(
        0.0, help="relative change that counts as an improvement", ge=0, group=_OPTIM
    )

    @property
    def n_images(self) -> int | None:
        """Older name of ``n_groups``, for code that still reads it."""
        return self.n_groups
