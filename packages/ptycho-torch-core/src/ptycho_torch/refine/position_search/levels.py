"""The scan at low resolution: frames cropped to their bright middle, as a detector would have seen them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ptycho_torch.data import Scan
from ptycho_torch.data.scan.contract import frame_chunks
from ptycho_torch.data.scan.crop import crop_fourier, crop_frames, crop_middle

__all__ = ["Level", "levels_of", "with_middle"]

_LEAST_EDGE = 16
_LIGHT = 0.85
_STRIDE_PX = 4.0
_SAMPLE_FRAMES = 64

Image = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """A scan whose frames were cropped.

    Attributes
    ----------
    scan
        Its pixels are larger than those of the whole by ``pixel_px``, and so are its units of position.
    pixel_px
        Edge of an object pixel; px of the whole scan.
    dark
        (n, n) counts that every frame shows without light, or None.
    """

    scan: Scan
    pixel_px: float
    dark: Image | None

    @property
    def stride(self) -> int:
        """Pixels between the places that are tried in a search far off."""
        return max(1, round(_STRIDE_PX / self.pixel_px))


def levels_of(scan: Scan, dark: Image | None) -> list[Level]:
    """The coarsest level that holds most of the light, and the next finer one below the whole resolution.

    Parameters
    ----------
    scan
        Frames, positions and probe.
    dark
        (N, N) counts that every frame shows without light, or None.
    """
    edge = _first_edge(scan)
    edges = [edge] if 2 * edge >= scan.N else [edge, 2 * edge]
    return [_level(scan, edge, dark) for edge in edges]


def with_middle(
    probe: npt.NDArray[np.complex64], middle: npt.NDArray[np.complex64]
) -> npt.NDArray[np.complex64]:
    """A probe with the low frequencies of one on larger pixels.

    Parameters
    ----------
    probe, middle
        (modes, N, N) and (modes, n, n) complex64, n at most N; each in a scale of its own.
    """
    edge = middle.shape[-1]
    spectrum = np.fft.fftshift(np.fft.fft2(probe, norm="ortho"), axes=(-2, -1))
    known, found = (
        crop_middle(spectrum, edge),
        np.fft.fftshift(np.fft.fft2(middle, norm="ortho"), axes=(-2, -1)),
    )
    gain = np.sqrt((np.abs(known) ** 2).sum() / (np.abs(found) ** 2).sum())
    known[...] = gain * found
    joined = np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(-2, -1)), norm="ortho")
    return np.asarray(joined, dtype=np.complex64)


def _first_edge(scan: Scan) -> int:
    """Smallest of N / 4, N / 2 and N that holds most of the light of some frames."""
    chosen = np.unique(np.linspace(0, scan.n_frames - 1, _SAMPLE_FRAMES).astype(np.int64))
    frames = np.asarray(scan.diffraction[chosen])
    seen = np.where(scan.measured(frames), frames, 0).sum(axis=0, dtype=np.float64)
    for part in (4, 2):
        edge = scan.N // part // 2 * 2
        if edge >= _LEAST_EDGE and crop_middle(seen, edge).sum() >= _LIGHT * seen.sum():
            return edge
    return scan.N


def _level(scan: Scan, edge: int, dark: Image | None) -> Level:
    if edge == scan.N:
        return Level(scan=replace(scan, object_truth=None, labels=None), pixel_px=1.0, dark=dark)
    pixel = scan.N / edge
    frames = crop_frames(scan.diffraction, edge)
    # Read once: they are looked at many times, and are a quarter of the whole at most.
    held = np.concatenate([np.asarray(frames[part]) for part in frame_chunks(scan.diffraction)])
    cropped = replace(
        scan,
        diffraction=held,
        positions=scan.positions / pixel,
        positions_nominal=scan.positions_nominal / pixel,
        probe=crop_fourier(scan.probe, edge),
        bad_pixels=None if scan.bad_pixels is None else crop_middle(scan.bad_pixels, edge),
        ceiling=None if scan.ceiling is None else crop_middle(scan.ceiling, edge),
        object_truth=None,
        labels=None,
        statistics=None,
    )
    return Level(scan=cropped, pixel_px=pixel, dark=None if dark is None else crop_middle(dark, edge))
