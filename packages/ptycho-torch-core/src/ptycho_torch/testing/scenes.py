"""Scans small enough for a test that runs in milliseconds, with their truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scene

__all__ = ["random_probe", "tiny_scene"]


def tiny_scene(
    scene: str = "lines",
    *,
    N: int = 32,
    grid: tuple[int, int] = (4, 4),
    step_px: float = 4.0,
    jitter_px: float = 1.0,
    photons: float = 1e6,
    seed: int = 0,
    noise: bool = False,
    mode_powers: Sequence[float] = (1.0,),
) -> Scan:
    """Simulated scan of a few frames, without noise unless asked for.

    Parameters
    ----------
    scene
        Name of an object, see :data:`ptycho_torch.data.simulation.scenes.OBJECTS`.
    N
        Side of a frame in px.
    grid
        Rows and columns of the raster.
    step_px, jitter_px
        Step of the raster and largest displacement in px; a jitter of zero with a whole step keeps
        every position on a whole pixel.
    photons
        Mean expected counts per frame.
    seed
        Seed of object, positions and noise.
    noise
        Whether counts are drawn from their Poisson distribution.
    mode_powers
        Relative power of each incoherent probe mode.

    Returns
    -------
    Scan
        With ``object_truth``, whose index is the coordinate.

    Examples
    --------
    >>> scan = tiny_scene(N=32, grid=(2, 3))
    >>> scan.n_frames, scan.N, scan.n_modes
    (6, 32, 1)
    """
    return simulate_scene(
        scene,
        N=N,
        grid=grid,
        step_px=step_px,
        jitter_px=jitter_px,
        photons=photons,
        seed=seed,
        noise=noise,
        mode_powers=mode_powers,
    )


def random_probe(
    modes: int, n_pixels: int, generator: torch.Generator, *, dtype: torch.dtype = torch.complex128
) -> Tensor:
    """Probe of white complex noise, ``(modes, n_pixels, n_pixels)``: nothing about it is symmetric.

    A probe that is real or even hides a missing conjugate or a flipped axis.
    """
    return torch.randn(modes, n_pixels, n_pixels, dtype=dtype, generator=generator)
