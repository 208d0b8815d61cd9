"""A scan that grows: frames and positions go in as they come, an object comes out at any time."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import ConfigError, OrientationConfig, Problem, RefineConfig
from ptycho_torch.control import Progress
from ptycho_torch.data.reading import cleaning_of, read_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.diagnosis.finding import Finding
from ptycho_torch.diagnosis.table import CLEANING
from ptycho_torch.errors import DataError
from ptycho_torch.live.arrivals import Arrivals, Journal, MakeStore, Numbers, Window
from ptycho_torch.live.counters import Counters
from ptycho_torch.live.engine import Engine, GoOn
from ptycho_torch.live.frame_store import MemoryStore
from ptycho_torch.live.looking import Look, raw_scan
from ptycho_torch.live.measurement import Measurement
from ptycho_torch.live.predictions import Predictions
from ptycho_torch.live.sweeps import Sweeps
from ptycho_torch.models import PatchModel
from ptycho_torch.prediction.reconstruction import forward_residual_of, reconstruct
from ptycho_torch.prediction.scan_match import model_for
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import RefinementInterrupted, RefineResult, refine

__all__ = ["Finished", "LiveScan"]

_FIRST_LOOK = 16
_GROWN = 1.5


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a scan became once it was over.

    Attributes
    ----------
    object
        The object, equal to that of the offline job on the same frames.
    scan
        The frames that were used, in the order of their numbers, cleaned and turned.
    residual
        Forward residual of the object on these frames: of the last epoch without a network.
    refinement
        What the solver returned; None with a network.
    interrupted
        Whether somebody ended the last refinement; the object is what its last complete epoch reached.
    """

    object: StitchedObject = field(repr=False)
    scan: Scan = field(repr=False)
    residual: float
    refinement: RefineResult | None = field(default=None, repr=False)
    interrupted: bool = False


class LiveScan:
    """Reconstruct a scan while it is measured.

    Frames and positions are joined by frame number, in whatever order they come. What :meth:`finish` returns
    depends on the frames that came and on nothing else: it is what `ptycho_torch.refine.refine`, or with a
    model `ptycho_torch.prediction.reconstruction.reconstruct`, makes of them when they lie in a file. What
    :meth:`object` returns before that is a picture that gets better.

    One thread may add frames, another positions, and a third may call :meth:`advance` and :meth:`object`.

    Parameters
    ----------
    model
        Trained model, on the device to use. None: the object is refined from a flat one.
    probe
        (P, N, N) complex64, or (N, N). None: that of the model, or one from the mean frame.
    config
        How to refine.
    N
        Edge of the square that is cut from frames; px. None: that of the model or the probe, or frames whole.
    centre
        ``(row, column)`` of the zero frequency in the frames as they come; None: their middle.
    position_unit
        ``"px"``: object pixels, of pixel ``N // 2`` of each patch; ``"m"``, ``"mm"``, ``"um"`` or ``"nm"``:
        metres of the middles, which need the geometry in ``metadata``. None: the first positions say it.
    metadata
        Entries of the scan, such as ``photon_energy_eV``.
    bad_pixels
        bool; True: not measured. Of the size of the frames, or of what is cut from them.
    orientation
        How frames and positions are turned.
    clean
        What is masked and left out: ``"auto"``, ``"off"`` or names with commas.
    device
        Where to compute without a model.
    batch_size, middle_trim, pad_eval, physics_steps
        How to predict with a model.
    make_store
        Makes the store of the frames from their edge and dtype; in memory by default.
    journal
        Hears of every frame that was stored and every position that was taken.

    Raises
    ------
    ConfigError
        If settings do not fit each other.
    ShapeError
        If the probe is not square.

    Examples
    --------
    >>> from ptycho_torch.data.simulation.simulate import simulate_scene
    >>> scan = simulate_scene("random_field", N=32, grid=(6, 6), step_px=4.0, jitter_px=1.0, seed=1)
    >>> live = LiveScan(probe=scan.probe, position_unit="px")
    >>> live.add_frames(range(18), scan.diffraction[:18])
    18
    >>> live.add_positions(range(36), scan.positions)
    36
    >>> live.object().object.dtype
    dtype('complex64')
    >>> live.counters().waiting_for_frame
    18
    """

    def __init__(
        self,
        *,
        model: PatchModel | None = None,
        probe: npt.NDArray[Any] | None = None,
        config: RefineConfig | None = None,
        N: int | None = None,
        centre: tuple[int, int] | None = None,
        position_unit: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        bad_pixels: npt.NDArray[np.bool_] | None = None,
        orientation: OrientationConfig | None = None,
        clean: str = "auto",
        device: torch.device | str = "cpu",
        batch_size: int = 16,
        middle_trim: int = 0,
        pad_eval: bool = False,
        physics_steps: int | None = None,
        make_store: MakeStore = MemoryStore,
        journal: Journal | None = None,
    ) -> None:
        given = None if probe is None else np.asarray(probe, dtype=np.complex64)
        light = given[None] if given is not None and given.ndim == 2 else given
        if light is None and model is not None:
            light = model.probe_modes.detach().cpu().numpy().astype(np.complex64)
        self.model, self.config, self.device = model, config or RefineConfig(), device
        self.clean = clean
        self.how = {"middle_trim": middle_trim, "pad_eval": pad_eval, "physics_steps": physics_steps}
        self.batch_size = batch_size
        self.known = Measurement(
            probe=light,
            bad_pixels=bad_pixels,
            metadata=dict(metadata or {}),
            position_unit=position_unit,
            orientation=orientation or OrientationConfig(),
        )
        window = Window(N=_edge(N, model, light), centre=centre)
        self.arrivals = Arrivals(window, make_store, journal)
        self._engine: Engine = (
            Sweeps(self.config, device)
            if model is None
            else Predictions(model, batch_size=batch_size, **self.how)  # type: ignore[arg-type]
        )
        self._cleaning: Collection[str] = CLEANING if cleaning_of(clean) is None else cleaning_of(clean) or ()
        self._look: Look | None = None
        self._next_look = 1
        self._said = ""
        self._working = threading.Lock()

    # What comes in.

    def add_frames(
        self,
        numbers: Sequence[int] | npt.NDArray[Any],
        frames: npt.NDArray[Any],
        positions: npt.NDArray[Any] | None = None,
        *,
        unit: str | None = None,
    ) -> int:
        """Take frames, and positions where they came with them.

        Parameters
        ----------
        numbers
            (n,) integers: which frame of the scan each is.
        frames
            (n, height, width) counts, any real dtype.
        positions
            (n, 2) ``[y, x]``.
        unit
            Of these positions; that of the scan by default.

        Returns
        -------
        int
            How many are new and usable; :meth:`counters` says what became of the others.
        """
        if positions is not None:
            self.add_positions(numbers, positions, unit=unit)
        return self.arrivals.add_frames(numbers, frames)

    def add_positions(
        self,
        numbers: Sequence[int] | npt.NDArray[Any],
        positions: npt.NDArray[Any] | Sequence[Any],
        *,
        unit: str | None = None,
    ) -> int:
        """Take positions.

        Parameters
        ----------
        numbers
            (n,) integers: of which frame of the scan each is.
        positions
            (n, 2) real ``[y, x]``.
        unit
            Of these positions; that of the scan by default.

        Returns
        -------
        int
            How many are new and usable.
        """
        self.know_unit(unit)
        factor = self.known.factor_to(unit)
        if factor is None:
            self.arrivals.refuse(f"positions in {unit}, expected {self.known.position_unit}")
            return 0
        values = np.asarray(positions, dtype=np.float64)
        return self.arrivals.add_positions(numbers, values if factor == 1 else values * factor)

    def know_unit(self, unit: str | None) -> None:
        """Take the unit of the table from the first positions, where nobody stated it; None: pixels."""
        if self.known.position_unit is None:
            self.known = replace(self.known, position_unit=unit or "px")

    def told(
        self,
        metadata: Mapping[str, Any],
        *,
        bad_pixels: npt.NDArray[np.bool_] | None = None,
        centre: tuple[int, int] | None = None,
        n_frames: int | None = None,
    ) -> None:
        """Take facts that a source states; what was stated when this was made outranks them.

        Parameters
        ----------
        metadata
            Entries of the scan.
        bad_pixels
            Mask of the detector.
        centre
            Where the beam meets the detector; ``(row, column)``. Without effect once a frame has come.
        n_frames
            How many frames there will be.
        """
        self.known = self.known.told(metadata, bad_pixels)
        if centre is not None and self.arrivals.window.centre is None and self.arrivals.store is None:
            self.arrivals.window = replace(self.arrivals.window, centre=centre)
        if n_frames is not None:
            self.arrivals.announce(n_frames)

    # What comes out.

    def counters(self, *, ended: bool = False) -> Counters:
        """What has become of everything that came; ``ended``: nothing more will come."""
        return self.arrivals.counters(ended=ended)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found wrong with the frames when they were last looked through."""
        return () if self._look is None else self._look.findings

    @property
    def residual(self) -> float | None:
        """Forward residual of the frames that were last worked on."""
        return self._engine.residual

    @property
    def is_waiting_for(self) -> str:
        """What keeps joined frames from being used, such as a geometry that is not known; empty: nothing."""
        return self._said

    @property
    def n_used(self) -> int:
        """Frames that the object shows."""
        return 0 if self._look is None else self._look.scan.n_frames - self._engine.n_unseen

    def shown(self) -> Numbers:
        """Numbers of the frames that the object shows."""
        with self._working:
            if self._look is None:
                return np.empty(0, dtype=np.int64)
            return np.delete(self._look.scan.frame_index, self._engine.unseen())

    def advance(self, go_on: GoOn = lambda: True, *, least: int = _FIRST_LOOK) -> bool:
        """Do one piece of work on what has come.

        Parameters
        ----------
        go_on
            Asked during a long piece; a no ends it. Where other frames have come it is ended anyway.
        least
            So many frames must have joined before the first.

        Returns
        -------
        bool
            Whether there is more to do before other frames come.
        """
        with self._working:
            joined = self.arrivals.n_joined
            if self._look is None and joined < max(1, least):
                return False
            if not self._take_what_came():
                return False
            seen = self.arrivals.n_joined
            return self._engine.work(lambda: go_on() and self.arrivals.n_joined == seen)

    def _take_what_came(self) -> bool:
        """Let the engine have every joined frame; whether it has any."""
        joined = self.arrivals.n_joined
        try:
            if self._look is None or joined >= self._next_look:
                self._look = Look.at(self.arrivals, self.known, self._cleaning)
                self._engine.begin(self._look.scan)
                self._next_look = int(_GROWN * joined) + 1
            else:
                self._look, fresh = self._look.with_more(self.arrivals, self.known)
                if fresh:
                    self._engine.grow(self._look.scan)
        except DataError as error:
            # More frames, or a message about the geometry, may mend it.
            self._said = str(error)
            self._next_look = int(_GROWN * joined) + 1
            return self._look is not None
        self._said = ""
        return True

    def object(self) -> StitchedObject | None:
        """The object that all frames with a position so far show; None before the first one.

        Works until every frame has had its influence, which takes no time where another thread calls
        :meth:`advance` all the time. Coordinates are those of the positions; where these are turned, about
        coordinate zero.
        """
        while self.advance(least=1):
            if self._engine.n_unseen == 0:
                break
        return self.snapshot()

    def snapshot(self) -> StitchedObject | None:
        """The object as the last piece of work left it, without any more work."""
        with self._working:
            return self._engine.object()

    def raw(self) -> Scan:
        """The frames that have a position, by number, as a file would hold them.

        Raises
        ------
        DataError
            There are none, or their positions cannot be turned to pixels.
        """
        return raw_scan(self.arrivals, self.known)

    def finish(self, progress: Progress | None = None) -> Finished:
        """The object of the scan that is over, equal to the offline result of the same frames.

        Without a network it is refined once more from a flat object, so that no trace of the order of arrival
        is left in it.

        Parameters
        ----------
        progress
            As for the offline calls.

        Raises
        ------
        DataError
            There is no frame with a position, or none is a measurement.
        """
        with self._working:
            scan = read_scan(
                self.raw(),
                n_pixels=None,
                measurement_domain="auto",
                nphotons=1.0,
                orientation=self.known.orientation,
                clean=self.clean,
            )
            if self.model is None:
                interrupted = False
                try:
                    result = refine(scan, config=self.config, device=self.device, progress=progress)
                except RefinementInterrupted as stop:
                    result, interrupted = stop.result, True
                return Finished(
                    object=result.object,
                    scan=scan,
                    residual=result.residuals[-1],
                    refinement=result,
                    interrupted=interrupted,
                )
            made = reconstruct(
                self.model,
                scan,
                batch_size=self.batch_size,
                progress=progress,
                **self.how,  # type: ignore[arg-type]
            )
            residual = forward_residual_of(made, model_for(self.model, scan), scan)
            return Finished(object=made, scan=scan, residual=residual)


def _edge(N: int | None, model: PatchModel | None, probe: npt.NDArray[Any] | None) -> int | None:
    """Edge of the frames that model, probe and caller agree on."""
    stated = {
        "N": N,
        "the model": None if model is None else model.n_pixels,
        "the probe": None if probe is None else int(probe.shape[-1]),
    }
    found = {name: size for name, size in stated.items() if size is not None}
    if len(set(found.values())) > 1:
        said = ", ".join(f"{size} by {name}" for name, size in found.items())
        raise ConfigError(Problem("N", N, f"one size of frames, got {said}"))
    return next(iter(found.values()), None)
