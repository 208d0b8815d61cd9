"""Settings of a refinement: the configuration, built from keywords and checked with a scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptycho_config import ConfigError, Problem, RefineConfig, evolve, field_specs
from ptycho_torch.data import Scan
from ptycho_torch.data.scan.geometry import is_near_field
from ptycho_torch.refine.error_bars.measuring import cannot_be_measured

__all__ = ["check_against", "check_together", "config_of", "epochs_of"]

_AUTO_EPOCHS = 60
_AUTO_EPOCHS_WITH_VARIATION = 120
_MORE_AUTO_EPOCHS = 200
_PREFIX = "refine_"


def config_of(config: RefineConfig | None, stated: Mapping[str, Any]) -> RefineConfig:
    """Configuration with what a caller stated.

    Parameters
    ----------
    config
        What holds where nothing is stated; the defaults if None.
    stated
        Values by the names of :class:`ptycho_config.RefineConfig`, with or without ``refine_`` in front.

    Raises
    ------
    ConfigError
        If a name or a value is wrong; it says all that is.
    """
    known = {spec.name for spec in field_specs(RefineConfig)}
    named = {
        _PREFIX + name if name not in known and _PREFIX + name in known else name: value
        for name, value in stated.items()
    }
    return evolve(RefineConfig() if config is None else config, **named)


def check_against(config: RefineConfig, scan: Scan, *, n_processes: int = 1) -> None:
    """Refuse settings that do not fit a scan.

    Raises
    ------
    ConfigError
        If there are fewer frames than processes or frames per step, fewer modes than the probe has, more
        modes that it varies by than frames, or tiles smaller than a frame, or if
        the error bars that are asked for cannot be had of these frames, or if frames in
        the near field are to be searched.
    """
    problems = [
        Problem(name, least, f"at most {scan.n_frames}, the frames of the scan")
        for name, least in (("refine_batch_size", config.refine_batch_size or 1), ("devices", n_processes))
        if least > scan.n_frames
    ]
    if config.probe_modes is not None and config.probe_modes < scan.n_modes:
        expected = f"at least {scan.n_modes}, the modes of the probe"
        problems.append(Problem("probe_modes", config.probe_modes, expected))
    if config.probe_variation >= scan.n_frames:
        expected = f"fewer than {scan.n_frames}, the frames of the scan"
        problems.append(Problem("probe_variation", config.probe_variation, expected))
    if config.tile_px is not None and config.tile_px < scan.N:
        problems.append(Problem("tile_px", config.tile_px, f"at least {scan.N}, the size of a frame"))
    if config.position_search_px is not None and is_near_field(scan.metadata):
        # There the crop of a frame is a part of the sample, not the sample at low resolution.
        expected = "none for a scan in the near field"
        problems.append(Problem("position_search_px", config.position_search_px, expected))
    refusal = cannot_be_measured(config, scan)
    problems += [] if refusal is None else [refusal]
    if problems:
        raise ConfigError(problems)


def check_together(config: RefineConfig, n_scans: int) -> None:
    """Refuse settings that do not go with so many scans of one object.

    Raises
    ------
    ConfigError
        If there is none, or thick objects or tiles are asked for.
    """
    if n_scans == 0:
        raise ConfigError(Problem("scan_file", n_scans, "one scan at least"))
    if n_scans > 1 and config.slices > 1:
        # The offsets of scans are fitted, which positions beside slices are not.
        raise ConfigError(Problem("slices", config.slices, f"1 for {n_scans} scans of one object"))
    if n_scans > 1 and config.tile_px is not None:
        # Each tile would have to find how the scans lie in it.
        hint = "refine each scan alone, or on one canvas"
        raise ConfigError(Problem("tile_px", config.tile_px, f"None for {n_scans} scans of one object", hint))


def epochs_of(config: RefineConfig, *, near_field: bool = False) -> int:
    """Passes over all frames, at most; ``near_field`` says where the detector is."""
    if config.refine_epochs != "auto":
        return config.refine_epochs
    # What tells a slow change of the light from one of the object is faint, and takes long to come out.
    # So is what the near field says of slow phases.
    if config.refine_dose or config.refine_slice_distance or near_field:
        return _MORE_AUTO_EPOCHS
    return _AUTO_EPOCHS_WITH_VARIATION if config.probe_variation else _AUTO_EPOCHS
