r"""One object from those of tiles.

With the share :math:`w_t` of tile t in a pixel (:mod:`ptycho_torch.refine.tiles.layout`) the object is
:math:`\sum_t w_t e^{i\alpha_t} O_t / \sum_t w_t` over the tiles that light the pixel. No measurement
tells the phase of an object; each tile is turned to those before it by the angle of their inner product,
weighed by their light, where they overlap. Their scale is that of the counts, their place that of the
positions, and a phase ramp is that of the probe, which all tiles have in common.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ptycho_torch.metrics.region import COVERAGE_SHARE, lit_pixels
from ptycho_torch.reassembly import CanvasGeometry, StitchedObject
from ptycho_torch.refine.error_bars.bars import ErrorBars
from ptycho_torch.refine.result import RefineResult
from ptycho_torch.refine.tiles.layout import Tile

__all__ = ["JoinedTiles"]

_TINY = 1e-30


class JoinedTiles:
    """Running sums over tiles.

    Parameters
    ----------
    geometry
        Canvas of the whole scan.
    intensity_scale
        Counts per unit of normalised intensity, of the whole scan.
    """

    def __init__(self, geometry: CanvasGeometry, intensity_scale: float) -> None:
        self.geometry, self.intensity_scale = geometry, intensity_scale
        self.object = np.zeros(geometry.shape, dtype=np.complex64)
        self.light = np.zeros(geometry.shape, dtype=np.float32)
        self.share = np.zeros(geometry.shape, dtype=np.float32)
        self.sigma: npt.NDArray[np.float32] | None = None
        self.apart, self.compared = 0.0, 0.0

    def add(self, tile: Tile, result: RefineResult) -> None:
        """Add what a tile found.

        Parameters
        ----------
        tile
            Its part of the scan.
        result
            In the gauge of its own counts, and with the probe of all tiles.
        """
        made = result.object
        top, left = np.rint(np.array(self.geometry.origin) - made.origin).astype(int).tolist()
        height, width = made.object.shape
        here = (slice(top, top + height), slice(left, left + width))
        share = tile.shares(np.asarray(made.origin), made.object.shape)
        share = np.where(made.weight > 0, share, np.float32(0))
        gain = np.float32((result.intensity_scale / self.intensity_scale) ** 0.5)
        image = np.asarray(made.object * np.complex64(gain), dtype=np.complex64)
        image = self._turned(image, np.asarray(share * made.weight, dtype=np.float32), here)
        self.object[here] += share * image
        self.light[here] += share * made.weight
        self.share[here] += share
        if result.error_bars is not None:
            if self.sigma is None:
                self.sigma = np.zeros(self.geometry.shape, dtype=np.float32)
            sigma = np.where(np.isfinite(result.error_bars.sigma), result.error_bars.sigma, np.float32(0))
            self.sigma[here] += share * sigma * gain

    def _turned(
        self, image: npt.NDArray[np.complex64], light: npt.NDArray[np.float32], here: tuple[slice, slice]
    ) -> npt.NDArray[np.complex64]:
        """The object of a tile with the phase of what it overlaps with, from which its distance is noted."""
        share = self.share[here]
        known = self.object[here] / np.maximum(share, np.float32(_TINY))
        # Pixels that little light tells of say little of the phase.
        both = share * light
        agreement = complex((both * known * image.conj()).sum(dtype=np.complex128))
        if agreement != 0:
            image = image * np.complex64(agreement / abs(agreement))
            self.apart += float((both * np.abs(image - known) ** 2).sum(dtype=np.float64))
            self.compared += float((both * np.abs(known) ** 2).sum(dtype=np.float64))
        return image

    @property
    def disagreement(self) -> float | None:
        """Root mean square difference of tiles in what they share, over their size there; None: nowhere."""
        return (self.apart / self.compared) ** 0.5 if self.compared > 0 else None

    def stitched(self) -> StitchedObject:
        """The object; one where no light fell. It takes the sums, to which nothing can be added then."""
        dark = self.share <= 0
        share = np.maximum(self.share, np.float32(_TINY), out=self.share)
        # Nothing is divided twice, and the memory of the sums is free.
        self.share = np.zeros((0, 0), np.float32)
        self.object /= share
        self.light /= share
        self.object[dark] = 1
        if self.sigma is not None:
            self.sigma /= share
            self.sigma[dark] = np.inf
        return StitchedObject(object=self.object, weight=self.light, origin=np.array(self.geometry.origin))

    def error_bars(self) -> ErrorBars | None:
        """Those of :meth:`stitched`, which comes before; None where tiles have none."""
        if self.sigma is None:
            return None
        return ErrorBars(
            sigma=self.sigma,
            null_space=~lit_pixels(self.light, self.light.shape, COVERAGE_SHARE),
            null_share=COVERAGE_SHARE,
        )
