"""What is reconstructed, with which trained model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ptycho_config.base import Config, config_class
from ptycho_config.fields import nested, setting
from ptycho_config.model import ModelConfig
from ptycho_config.validation import GROUPING_RULES, Rule

__all__ = ["InferenceConfig"]

_DATA = "Data"


@config_class
@dataclass(frozen=True, kw_only=True)
class InferenceConfig(Config):
    """One reconstruction: a trained model and the scan it is applied to.

    ``n_images`` is taken as the older spelling of ``n_groups``, with a ``DeprecationWarning``.

    Examples
    --------
    >>> InferenceConfig(model_path="run", test_data_file="scan.npz").n_groups is None
    True
    """

    rules: ClassVar[tuple[Rule, ...]] = GROUPING_RULES
    deprecated: ClassVar[Mapping[str, str]] = {"n_images": "n_groups"}

    model: ModelConfig = nested(ModelConfig, help="the network that was trained")

    model_path: Path | None = setting(
        None, help="folder of a training, with its bundle", cli=("--model_path",), group=_DATA
    )
    test_data_file: Path | None = setting(
        None, help="scan to reconstruct", cli=("--test-data", "--test_data_file", "--test_data"), group=_DATA
    )
    measurement_domain: str = setting(
        "auto",
        help="what the frames hold: amplitude, counts, or auto to decide from the data",
        choices=("auto", "amplitude", "counts"),
        group=_DATA,
    )
    n_groups: int | None = setting(
        None,
        help="groups to reconstruct; none means all",
        ge=1,
        cli=("--n-images", "--n_images"),
        group=_DATA,
    )
    n_subsample: int | None = setting(
        None, help="frames to draw from the scan before grouping; none means all", ge=1, group=_DATA
    )
    subsample_seed: int | None = setting(None, help="seed of that draw; none means 0", ge=0, group=_DATA)
    neighbor_count: int = setting(
        4, help="K: nearest neighbours from which groups are formed", ge=1, group=_DATA
    )
    enable_oversampling: bool = setting(
        False, help="let several groups start from the same frame", group=_DATA
    )
    neighbor_pool_size: int | None = setting(
        None, help="neighbours to choose group members from; none means neighbor_count", ge=1, group=_DATA
    )
    debug: bool = setting(False, help="keep intermediate results and log more", group=_DATA)
    output_dir: Path = setting(
        Path("inference_outputs"),
        help="folder for everything the run writes",
        cli=("--output_dir",),
        group=_DATA,
    )
    backend: str = setting(
        "pytorch", help="program that reconstructs", choices=("pytorch", "tensorflow"), group=_DATA
    )

    @property
    def n_images(self) -> int | None:
        """Older name of ``n_groups``, for code that still reads it."""
        return self.n_groups
