"""Where the frames and positions of a scan come from while it is measured, and where its picture goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ptycho_config.base import Config, config_class
from ptycho_config.errors import Problem
from ptycho_config.fields import setting
from ptycho_config.validation import Rule

__all__ = ["LiveConfig"]

_JOBS = ("live",)
_SOURCES = "Sources"
_SCAN = "Scan"
_OUTPUT = "Output"
_ADDRESS = (r"[a-z][a-z0-9]*:.+", "an address such as zmq:tcp://HOST:PORT or hdf5:FILE")
_TCP = (r"tcp://.+:\d+", "an address as tcp://HOST:PORT")
_PLACE = (r".*:\d+", "HOST:PORT, such as localhost:8000")


def _centre_has_two(values: Mapping[str, Any]) -> Problem | None:
    centre = values["centre"]
    if centre is None or len(centre) == 2:
        return None
    return Problem("centre", centre, "ROW,COLUMN", "two whole numbers with a comma between them")


@config_class
@dataclass(frozen=True, kw_only=True)
class LiveConfig(Config):
    """A scan that is reconstructed while it is measured.

    Examples
    --------
    >>> LiveConfig(frames_from="zmq:tcp://detector:5555").positions_from is None
    True
    """

    frames_from: str | None = setting(
        None,
        help="where frames come from, as KIND:ADDRESS",
        pattern=_ADDRESS,
        cli=("--frames",),
        group=_SOURCES,
        jobs=_JOBS,
        effect="these frames are reconstructed as they come",
        tests=("test_a_replayed_scan_becomes_the_object_of_refine",),
    )
    positions_from: str | None = setting(
        None,
        help="where positions come from, as KIND:ADDRESS; none: they come with the frames",
        pattern=_ADDRESS,
        cli=("--positions",),
        group=_SOURCES,
        jobs=_JOBS,
        effect="frames are joined with these positions by their numbers",
        tests=("test_positions_come_from_a_table_beside_the_frames",),
    )
    tee: str | None = setting(
        None,
        help="address at which every message of the frames is handed on to another receiver, such as the one "
        "that writes files",
        pattern=_TCP,
        group=_SOURCES,
        jobs=_JOBS,
        effect="another receiver gets every message unchanged, and no message is taken that it did not get",
        tests=("test_a_tee_hands_every_message_on_unchanged",),
    )
    end_after: float | None = setting(
        None,
        help="the scan counts as over when nothing has come for so long; none: it ends by the end message of "
        "its source, when all announced frames have come, or by Ctrl-C",
        unit="s",
        gt=0,
        group=_SOURCES,
        jobs=_JOBS,
        effect="a scan without an end message ends by itself",
        tests=("test_a_scan_that_falls_silent_is_over",),
    )
    model_path: Path | None = setting(
        None,
        help="output folder of a training, or its bundle, that predicts the object; none: it is refined "
        "from a flat one",
        group=_SCAN,
        jobs=_JOBS,
        effect="the network of that bundle reconstructs",
        tests=("test_with_a_network_the_result_is_that_of_infer",),
    )
    crop: int | None = setting(
        None,
        help="edge of the square that is cut from every frame; none: that of the model or the probe, or "
        "frames whole",
        unit="px",
        ge=4,
        group=_SCAN,
        jobs=_JOBS,
        effect="frames are cut to this size",
        tests=("test_frames_are_cut_around_their_centre",),
    )
    centre: tuple[int, ...] | None = setting(
        None,
        help="row and column of the beam in the frames as they come; none: as the source says, or the middle",
        unit="px",
        ge=0,
        group=_SCAN,
        jobs=_JOBS,
        effect="frames are cut around it",
        tests=("test_frames_are_cut_around_their_centre",),
    )
    clean: str = setting(
        "auto",
        help="what is masked and left out: auto for all that is found, off, or names of findings with commas "
        "between them, such as gaps,hits",
        group=_SCAN,
        jobs=_JOBS,
        effect="decides whether pixels and frames that did not measure the sample are left out",
        tests=("test_live_cleans_what_it_is_told_to",),
    )
    keep_frames: Path | None = setting(
        None,
        help="folder in which frames and positions are kept as they come; a killed run takes them up, "
        "and they become a scan when it is over; none: what does not fit into memory is kept until then",
        group=_OUTPUT,
        jobs=_JOBS,
        effect="the frames are kept as a scan, and a run that was killed goes on with them",
        tests=("test_a_killed_run_takes_up_what_it_kept",),
    )
    serve: str | None = setting(
        None,
        help="HOST:PORT of the page that shows the scan in a browser; hosts other than this machine need a "
        "token in the environment variable PTYCHO_LIVE_TOKEN; none: no page",
        pattern=_PLACE,
        group=_OUTPUT,
        jobs=_JOBS,
        effect="a page shows the object, the newest frame and the counters",
        tests=("test_the_page_shows_what_the_session_has",),
    )
    output_dir: Path = setting(
        Path("live_outputs"),
        help="folder for everything the run writes",
        cli=("--output_dir",),
        group=_OUTPUT,
        jobs=_JOBS,
        effect="everything is written there",
        tests=("test_a_replayed_scan_becomes_the_object_of_refine",),
    )

    rules: ClassVar[tuple[Rule, ...]] = (Rule(("centre",), _centre_has_two),)
