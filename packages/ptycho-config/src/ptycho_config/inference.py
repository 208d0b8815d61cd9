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

_JOBS = ("infer",)
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
        None,
        help="output folder of a training, or its bundle",
        cli=("--model_path",),
        group=_DATA,
        jobs=_JOBS,
        effect="the network of that bundle reconstructs",
        tests=(
            "test_a_directory_and_a_file_name_the_same_bundle",
            "test_the_bundle_gives_the_object_of_the_trained_model",
        ),
    )
    test_data_file: Path | None = setting(
        None,
        help="scan to reconstruct",
        cli=("--test-data", "--test_data_file", "--test_data"),
        group=_DATA,
        jobs=_JOBS,
        effect="this scan is reconstructed",
        tests=("test_every_format_gives_the_object_of_the_npz_file",),
    )
    reader: Path | None = setting(
        None,
        help="Python file with a reader of your own, for files that no format here knows",
        group=_DATA,
        jobs=_JOBS,
        effect="scans are read with the format in that file",
        tests=("test_a_reader_file_serves_every_job",),
    )
    clean: str = setting(
        "auto",
        help="what is masked and left out when a scan is read: auto for all that is found, off, or names of "
        "findings with commas between them, such as gaps,hits",
        group=_DATA,
        jobs=_JOBS,
        effect="decides whether pixels and frames that did not measure the sample are left out",
        tests=("test_every_job_cleans_what_it_is_told_to",),
    )
    strict: bool = setting(
        False,
        help="refuse a scan in which something would be masked or left out, and fail if the result explains "
        "its frames no better than an empty object",
        group=_DATA,
        jobs=_JOBS,
        effect="faults and bad results end a run",
        tests=("test_every_job_refuses_faults_when_strict",),
    )
    measurement_domain: str = setting(
        "auto",
        help="what the frames hold: amplitude, counts, or auto to decide from the data",
        choices=("auto", "amplitude", "counts"),
        group=_DATA,
        jobs=_JOBS,
        effect="frames are squared, or taken as they are",
        tests=("test_roots_of_counts_become_the_counts",),
    )
    n_groups: int | None = setting(
        None,
        help="groups to reconstruct; none means all",
        ge=1,
        cli=("--n-images", "--n_images"),
        group=_DATA,
        jobs=_JOBS,
        effect="so many groups are reconstructed",
        tests=("test_groups_and_subsample_choose_frames",),
    )
    n_subsample: int | None = setting(
        None,
        help="frames to draw from the scan before grouping; none means all",
        ge=1,
        group=_DATA,
        jobs=_JOBS,
        effect="groups use these frames only",
        tests=("test_groups_and_subsample_choose_frames",),
    )
    subsample_seed: int | None = setting(
        None,
        help="seed of the choice of n_subsample frames; none means 0",
        ge=0,
        group=_DATA,
        jobs=_JOBS,
        effect="decides which frames",
        tests=("test_the_seed_decides_the_choice",),
    )
    neighbor_count: int = setting(
        4,
        help="K: nearest neighbours from which groups are formed",
        ge=1,
        group=_DATA,
        jobs=_JOBS,
        effect="groups take their members from so many neighbours",
        tests=("test_group_rules",),
    )
    enable_oversampling: bool = setting(
        False,
        help="let several groups start from the same frame",
        group=_DATA,
        jobs=_JOBS,
        effect="several groups may start from one frame",
        tests=("test_oversampling_reaches_every_group_and_no_more",),
    )
    neighbor_pool_size: int | None = setting(
        None,
        help="neighbours to choose group members from; none means neighbor_count",
        ge=1,
        group=_DATA,
        jobs=_JOBS,
        effect="groups take their members from so many neighbours instead",
        tests=("test_pool_size_takes_the_place_of_the_neighbour_count",),
    )
    debug: bool = setting(
        False,
        help="keep intermediate results and log more",
        group=_DATA,
        jobs=_JOBS,
        effect="`intermediate.npz` holds the patches as the network predicts them; developers are told more",
        tests=("test_debugging_keeps_what_the_network_drew_and_says_more",),
        no_flag="the flag --debug shows tracebacks; state it with --set debug=true",
    )
    output_dir: Path = setting(
        Path("inference_outputs"),
        help="folder for everything the run writes",
        cli=("--output_dir",),
        group=_DATA,
        jobs=_JOBS,
        effect="everything is written there",
        tests=("test_nothing_is_left_in_the_working_directory",),
    )
    backend: str = setting(
        "pytorch",
        help="program that reconstructs",
        choices=("pytorch", "tensorflow"),
        group=_DATA,
        jobs=_JOBS,
        effect="none",
        tests=("test_what_has_no_effect_is_refused_with_words",),
        only_default="this package runs on PyTorch; the TensorFlow backend is another program",
    )

    @property
    def n_images(self) -> int | None:
        """Older name of ``n_groups``, for code that still reads it."""
        return self.n_groups
