"""What is learned, from which data, towards which loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ptycho_config.base import Config, config_class, moved_value
from ptycho_config.execution import PyTorchExecutionConfig
from ptycho_config.fields import nested, setting
from ptycho_config.model import ModelConfig
from ptycho_config.validation import TRAINING_RULES, Rule

__all__ = ["TrainingConfig"]

_JOBS = ("train",)
_DATA = "Data"
_LOSS = "Loss"
_OPTIM = "Optimiser and schedule"


@config_class
@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Config):
    """One training: model, data, loss and schedule.

    ``n_images`` is taken as the older spelling of ``n_groups``, with a ``DeprecationWarning``. For
    ``gradient_clip_algorithm``, which :class:`~ptycho_config.PyTorchExecutionConfig` has beside its bound,
    this is an older place: it is taken, checked and handed on.

    Examples
    --------
    >>> TrainingConfig(train_data_file="scan.npz", nepochs=10).train_data_file.name
    'scan.npz'
    """

    rules: ClassVar[tuple[Rule, ...]] = TRAINING_RULES
    deprecated: ClassVar[Mapping[str, str]] = {"n_images": "n_groups"}
    moved: ClassVar[Mapping[str, type[Config]]] = {"gradient_clip_algorithm": PyTorchExecutionConfig}

    model: ModelConfig = nested(ModelConfig, help="the network to train")

    train_data_file: Path | tuple[Path, ...] | None = setting(
        None,
        help="scan to learn from: a file, several, or a folder of them",
        cli=("--train-data", "--train_data_file"),
        group=_DATA,
        jobs=_JOBS,
        effect="these scans are learned from",
        tests=("test_a_folder_a_list_and_scans_in_memory_are_the_same_data",),
        resume="files move; what they hold is compared instead",
    )
    test_data_file: Path | tuple[Path, ...] | None = setting(
        None,
        help="scan to validate on: a file, several, or a folder; none takes a part of the training data",
        cli=("--test-data", "--test_data_file", "--test_data"),
        group=_DATA,
        jobs=_JOBS,
        effect="this scan is validated on, whole",
        tests=("test_a_test_file_is_validated_on_whole",),
        resume="files move; what they hold is compared instead",
    )
    reader: Path | None = setting(
        None,
        help="Python file with a reader of your own, for files that no format here knows",
        group=_DATA,
        jobs=_JOBS,
        effect="scans are read with the format in that file",
        tests=("test_a_reader_file_serves_every_job",),
        resume="files move; what they hold is compared instead",
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
    batch_size: int = setting(
        16,
        help="groups per optimiser step",
        ge=1,
        cli=("--batch_size",),
        group=_OPTIM,
        jobs=_JOBS,
        effect="groups in one step",
        tests=("test_accumulated_batches_equal_one_large_batch",),
    )
    nepochs: int = setting(
        50,
        help="passes over the training data",
        ge=1,
        cli=("--max-epochs", "--max_epochs"),
        group=_OPTIM,
        jobs=_JOBS,
        effect="the run has so many epochs; more of them extend it",
        tests=("test_losses_fall_and_are_logged_every_epoch", "test_more_epochs_extend_a_run"),
        resume="more epochs extend a run; not under a schedule that spreads over all of them",
    )
    mae_weight: float = setting(
        0.0,
        help="weight of the mean absolute error of the amplitudes",
        ge=0,
        group=_LOSS,
        jobs=_JOBS,
        effect="this term of the loss, so weighted",
        tests=(
            "test_terms_are_reported_unweighted_and_summed_weighted",
            "test_loss_settings_decide_what_is_logged",
        ),
    )
    nll_weight: float = setting(
        1.0,
        help="weight of the Poisson negative log-likelihood",
        ge=0,
        group=_LOSS,
        jobs=_JOBS,
        effect="this term of the loss, so weighted",
        tests=(
            "test_terms_are_reported_unweighted_and_summed_weighted",
            "test_loss_settings_decide_what_is_logged",
        ),
    )
    realspace_mae_weight: float = setting(
        0.0,
        help="weight of the mean absolute error to labelled patches",
        ge=0,
        group=_LOSS,
        jobs=_JOBS,
        effect="the distance to labels is added to the loss, so weighted",
        tests=("test_a_weight_for_labels_adds_them_to_the_physics",),
    )
    realspace_weight: float = setting(
        0.0,
        help="weight of the total variation of the object",
        ge=0,
        group=_LOSS,
        jobs=_JOBS,
        effect="the total variation is added to the loss, so weighted",
        tests=(
            "test_terms_are_reported_unweighted_and_summed_weighted",
            "test_loss_settings_decide_what_is_logged",
        ),
    )
    nphotons: float = setting(
        1e9,
        help="mean photons per frame",
        unit="photons",
        gt=0,
        group=_DATA,
        jobs=_JOBS,
        effect="amplitudes of unknown dose become counts of this mean",
        tests=("test_amplitudes_of_unknown_dose_get_the_stated_photons",),
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
        512,
        help="groups to train on; none means as many as the data allows",
        ge=1,
        cli=("--n-images", "--n_images"),
        group=_DATA,
        jobs=_JOBS,
        effect="so many groups are trained on",
        tests=(
            "test_numbers_of_groups_count_over_all_scans",
            "test_the_default_number_of_groups_is_what_there_is",
        ),
    )
    n_subsample: int | None = setting(
        None,
        help="frames to draw from the scan before grouping; none means all",
        ge=1,
        group=_DATA,
        jobs=_JOBS,
        effect="groups use these frames only",
        tests=(
            "test_frames_outside_the_subsample_are_in_no_group",
            "test_the_default_number_of_groups_heeds_the_subsample",
        ),
    )
    subsample_seed: int | None = setting(
        None,
        help="seed of the choice of n_subsample frames; none takes the value of seed",
        ge=0,
        group=_DATA,
        jobs=_JOBS,
        effect="decides which frames",
        tests=("test_the_seeds_choose_frames_and_weights",),
    )
    neighbor_count: int = setting(
        4,
        help="K: nearest neighbours from which groups are formed",
        ge=1,
        group=_DATA,
        jobs=_JOBS,
        effect="groups take their members from so many neighbours",
        tests=("test_group_rules", "test_pool_size_takes_the_place_of_the_neighbour_count"),
    )
    enable_oversampling: bool = setting(
        False,
        help="let several groups start from the same frame",
        group=_DATA,
        jobs=_JOBS,
        effect="several groups may start from one frame",
        tests=("test_oversampling_makes_several_groups_per_frame",),
    )
    neighbor_pool_size: int | None = setting(
        None,
        help="neighbours to choose group members from; none means neighbor_count",
        ge=1,
        group=_DATA,
        jobs=_JOBS,
        effect="groups take their members from so many neighbours instead",
        tests=("test_a_larger_pool_reaches_farther", "test_pool_size_takes_the_place_of_the_neighbour_count"),
    )
    positions_provided: bool = setting(
        True,
        help="use the scan positions of the data file",
        group=_DATA,
        jobs=_JOBS,
        effect="none",
        tests=("test_what_has_no_effect_is_refused_with_words",),
        only_default="patches are stitched where they were scanned, never without scan positions",
    )
    probe_trainable: bool = setting(
        False,
        help="refine the probe during training",
        group=_LOSS,
        jobs=_JOBS,
        effect="the probe changes in training and keeps its power",
        tests=("test_a_trainable_probe_changes_and_keeps_its_power",),
    )
    probe_learning_rate: float = setting(
        1e-2,
        help="learning rate of the probe",
        gt=0,
        group=_OPTIM,
        jobs=_JOBS,
        effect="rate of the steps of the probe",
        tests=("test_the_probe_has_a_rate_of_its_own_and_no_decay",),
    )
    intensity_scale_trainable: bool = setting(
        True,
        help="refine the intensity scale during training",
        group=_LOSS,
        jobs=_JOBS,
        effect="the scale changes in training",
        tests=("test_the_intensity_scale_is_trained_only_when_asked",),
    )
    output_dir: Path = setting(
        Path("training_outputs"),
        help="folder for everything the run writes",
        cli=("--output_dir",),
        group=_DATA,
        jobs=_JOBS,
        effect="everything is written there",
        tests=("test_a_relative_directory_works_and_nothing_else_is_written",),
        resume="a run can be moved and go on elsewhere",
    )
    sequential_sampling: bool = setting(
        False,
        help="take frames in scan order instead of at random",
        group=_DATA,
        jobs=_JOBS,
        effect="the first frames are taken",
        tests=("test_sequential_sampling_takes_the_first_frames",),
    )
    backend: str = setting(
        "pytorch",
        help="program that trains",
        choices=("pytorch", "tensorflow"),
        group=_DATA,
        jobs=_JOBS,
        effect="none",
        tests=("test_what_has_no_effect_is_refused_with_words",),
        only_default="this package runs on PyTorch; the TensorFlow backend is another program",
    )
    seed: int = setting(
        0,
        help="seed of the first weights and of the batch order",
        ge=0,
        group=_OPTIM,
        jobs=_JOBS,
        effect="the same seed gives the same weights; another seed others",
        tests=("test_the_seeds_choose_frames_and_weights", "test_two_runs_of_one_seed_are_equal_bit_for_bit"),
    )
    torch_loss_mode: str = setting(
        "poisson",
        help="statistics of the diffraction loss",
        choices=("poisson", "mae"),
        group=_LOSS,
        jobs=_JOBS,
        effect="the term of the loss that compares with frames",
        tests=("test_loss_settings_decide_what_is_logged",),
    )
    optimizer: str = setting(
        "adam",
        help="optimiser",
        choices=("adam", "adamw", "sgd"),
        group=_OPTIM,
        jobs=_JOBS,
        effect="the optimiser of that name takes the steps",
        tests=("test_each_optimiser_gets_its_settings",),
    )
    momentum: float = setting(
        0.9,
        help="momentum of sgd",
        ge=0,
        lt=1,
        group=_OPTIM,
        jobs=_JOBS,
        effect="momentum of its steps",
        tests=("test_each_optimiser_gets_its_settings",),
    )
    weight_decay: float = setting(
        0.0,
        help="weight decay",
        ge=0,
        group=_OPTIM,
        jobs=_JOBS,
        effect="decay of the weights of the network, not of the probe",
        tests=("test_each_optimiser_gets_its_settings", "test_the_probe_has_a_rate_of_its_own_and_no_decay"),
    )
    adam_beta1: float = setting(
        0.9,
        help="first moment decay of adam and adamw",
        ge=0,
        lt=1,
        group=_OPTIM,
        jobs=_JOBS,
        effect="memory of its first moment",
        tests=("test_each_optimiser_gets_its_settings",),
    )
    adam_beta2: float = setting(
        0.999,
        help="second moment decay of adam and adamw",
        ge=0,
        lt=1,
        group=_OPTIM,
        jobs=_JOBS,
        effect="memory of its second moment",
        tests=("test_each_optimiser_gets_its_settings",),
    )
    lr_warmup_epochs: int = setting(
        0,
        help="epochs over which WarmupCosine raises the learning rate",
        unit="epochs",
        ge=0,
        group=_OPTIM,
        jobs=_JOBS,
        effect="the rate rises over so many epochs",
        tests=("test_warmup_cosine_rises_then_falls_to_the_floor",),
    )
    lr_min_ratio: float = setting(
        0.1,
        help="last learning rate of Exponential, MultiStage and WarmupCosine, as a fraction of the first",
        ge=0,
        le=1,
        group=_OPTIM,
        jobs=_JOBS,
        effect="the rate of the last epoch",
        tests=(
            "test_exponential_falls_by_one_factor_to_the_floor",
            "test_multistage_falls_at_a_half_and_three_quarters",
            "test_warmup_cosine_rises_then_falls_to_the_floor",
        ),
    )
    plateau_factor: float = setting(
        0.5,
        help="factor by which ReduceLROnPlateau lowers the learning rate",
        gt=0,
        lt=1,
        group=_OPTIM,
        jobs=_JOBS,
        effect="each fall of the rate is by this factor",
        tests=("test_plateau_lowers_the_rate_when_nothing_improves",),
    )
    plateau_patience: int = setting(
        2,
        help="epochs without improvement before ReduceLROnPlateau lowers the learning rate",
        unit="epochs",
        ge=0,
        group=_OPTIM,
        jobs=_JOBS,
        effect="the rate falls after so many epochs",
        tests=("test_plateau_lowers_the_rate_when_nothing_improves",),
    )
    plateau_min_lr: float = setting(
        1e-5,
        help="lowest learning rate of ReduceLROnPlateau",
        ge=0,
        group=_OPTIM,
        jobs=_JOBS,
        effect="the rate stays at or above this",
        tests=("test_plateau_lowers_the_rate_when_nothing_improves",),
    )
    plateau_threshold: float = setting(
        0.0,
        help="relative change that counts as an improvement",
        ge=0,
        group=_OPTIM,
        jobs=_JOBS,
        effect="a smaller improvement does not count",
        tests=("test_an_improvement_below_the_threshold_does_not_count",),
    )

    @property
    def n_images(self) -> int | None:
        """Older name of ``n_groups``, for code that still reads it."""
        return self.n_groups

    @property
    def gradient_clip_algorithm(self) -> str:
        """What was stated here of a setting of the execution, for code that still reads it."""
        return str(moved_value(self, "gradient_clip_algorithm"))
