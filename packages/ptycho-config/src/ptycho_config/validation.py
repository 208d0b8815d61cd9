"""Rules that join several settings, and the pass that collects every problem of one object.

A rule names the settings it reads. It is skipped while one of them is wrong by itself, so that one
mistake is reported once.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ptycho_config.errors import Problem
from ptycho_config.fields import field_specs, nested_fields

__all__ = [
    "EXECUTION_RULES",
    "GROUPING_RULES",
    "MODEL_RULES",
    "REFINE_RULES",
    "TRAINING_RULES",
    "Rule",
    "check_rules",
    "check_values",
]


@dataclass(frozen=True)
class Rule:
    """A condition over several settings of one object.

    Parameters
    ----------
    reads : tuple of str
        The settings the condition looks at, an inner configuration included. ``"*_weight"`` are all whose
        names end so.
    check : callable
        Takes a mapping of all values and returns a :class:`Problem` or ``None``.
    """

    reads: tuple[str, ...]
    check: Callable[[Mapping[str, Any]], Problem | None]


def check_rules(rules: Iterable[Rule], values: Mapping[str, Any], bad: Collection[str]) -> list[Problem]:
    """Apply all rules whose settings are right by themselves.

    Parameters
    ----------
    rules : iterable of Rule
        The rules of the class.
    values : mapping
        Value of every setting.
    bad : collection of str
        Names of settings that are already known to be wrong.

    Returns
    -------
    list of Problem
    """
    found = (
        rule.check(values) for rule in rules if not any(fnmatch.filter(bad, name) for name in rule.reads)
    )
    return [problem for problem in found if problem is not None]


def check_values(
    cls: type, values: Mapping[str, Any], rules: Iterable[Rule]
) -> tuple[dict[str, Any], list[Problem]]:
    """Convert and check the values of every setting of a class, then the rules between them.

    Parameters
    ----------
    cls : type
        A configuration dataclass.
    values : mapping
        Name -> value, complete.
    rules : iterable of Rule
        The rules of the class.

    Returns
    -------
    stored : dict
        The converted values.
    problems : list of Problem
        Empty when everything is right.
    """
    stored = dict(values)
    problems: list[Problem] = []
    for spec in field_specs(cls):
        stored[spec.name], problem = spec.coerce(values[spec.name])
        if problem is not None:
            problems.append(problem)
    for name, inner in nested_fields(cls).items():
        if not isinstance(values[name], inner):
            hint = f"build it with {inner.__name__}(...)"
            problems.append(Problem(name, values[name], f"a {inner.__name__}", hint))
    problems += check_rules(rules, stored, {problem.field for problem in problems})
    return stored, problems


def _mask_fits(v: Mapping[str, Any]) -> Problem | None:
    if v["probe_mask_diameter"] is None or v["probe_mask_diameter"] <= v["N"]:
        return None
    expected = f"at most N = {v['N']} px, the width of the probe"
    return Problem("probe_mask_diameter", v["probe_mask_diameter"], expected, "use None for N/2")


def _modes_are_fitted(v: Mapping[str, Any]) -> Problem | None:
    if v["probe_modes"] is None or v["refine_probe"]:
        return None
    return Problem("probe_modes", v["probe_modes"], "None, or refine_probe to fit them")


def _variation_is_fitted(v: Mapping[str, Any]) -> Problem | None:
    if not v["probe_variation"] or v["refine_probe"]:
        return None
    return Problem("probe_variation", v["probe_variation"], "0, or refine_probe to fit it")


def _support_is_of_a_fit(v: Mapping[str, Any]) -> Problem | None:
    if v["probe_support"] is None or v["refine_probe"]:
        return None
    return Problem(
        "probe_support", v["probe_support"], "None, or refine_probe to fit the probe that it bounds"
    )


def _smoothing_has_weights(v: Mapping[str, Any]) -> Problem | None:
    if not v["probe_variation_smooth"] or v["probe_variation"]:
        return None
    expected = "0, or a probe_variation whose weights are smoothed"
    return Problem("probe_variation_smooth", v["probe_variation_smooth"], expected)


def _searched_positions_are_fitted(v: Mapping[str, Any]) -> Problem | None:
    if v["position_search_px"] is None or v["refine_positions"]:
        return None
    return Problem("position_search_px", v["position_search_px"], "None, or refine_positions to fit them")


# Weights of loss terms are the settings of a training whose names end so.
_WEIGHT = "_weight"


def _slices_have_a_distance(v: Mapping[str, Any]) -> Problem | None:
    several, distance = v["slices"] > 1, v["slice_distance"]
    if several and distance is None:
        return Problem("slice_distance", None, f"a length for slices = {v['slices']}", "state it, in metres")
    if not several and v["refine_slice_distance"]:
        return Problem(
            "refine_slice_distance", True, "False for a single slice", "ask for slices = 2 or more"
        )
    if not several and distance is not None:
        return Problem("slice_distance", distance, "None for a single slice", "ask for slices = 2 or more")
    return None


_OF_ONE_SLICE = (
    "refine_positions",
    "refine_geometry",
    "refine_drift",
    "probe_variation",
    "smoothness",
    "total_variation",
    "object_constraint",
)


def _one_slice_only(v: Mapping[str, Any]) -> Problem | None:
    if v["slices"] == 1:
        return None
    for name in _OF_ONE_SLICE:
        if v[name] not in (0, "none"):
            return Problem(name, v[name], f"nothing for slices = {v['slices']}", "it knows one slice only")
    return None


_OF_ALL_FRAMES = {
    "refine_positions": "what their positions have in common is fixed by all frames",
    "refine_geometry": "it belongs to the whole scan",
    "refine_drift": "it belongs to the whole scan",
    "refine_dose": "their mean is that of all frames",
    "refine_background": "it is the same in all frames",
    "probe_variation": "its modes belong to the whole scan",
    "error_bars": "they compare solutions of the whole scan",
    "slices": "each slice would have to be joined on its own",
}


def _tiles_are_alone(v: Mapping[str, Any]) -> Problem | None:
    if v["tile_px"] is None:
        return None
    for name, because in _OF_ALL_FRAMES.items():
        if v[name] not in (0, "off", "none", "shot") and (name, v[name]) != ("slices", 1):
            hint = f"{because}; refine without tile_px, or a part of the scan to find it"
            return Problem(name, v[name], "nothing to fit beside tiles", hint)
    return None


def _some_loss(v: Mapping[str, Any]) -> Problem | None:
    names = sorted(name for name in v if name.endswith(_WEIGHT))
    if any(v[name] > 0 for name in names):
        return None
    expected = "at least one loss weight greater than 0"
    return Problem(
        "nll_weight", v["nll_weight"], expected, f"all of {', '.join(names)} are 0, nothing would be learned"
    )


def _enough_neighbors(v: Mapping[str, Any]) -> Problem | None:
    needed = v["model"].gridsize ** 2 - 1
    pool = v["neighbor_pool_size"]
    name = "neighbor_count" if pool is None else "neighbor_pool_size"
    if v[name] >= needed:
        return None
    expected = (
        f"at least {needed}, because gridsize = {v['model'].gridsize} makes groups of {needed + 1} frames"
    )
    return Problem(name, v[name], expected, f"raise {name} or lower gridsize")


def _persistent_needs_workers(v: Mapping[str, Any]) -> Problem | None:
    if not v["persistent_workers"] or v["num_workers"] > 0:
        return None
    return Problem("persistent_workers", True, "False while num_workers = 0", "set num_workers to at least 1")


def _prefetch_needs_workers(v: Mapping[str, Any]) -> Problem | None:
    if v["prefetch_factor"] is None or v["num_workers"] > 0:
        return None
    value = v["prefetch_factor"]
    return Problem("prefetch_factor", value, "None while num_workers = 0", "set num_workers to at least 1")


_PICTURE_LOG_OFF = {"recon_log_stitch": False, "recon_log_fixed_indices": None, "recon_log_num_patches": 4}


def _picture_log_is_on(v: Mapping[str, Any]) -> Problem | None:
    if v["recon_log_every_n_epochs"] is not None:
        return None
    for name, off in _PICTURE_LOG_OFF.items():
        if v[name] != off:
            hint = "set recon_log_every_n_epochs to draw pictures during training"
            return Problem(name, v[name], f"{off} while recon_log_every_n_epochs is None", hint)
    return None


def _pictures_have_a_place(v: Mapping[str, Any]) -> Problem | None:
    if v["recon_log_every_n_epochs"] is None or v["logger_backend"] is not None:
        return None
    hint = "choose a logger_backend, or leave the pictures away"
    value = v["recon_log_every_n_epochs"]
    return Problem("recon_log_every_n_epochs", value, "None while logger_backend is None", hint)


def _one_choice_of_patches(v: Mapping[str, Any]) -> Problem | None:
    fixed, number = v["recon_log_fixed_indices"], v["recon_log_num_patches"]
    if fixed is None or number in (_PICTURE_LOG_OFF["recon_log_num_patches"], len(fixed)):
        return None
    hint = "leave recon_log_num_patches away"
    return Problem("recon_log_num_patches", number, f"the {len(fixed)} of recon_log_fixed_indices", hint)


def _stitch_log_is_on(v: Mapping[str, Any]) -> Problem | None:
    if v["recon_log_max_stitch_samples"] is None or v["recon_log_stitch"]:
        return None
    value = v["recon_log_max_stitch_samples"]
    hint = "set recon_log_stitch to True, or leave the limit away"
    return Problem("recon_log_max_stitch_samples", value, "None while recon_log_stitch is False", hint)


def _amplitude_is_drawn(v: Mapping[str, Any]) -> Problem | None:
    # The default says nothing: a saved configuration states every setting and has to load again.
    if v["object_head"] == "amplitude_phase" or v["amp_activation"] == "sigmoid":
        return None
    return Problem(
        "amp_activation",
        v["amp_activation"],
        f"the default, 'sigmoid', while object_head = {v['object_head']!r}",
        "that head has no amplitude branch; leave amp_activation out, or set object_head = 'amplitude_phase'",
    )


MODEL_RULES = (
    Rule(("N", "probe_mask_diameter"), _mask_fits),
    Rule(("object_head", "amp_activation"), _amplitude_is_drawn),
)
"""Rules of :class:`~ptycho_config.ModelConfig`."""

GROUPING_RULES = (Rule(("model", "neighbor_count", "neighbor_pool_size"), _enough_neighbors),)
"""Rules of every configuration that groups scan positions."""

TRAINING_RULES = (
    Rule((f"*{_WEIGHT}",), _some_loss),
    *GROUPING_RULES,
)
"""Rules of :class:`~ptycho_config.TrainingConfig`."""

EXECUTION_RULES = (
    Rule(("persistent_workers", "num_workers"), _persistent_needs_workers),
    Rule(("prefetch_factor", "num_workers"), _prefetch_needs_workers),
    Rule(("recon_log_every_n_epochs", *_PICTURE_LOG_OFF), _picture_log_is_on),
    Rule(("recon_log_every_n_epochs", "logger_backend"), _pictures_have_a_place),
    Rule(("recon_log_fixed_indices", "recon_log_num_patches"), _one_choice_of_patches),
    Rule(("recon_log_max_stitch_samples", "recon_log_stitch"), _stitch_log_is_on),
)
"""Rules of :class:`~ptycho_config.PyTorchExecutionConfig`."""
REFINE_RULES = (
    Rule(("probe_modes", "refine_probe"), _modes_are_fitted),
    Rule(("probe_support", "refine_probe"), _support_is_of_a_fit),
    Rule(("probe_variation", "refine_probe"), _variation_is_fitted),
    Rule(("probe_variation_smooth", "probe_variation"), _smoothing_has_weights),
    Rule(("position_search_px", "refine_positions"), _searched_positions_are_fitted),
    Rule(("slices", "slice_distance", "refine_slice_distance"), _slices_have_a_distance),
    Rule(("slices", *_OF_ONE_SLICE), _one_slice_only),
    Rule(("tile_px", *_OF_ALL_FRAMES), _tiles_are_alone),
)
