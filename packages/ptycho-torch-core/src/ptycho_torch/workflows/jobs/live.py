"""Reconstruct a scan while it is measured, and leave what the offline jobs leave of the same frames."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ptycho_config import ConfigError
from ptycho_torch.atomic import atomic_write
from ptycho_torch.bundle import load_bundle
from ptycho_torch.config_factory.live import LivePayload
from ptycho_torch.control import Progress
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.hdf5.elsewhere import read_stated_probe, read_values
from ptycho_torch.data.hdf5.stated import stated_optics
from ptycho_torch.data.limits import larger_arrays, memory_bytes
from ptycho_torch.diagnosis.verdict import Verdict
from ptycho_torch.errors import DataError, ScanWarning
from ptycho_torch.live.counters import Counters
from ptycho_torch.live.frame_store import SpillingStore
from ptycho_torch.live.keeping import SCAN, KeptFrames
from ptycho_torch.live.page.server import PageServer
from ptycho_torch.live.scan import Finished, LiveScan
from ptycho_torch.live.session import Session
from ptycho_torch.live.source_registry import Kind, Source, open_source, path_read
from ptycho_torch.models import PatchModel
from ptycho_torch.outputs import output_problems
from ptycho_torch.prediction.scan_match import model_for
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import RefinementInterrupted
from ptycho_torch.refine.held_out import judge
from ptycho_torch.workflows.jobs.judging import said_of, warn_of
from ptycho_torch.workflows.jobs.refinement import refined_record
from ptycho_torch.workflows.processes.device import numerics, resolve_accelerator
from ptycho_torch.workflows.runs.directory import RunDirectory
from ptycho_torch.workflows.runs.leaving import Leaving
from ptycho_torch.workflows.runs.saving import ARRAYS, RUN_FILES, Origin, Reconstructed, write_results

__all__ = ["LIVE_FILES", "LiveOutcome", "opened_sources", "run_live"]

logger = logging.getLogger(__name__)

_COMMAND = "live"
_RECORD = "live.json"
LIVE_FILES = (*RUN_FILES, _RECORD)
_SHARE_OF_MEMORY = 0.25
"""Of the memory of the machine that frames may take; what is beyond lies in a file."""

_SPILLED = ".frames.npy"
_LINE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class LiveOutcome:
    """What a live scan left behind.

    Attributes
    ----------
    output_dir
        Folder of the results.
    reconstruction
        Object, coverage and origin.
    forward_residual
        Of the object on the frames that were used.
    counters
        What has become of everything that came.
    state
        Counters, rates and delays as plain data, as in ``live.json``.
    files
        Everything written.
    verdict
        Whether the object explains its frames better than an empty one.
    """

    output_dir: Path
    reconstruction: StitchedObject = field(repr=False)
    forward_residual: float
    counters: Counters
    state: dict[str, Any] = field(repr=False)
    files: tuple[Path, ...]
    verdict: Verdict


@contextmanager
def opened_sources(payload: LivePayload) -> Iterator[dict[Kind, tuple[str, Source]]]:
    """Sources of frames and positions with their addresses; closed with the block where nobody took them.

    Raises
    ------
    ConfigError
        As for `ptycho_torch.live.source_registry.open_source`.
    """
    config = payload.live_config
    found: dict[Kind, tuple[str, Source]] = {}
    try:
        found["frames"] = payload.frames_from, open_source(payload.frames_from, "frames", tee=config.tee)
        if config.positions_from is not None:
            found["positions"] = config.positions_from, open_source(config.positions_from, "positions")
        yield found
    finally:
        for _, source in found.values():
            source.close()


def run_live(
    payload: LivePayload,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    pictures: bool = True,
    command: Sequence[str] | None = None,
    token: str | None = None,
    heard: Callable[[str], None] | None = None,
) -> LiveOutcome:
    """Reconstruct a scan while it is measured.

    Parameters
    ----------
    payload
        From :func:`ptycho_torch.config_factory.live.create_live_payload`.
    overwrite
        Replace older results in the same directory once these are complete.
    progress
        Called during the last refinement, once the scan is over, as for `refine_scan`.
    pictures
        Whether pictures and ``report.html`` are written.
    command
        Command line, for the record.
    token
        Word that the page asks for.
    heard
        Called every few seconds with a line about how far the scan is.

    Raises
    ------
    ConfigError
        If the settings do not fit each other or the directory holds other results.
    DataError
        If no frame had a position when the scan was over, or none was a measurement.
    RefinementInterrupted
        On Ctrl-C during the last refinement; what its last complete epoch reached is written and named.
    ResultsIncomplete
        If a file could not be written; all others have been.

    Warns
    -----
    ScanWarning
        A source failed before the scan was over.
    ResultWarning
        The object explains the frames no better than an empty one.
    """
    config, execution = payload.live_config, payload.execution_config
    named = (path_read(address) for address in (payload.frames_from, config.positions_from))
    watched = [path for path in named if path is not None]
    inputs = (config.model_path, *payload.parts_config.files, *watched)
    if config.keep_frames is not None:
        problems = output_problems("keep_frames", config.keep_frames, watched)
        if problems:
            raise ConfigError(problems)
    run = RunDirectory.check(config.output_dir, _COMMAND, LIVE_FILES, overwrite=overwrite, inputs=inputs)
    device = resolve_accelerator(execution.accelerator)
    with (
        run.at_work() as work,
        numerics(),
        opened_sources(payload) as sources,
        _kept(config.keep_frames) as kept,
    ):
        with larger_arrays(execution.largest_array_gib):
            live = _live_scan(payload, device, kept, work)
        session = Session(live, end_after_s=config.end_after, heard=_writer(live, kept))
        for gives, (address, source) in sources.items():
            session.attach(address, source, gives)
        with _page(session, config.serve, token), _told(session, heard):
            why = session.run()
            finished = live.finish(progress)
        logger.info("%s; %s", why, live.counters(ended=True).sentence())
        _warn_of_sources(session)
        made = _record_of(finished, live, payload, device)
        leaving = Leaving(work)
        write_results(leaving, made, run=_origin(made, session, list(command or ())), pictures=pictures)
        state = {**session.state(), "forward_residual": made.residual}
        with leaving.file(_RECORD) as path, atomic_write(path, "w") as stream:
            json.dump(state, stream, indent=2)
        leaving.require(ARRAYS)
        if kept is not None:
            save_scan(kept.folder / SCAN, live.raw())
            kept.clear()
        (work / _SPILLED).unlink(missing_ok=True)
        files = run.publish()
    assert made.verdict is not None
    warn_of(made.verdict)
    if finished.interrupted and finished.refinement is not None:
        raise RefinementInterrupted(finished.refinement, run.path / ARRAYS)
    leaving.require_all(run.path, files)
    return LiveOutcome(
        output_dir=run.path,
        reconstruction=made.object,
        forward_residual=made.residual,
        counters=live.counters(ended=True),
        state=state,
        files=files,
        verdict=made.verdict,
    )


@contextmanager
def _page(session: Session, address: str | None, token: str | None) -> Iterator[None]:
    """The page of a session, if there is an address for one."""
    if address is None:
        yield
        return
    page = PageServer(session, address, token)
    logger.info("the scan is shown at %s%s", page.url, "" if token is None else "?token=...")
    try:
        yield
    finally:
        page.close()


@contextmanager
def _told(session: Session, heard: Callable[[str], None] | None) -> Iterator[None]:
    """Lines about a session, every few seconds while the block runs."""
    if heard is None:
        yield
        return
    over = threading.Event()

    def tell() -> None:
        before = ""
        while not over.wait(_LINE_S):
            line = f"{session.live.counters().sentence()}, {session.rate_hz():.1f} frames/s"
            waits = session.live.is_waiting_for
            line += f"; {waits}" if waits else ""
            if line != before:
                heard(line)
            before = line

    thread = threading.Thread(target=tell, name="lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _kept(folder: Path | None) -> Iterator[KeptFrames | None]:
    """The folder in which frames are kept, if they are; its files are closed with the block."""
    if folder is None:
        yield None
        return
    found = KeptFrames(folder)
    try:
        yield found
    finally:
        found.close()


def _live_scan(payload: LivePayload, device: str, kept: KeptFrames | None, work: Path) -> LiveScan:
    """The scan with what was stated of it, and the frames that an earlier run kept."""
    config, execution, parts = payload.live_config, payload.execution_config, payload.parts_config
    model, batch_size = _model(config.model_path, device)
    problems: list[Any] = []
    probe = None if parts.probe is None else read_stated_probe(parts.probe, problems)
    mask = None if parts.mask is None else read_values(parts.mask, "mask", problems)
    if problems:
        raise DataError(problems)
    known, bad = ({}, None) if kept is None else kept.known()
    unit = parts.position_unit or known.get("position_unit")
    centre = config.centre or known.get("centre")

    def spilling(N: int, dtype: np.dtype[Any]) -> SpillingStore:
        return SpillingStore(work / _SPILLED, int(_SHARE_OF_MEMORY * memory_bytes()), N, dtype)

    live = LiveScan(
        model=model,
        probe=probe,
        config=payload.refine_config,
        N=config.crop,
        centre=None if centre is None else (centre[0], centre[1]),
        position_unit=unit,
        metadata={**known.get("metadata", {}), **stated_optics(parts)},
        bad_pixels=bad if mask is None else mask != 0,
        orientation=payload.orientation_config,
        clean=config.clean,
        device=device,
        batch_size=execution.inference_batch_size or batch_size,
        middle_trim=execution.middle_trim,
        pad_eval=execution.pad_eval,
        physics_steps=execution.physics_steps,
        make_store=spilling if kept is None else kept.make_store,
        journal=kept,
    )
    if kept is not None:
        _take_up(live, kept, known)
    return live


def _take_up(live: LiveScan, kept: KeptFrames, known: dict[str, Any]) -> None:
    """Go on with what an earlier run kept."""
    found = known.get("position_unit")
    if len(kept.places) and live.known.position_unit != found:
        said = f"positions kept in {found}, and {live.known.position_unit} is stated; name another folder"
        raise DataError(said, kept.folder)
    store = kept.store_found()
    if store is not None and live.arrivals.window.N not in (None, store.N):
        said = f"frames kept of {store.N} px, and {live.arrivals.window.N} px are wanted; name another folder"
        raise DataError(said, kept.folder)
    if store is not None or len(kept.places):
        live.arrivals.take_up(store, kept.numbers, kept.places)
        logger.info(
            "%d frames and %d positions taken up from %s", kept.n_frames, len(kept.places), kept.folder
        )
    if known.get("n_frames") is not None:
        live.arrivals.announce(int(known["n_frames"]))


def _writer(live: LiveScan, kept: KeptFrames | None) -> Callable[[], None] | None:
    """Writes down what is known of the scan, where frames are kept."""
    if kept is None:
        return None

    def write() -> None:
        known, centre = live.known, live.arrivals.window.centre
        stated = {
            "position_unit": known.position_unit,
            "metadata": dict(known.metadata),
            "centre": centre,
            "n_frames": live.arrivals.n_announced,
        }
        kept.know(stated, known.bad_pixels)

    return write


def _model(path: Path | None, device: str) -> tuple[PatchModel | None, int]:
    """The network of a bundle, and the batch size of its training."""
    if path is None:
        return None, 16
    model, manifest = load_bundle(path, device=device)
    training: Any = manifest.configuration.get("training", {})
    return model, int(training.get("batch_size", 16))


def _warn_of_sources(session: Session) -> None:
    for feed in session.feeds.values():
        if feed.error is not None:
            said = f"{feed.name} failed, and what came until then is reconstructed: {feed.error}"
            warnings.warn(said, ScanWarning, stacklevel=3)


def _record_of(finished: Finished, live: LiveScan, payload: LivePayload, device: str) -> Reconstructed:
    """The result as the offline jobs write theirs."""
    config = payload.refine_config
    if finished.refinement is not None:
        return refined_record(
            finished.refinement, finished.scan, payload.resolution, config=config, device=device
        )
    assert live.model is not None
    probe = model_for(live.model, finished.scan).probe.detach().cpu().numpy()
    return Reconstructed(
        object=finished.object,
        probe=probe,
        frames=finished.scan,
        residual=finished.residual,
        report=None,
        settings=payload.resolution,
        verdict=judge(finished.scan, finished.object, probe, config=config, device=device),
    )


def _origin(made: Reconstructed, session: Session, command: Sequence[str]) -> Origin:
    frames, state = made.frames, session.state()
    delays = state["delay_s"]
    facts = [
        ("scan", f"{frames.n_frames} frames of {frames.N} × {frames.N} px"),
        ("object", f"{' × '.join(str(side) for side in made.object.object.shape)} px"),
        ("forward residual", f"{made.residual:.4f}"),
        ("sources", ", ".join(feed.name for feed in session.feeds.values())),
        ("ended by", str(state["ended"])),
        ("counters", session.live.counters(ended=True).sentence()),
        *([] if delays["p50"] is None else [("frame in to canvas", _said_of_delays(delays))]),
        *said_of(made.verdict),
    ]
    return Origin(title="Live reconstruction", facts=facts, command=command)


def _said_of_delays(delays: dict[str, float]) -> str:
    return f"{delays['p50']:.2f} s for half of the frames, {delays['p95']:.2f} s for 95 of 100"
