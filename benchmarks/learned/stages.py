"""The solver with something learned after its passes, and without."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from bench_record import error_of
from torch import Tensor

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.denormals import flushed_denormals
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine.iteration import Iteration
from ptycho_torch.refine.result import RefineResult
from ptycho_torch.refine.settings import config_of
from ptycho_torch.refine.solver import first_subsets
from ptycho_torch.refine.subsets import subset_counts


class Stage(ABC):
    """What is done to the object after some passes of one run of the solver."""

    @abstractmethod
    def after(self, solver: Iteration, number: int, started: Tensor) -> object:
        """Change the object after a pass that began at ``started``."""


Begin = Callable[[Iteration], Stage]


def begun(scan: Scan, **settings: Any) -> tuple[Iteration, int]:
    """A solver before its first pass, and the subsets of that pass."""
    config = config_of(None, settings)
    solver = Iteration(scan, None, config, device=torch.device("cpu"), dtype=torch.complex64)
    return solver, first_subsets(solver)


def passed(solver: Iteration, number: int, n_subsets: int) -> tuple[float, Tensor]:
    """One pass; its residual and where it began."""
    started = solver.unknowns.object.ahead.clone()
    with torch.no_grad(), flushed_denormals():
        return solver.run_epoch(number, n_subsets).residual, started


def run_solver(
    scan: Scan, epochs: int, begin: Begin | None, **settings: Any
) -> tuple[Iteration, list[float]]:
    """The plan of `refine` for as many epochs, with a stage after each pass; residuals."""
    with torch.no_grad(), flushed_denormals():
        solver, most = begun(scan, error_bars="none", **settings)
        stage = None if begin is None else begin(solver)
        residuals = []
        for number, n_subsets in enumerate(subset_counts(most, epochs)):
            residual, started = passed(solver, number, n_subsets)
            residuals.append(residual)
            if stage is not None:
                stage.after(solver, number, started)
        return solver, residuals


def run(scan: Scan, epochs: int, begin: Begin | None, **settings: Any) -> RefineResult:
    """What :func:`run_solver` ends with."""
    with torch.no_grad():
        solver, residuals = run_solver(scan, epochs, begin, **settings)
        return solver.result(residuals, stopped=False)


def row_of(scan: Scan, epochs: int, begin: Begin | None, **settings: Any) -> dict[str, float]:
    """Error after as many epochs, and processor seconds."""
    cpu = time.process_time()
    found = run(scan, epochs, begin, **settings)
    cpu = time.process_time() - cpu
    return {"epochs": epochs, "cpu_s": cpu, "error": error_of(scan, found.object)}


def put(solver: Iteration, made: Tensor) -> None:
    """Take another object for the result of a pass; momentum stays."""
    image = solver.unknowns.object
    image.ahead = image.ahead + (made - image.now)
    image.now = image.value = made


def shares(solver: Iteration) -> tuple[Tensor, float]:
    """Light on the canvas as a share of the brightest, and photons per lit pixel."""
    light = solver.illumination / solver.illumination.max()
    return light, solver.mean_counts * solver.n_frames / float((light > 0.1).sum())


def laid_truth(solver: Iteration, scan: Scan) -> Tensor:
    """The true object on the canvas of a problem."""
    truth = scan.object_truth
    assert truth is not None
    whole = StitchedObject(object=truth, weight=np.ones(truth.shape, np.float32), origin=np.zeros(2))
    return torch.from_numpy(solver.canvas.lay(whole)).to(torch.complex64)


def log_error(made: Tensor, truth: Tensor, light: Tensor) -> Tensor:
    """Logarithm of the relative error after the best complex factor, weighed by the light."""
    weight = light * (light > 0.05)
    factor = (truth * made.conj() * weight).sum() / (made.abs().square() * weight).sum()
    left = ((made * factor - truth).abs().square() * weight).sum()
    return 0.5 * torch.log(left / (truth.abs().square() * weight).sum() + 1e-8)


def turned_mean(image: Tensor, light: Tensor) -> Tensor:
    """Factor that makes the mean of an object real."""
    mean = (image * light).sum()
    return mean.conj() / mean.abs().clamp(min=1e-12)
