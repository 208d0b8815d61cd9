"""Hold frames out for settings that fit something to every single frame.

Where every frame has a dose, a position or weights of its own, no other frame says what they are. So a
held-out frame shows a random quarter of its pixels to the solver, from which it finds them, and is compared
with what is predicted for the other three quarters. Counts of different pixels have independent noise, so
that what follows noise predicts worse, as the free R value of crystallography tells (Brünger, Nature 355,
472, 1992). All settings that are compared see the same pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from ptycho_config import RefineConfig
from ptycho_torch.control import Progress
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.physics import poisson_deviance
from ptycho_torch.reassembly import ALONE
from ptycho_torch.refine import RefineResult, refine
from ptycho_torch.refine.residual import predicted_pairs
from ptycho_torch.refine.result import ProbeVariation
from ptycho_torch.refine.subsets import z_order

__all__ = ["PartlyHidden", "Split", "deviances_of", "splits_of"]

_SHOWN = 0.25


@dataclass(frozen=True, kw_only=True)
class PartlyHidden(Scan):
    """A scan with pixels that are hidden from the solver: they hold a count that no ceiling lets pass."""

    def counts_per_frame(self) -> npt.NDArray[np.float64]:
        """Total counts of each frame as those that are seen let expect, by the mean frame: (n,) float64."""
        frames = np.asarray(self.diffraction)
        free = self.measured(frames)
        seen = np.where(free, frames, 0).astype(np.float64)
        mean = seen.sum(axis=0) / np.maximum(free.sum(axis=0), 1)
        share = np.tensordot(free, mean, axes=2) / max(float(mean.sum()), 1e-30)
        return np.asarray(seen.sum(axis=(1, 2)) / np.maximum(share, 1e-30))


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """A scan of which some frames are held out.

    Attributes
    ----------
    shown
        All frames, as a solver may see them.
    scan
        The same frames with nothing hidden.
    held
        (k,) int64; rows of the frames that are held out.
    hidden
        (k, N, N) bool; their pixels that are predicted: measured, and not shown.
    """

    shown: Scan = field(repr=False)
    scan: Scan = field(repr=False)
    held: npt.NDArray[np.int64] = field(repr=False)
    hidden: npt.NDArray[np.bool_] = field(repr=False)

    def fit(
        self,
        config: RefineConfig,
        *,
        device: torch.device | str = "cpu",
        dark: npt.NDArray[np.floating] | None = None,
        progress: Progress | None = None,
    ) -> npt.NDArray[np.float64]:
        """Refine what is shown, and say how far the held-out frames are from it: see `deviances_of`."""
        made = refine(self.shown, config=config, device=device, processes=ALONE, dark=dark, progress=progress)
        return deviances_of(self, made, device=device)


def splits_of(scan: Scan, count: int, *, seed: int = 0, wanted: int | None = None) -> Iterator[Split]:
    """Hold out every ``count``-th frame along a curve through all places, then the next of each.

    Parameters
    ----------
    scan
        Counts of photons, in memory.
    count
        Of how many frames one is held out.
    seed
        Of the pixels that are shown.
    wanted
        How many splits; with ``count`` of them, as many as there are by default, each frame is held out once.
    """
    frames = np.asarray(scan.diffraction, dtype=np.float32)
    free = np.broadcast_to(scan.measured(frames), frames.shape)
    # As single precision holds it: rounded down it would lie below the ceiling, and be seen.
    beyond = float(np.float32(2 * float(frames.max()) + 1))
    ceiling = np.full((scan.N, scan.N), beyond) if scan.ceiling is None else np.minimum(scan.ceiling, beyond)
    order = z_order(scan.positions)
    for number in range(count if wanted is None else wanted):
        held = np.sort(order[number::count])
        rng = np.random.default_rng((seed, number))
        hidden = rng.random((len(held), scan.N, scan.N)) >= _SHOWN
        covered = frames.copy()
        covered[held] = np.where(hidden, beyond, frames[held])
        shown = _hiding(scan, covered, ceiling)
        yield Split(shown=shown, scan=scan, held=held, hidden=hidden & free[held])


def _hiding(scan: Scan, frames: npt.NDArray[np.float32], ceiling: npt.NDArray[np.float64]) -> PartlyHidden:
    return PartlyHidden(
        diffraction=frames,
        ceiling=ceiling,
        positions=scan.positions,
        positions_nominal=scan.positions_nominal,
        probe=scan.probe,
        bad_pixels=scan.bad_pixels,
        domain=scan.domain,
        metadata=scan.metadata,
        source=scan.source,
    )


def deviances_of(
    split: Split, made: RefineResult, *, device: torch.device | str = "cpu"
) -> npt.NDArray[np.float64]:
    """Poisson deviance of the hidden pixels of each held-out frame, (k,) float64.

    Per photon of a mean frame; zero for a prediction that is what was counted. It is least for the true mean
    at any dose, and takes no side between likelihoods that were fitted.
    """
    rows = split.held
    variation = made.variation
    if variation is not None:
        variation = ProbeVariation(modes=variation.modes, weights=variation.weights[rows])
    seen = replace(split.scan, positions=made.positions).take(rows)
    pairs = predicted_pairs(
        seen,
        made.object,
        made.probe,
        sub_pixel=made.sub_pixel,
        dose=None if made.dose is None else made.dose[rows],
        variation=variation,
        background=np.zeros((seen.N, seen.N)) if made.background is None else made.background,
        intensity_scale=made.intensity_scale,
        slices=made.slices,
        slice_distance_m=made.slice_distance_m or 0.0,
        device=device,
    )()
    found, counts = (torch.cat(parts).cpu().double() for parts in zip(*pairs, strict=True))
    mean = float(split.scan.counts_per_frame().mean())
    return np.array(
        [
            float(poisson_deviance(one, other, mean_counts=mean, measured=torch.from_numpy(mask)))
            for one, other, mask in zip(found, counts, split.hidden, strict=True)
        ]
    )
