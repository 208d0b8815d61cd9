"""What a search of the settings of a refinement chooses, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_config.base import Config, config_class
from ptycho_config.fields import setting

__all__ = ["TUNABLE", "TuneConfig"]

TUNABLE = (
    "likelihood",
    "dose",
    "background",
    "positions",
    "probe",
    "modes",
    "variation",
    "geometry",
    "drift",
    "sub-pixel",
    "smoothness",
)
"""What can be searched, in the order in which it is tried alone."""

_JOBS = ("tune",)
_SEARCH = "Search"
_ONE = "|".join(TUNABLE)
_CHOICE = (
    rf"all|(?:{_ONE})(?:,(?:{_ONE}))*",
    f"all, or names with commas between them among {', '.join(TUNABLE)}",
)
_LONGER = "a search that goes on may go on for longer"


@config_class
@dataclass(frozen=True, kw_only=True)
class TuneConfig(Config):
    """A search of settings, judged by frames that were held out.

    Examples
    --------
    >>> TuneConfig(choose="dose,positions").chosen
    ('dose', 'positions')
    """

    choose: str = setting(
        "all",
        help="what is searched: all that makes sense for the scan, or names with commas between them: "
        f"{', '.join(TUNABLE)}; settings that are stated are not searched",
        pattern=_CHOICE,
        group=_SEARCH,
        jobs=_JOBS,
        effect="only that is searched",
        tests=("test_only_what_was_chosen_is_searched",),
    )
    budget_s: float = setting(
        600.0,
        help="how long the command may take: no trial begins that would not fit, and one that takes longer "
        "is stopped; with --resume for so long again",
        unit="s",
        gt=0,
        cli=("--budget",),
        group=_SEARCH,
        jobs=_JOBS,
        effect="the search ends by then",
        tests=("test_the_budget_ends_a_search", "test_a_budget_is_that_of_the_command"),
        resume=_LONGER,
    )
    trials: int | None = setting(
        None,
        help="how many trials, those before --resume included; none is as many as the budget allows",
        ge=1,
        group=_SEARCH,
        jobs=_JOBS,
        effect="the search ends after so many trials",
        tests=("test_so_many_trials_are_tried",),
        resume=_LONGER,
    )
    tune_seed: int = setting(
        0,
        help="seed of the pixels that held-out frames show, and of what optuna proposes",
        ge=0,
        group=_SEARCH,
        jobs=_JOBS,
        effect="other pixels are hidden, and other settings proposed",
        tests=("test_another_seed_hides_other_pixels",),
    )

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names among :data:`TUNABLE`."""
        return TUNABLE if self.choose == "all" else tuple(dict.fromkeys(self.choose.split(",")))
