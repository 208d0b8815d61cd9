"""Simulate a scan whose truth is known.

For position j and probe mode m (NumPy, float64)::

    psi_jm = P_m * O_j                                O_j: N x N patch, bilinear at sub-pixel positions
    Psi_jm = fftshift(fft2(psi_jm, norm="ortho"))
    lambda_j = s * sum_m |Psi_jm|**2                  expected counts

and the counts are Poisson distributed about ``lambda_j``. Where the optics say that the detector is in the
near field, with the transfer function H of free space::

    Psi_jm = ifft2(H * fft2(psi_jm))

What an experiment does to a scan is added on request: :class:`ptycho_torch.data.simulation.faults.Faults`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ptycho_torch.data.limits import memory_bytes
from ptycho_torch.data.scan.contract import DomainDecision, Scan
from ptycho_torch.data.scan.near_field import NearFieldOptics, near_field_of
from ptycho_torch.data.scan.slices import between_slices
from ptycho_torch.data.simulation.faults import NO_FAULTS, Faults
from ptycho_torch.data.simulation.scenes import (
    OBJECTS,
    defocused_probe,
    object_shape,
    raster_positions,
    thick_object,
)
from ptycho_torch.errors import DataError, Fault, ShapeError, fault

__all__ = ["expected_intensity", "simulate_scan", "simulate_scene"]

# Expected and drawn counts in double precision, and what is written.
_BYTES_PER_FRAME_PX = 24
# Amplitude, phase and their transforms in double precision.
_BYTES_PER_OBJECT_PX = 64


def _bilinear_patch(
    obj: npt.NDArray[np.complex128], corner: npt.NDArray[np.float64], N: int
) -> npt.NDArray[np.complex128]:
    """Patch whose pixel (r, c) is ``obj`` at index ``corner + (r, c)``, bilinear between neighbours."""
    top, left = (math.floor(value) for value in corner)
    fy, fx = corner[0] - top, corner[1] - left
    patch = np.zeros((N, N), dtype=np.complex128)
    for row, weight_y in ((top, 1.0 - fy), (top + 1, fy)):
        for column, weight_x in ((left, 1.0 - fx), (left + 1, fx)):
            # A weight of zero also means that the row or column may lie one beyond the object.
            if weight_y * weight_x > 0:
                patch += weight_y * weight_x * obj[row : row + N, column : column + N]
    return patch


def expected_intensity(
    obj: npt.NDArray[Any],
    probe: npt.NDArray[Any],
    positions: npt.NDArray[np.float64],
    *,
    object_origin: Sequence[float] = (0.0, 0.0),
    near_field: NearFieldOptics | None = None,
    faults: Faults = NO_FAULTS,
    between: NearFieldOptics | None = None,
) -> npt.NDArray[np.float64]:
    """Intensity ``sum_m |Psi_jm|**2`` of every frame, before scaling to counts.

    Parameters
    ----------
    obj
        (H, W) complex; (slices, H, W) of a thick object, the first slice met first.
    probe
        (P, N, N) complex.
    positions
        (n, 2) ``[y, x]``; px.
    object_origin
        ``[y, x]``; index into ``obj`` = coordinate + origin.
    near_field
        Where the detector is; None: in the far field.
    faults
        What is wrong with the probe.
    between
        What lies between slices.

    Returns
    -------
    ndarray
        (n, N, N) float64; in the far field with the zero frequency at ``[N // 2, N // 2]``.

    Raises
    ------
    ShapeError
        Shapes do not fit.
    DataError
        Patches reach beyond the object.
    """
    if obj.ndim != (2 if between is None else 3):
        wanted = "(height, width)" if between is None else "(slices, height, width)"
        raise ShapeError("obj", wanted, obj.shape)
    if probe.ndim != 3 or probe.shape[1] != probe.shape[2]:
        hint = "add a leading mode axis with probe[None]" if probe.ndim == 2 else ""
        raise ShapeError("probe", "(modes, N, N)", probe.shape, hint)
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.shape[0] == 0:
        raise ShapeError("positions", "(frames, 2)", positions.shape)
    N = probe.shape[1]
    corners = positions - N // 2 + np.asarray(object_origin, dtype=np.float64)
    outside = (corners.min(axis=1) < 0) | (corners > np.array(obj.shape[-2:]) - N).any(axis=1)
    if outside.any():
        raise DataError(
            fault(
                "positions",
                f"{np.count_nonzero(outside)} of {len(positions)} patches of {N} px reach beyond the "
                f"object of {obj.shape[-2]} x {obj.shape[-1]} px, the first at index "
                f"{int(np.flatnonzero(outside)[0])}; make the object larger or move the scan",
            )
        )
    truth = obj.astype(np.complex128)
    *before, last = truth if truth.ndim == 3 else truth[None]
    intensity = np.empty((len(positions), N, N))
    transfer = None if near_field is None else near_field.transfer(N)
    step = np.ones((N, N)) if between is None else between.transfer(N)
    probes = faults.probes(probe, len(positions))
    for j, (corner, light) in enumerate(zip(corners, probes, strict=True)):
        for one in before:
            light = np.fft.ifft2(step * np.fft.fft2(light * _bilinear_patch(one, corner, N)))
        waves = np.fft.fft2(light * _bilinear_patch(last, corner, N), norm="ortho")
        if transfer is None:
            intensity[j] = np.fft.fftshift((np.abs(waves) ** 2).sum(axis=0))
        else:
            intensity[j] = (np.abs(np.fft.ifft2(transfer * waves, norm="ortho")) ** 2).sum(axis=0)
    return intensity


def _smallest_integers(counts: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    largest = int(counts.max(initial=0))
    for dtype in (np.uint16, np.int32):
        if largest <= np.iinfo(dtype).max:
            return counts.astype(dtype)
    return counts


def simulate_scan(
    obj: npt.NDArray[Any],
    probe: npt.NDArray[Any],
    positions: npt.NDArray[np.float64],
    *,
    photons: float,
    seed: int,
    noise: bool = True,
    object_origin: Sequence[float] = (0.0, 0.0),
    faults: Faults = NO_FAULTS,
    fault_seed: int | None = None,
    optics: Mapping[str, Any] | None = None,
    slice_distance_m: float | None = None,
) -> Scan:
    """Scan of ``obj`` with ``probe`` at ``positions``.

    Parameters
    ----------
    obj
        (H, W) complex; becomes ``object_truth``. Of a thick object (slices, H, W), the first slice met first;
        ``object_truth`` is their product.
    probe
        (P, N, N) complex; only its form matters, ``photons`` sets the scale.
    positions
        (n, 2) ``[y, x]``, centres of the patches; px.
    photons
        Mean expected counts per frame over the scan, without a background.
    seed
        Seed of the Poisson noise.
    noise
        False: the expected counts themselves, as float32.
    object_origin
        ``[y, x]``; index into ``obj`` = coordinate + origin.
    faults, fault_seed
        What is wrong with the scan, and the seed that it is drawn from; that of the noise by default.
    optics
        Metadata of the geometry, see `ptycho_torch.data.scan.geometry`. Where ``far_field`` among them is
        false, the frames are those of the near field, see `ptycho_torch.data.scan.near_field`.
    slice_distance_m
        From slice to slice of a thick object; None: ``obj`` is no such object.

    Returns
    -------
    Scan
        Counts in the smallest integer dtype of uint16, int32 and int64 (float32 without noise); metadata hold
        ``nphotons``, the scale ``intensity_scale`` s, the seed and whether noise was added.

    Raises
    ------
    ShapeError
        Shapes do not fit.
    DataError
        Patches reach beyond the object, no light reaches the detector, or the near field cannot be.
    ValueError
        ``photons`` is not a positive number.

    Examples
    --------
    >>> import numpy as np
    >>> from ptycho_torch.data.simulation.scenes import defocused_probe, lines_object
    >>> obj, probe = lines_object((64, 64), seed=1), defocused_probe(32)
    >>> scan = simulate_scan(obj, probe, np.array([[20.0, 20.5], [30.0, 28.25]]), photons=1e4, seed=2)
    >>> scan.n_frames, scan.N, scan.n_modes
    (2, 32, 1)
    """
    if not (photons > 0 and math.isfinite(photons)):
        raise ValueError(f"photons: expected a positive number of counts per frame, got {photons!r}")
    positions = np.array(positions, dtype=np.float64)
    known = dict(optics or {})
    intensity = expected_intensity(
        obj,
        probe,
        positions,
        object_origin=object_origin,
        near_field=near_field_of(known, probe.shape[-1]),
        faults=faults,
        between=None
        if slice_distance_m is None
        else between_slices(known, probe.shape[-1], slice_distance_m),
    )
    if slice_distance_m is not None:
        known |= {"slices": len(obj), "slice_distance_m": slice_distance_m}
        obj = obj.prod(axis=0)
    mean = float(intensity.sum(axis=(1, 2)).mean())
    if not mean > 0:
        raise DataError(
            Fault("no light reaches the detector: probe or object is zero over the scan", "probe or object")
        )
    scale = photons / mean
    drawn_from = seed if fault_seed is None else fault_seed
    doses = faults.doses(len(positions), drawn_from)
    expected = intensity * (scale * doses)[:, None, None] + faults.dark_frame(probe.shape[-1])
    counts: npt.NDArray[Any] = expected.astype(np.float32)
    if noise:
        counts = _smallest_integers(np.random.default_rng(seed).poisson(expected))
    return Scan(
        diffraction=counts,
        positions=faults.stated_positions(positions, drawn_from),
        probe=probe.astype(np.complex64),
        object_truth=obj.astype(np.complex64),
        object_truth_origin=np.array(object_origin, dtype=np.float64),
        domain=DomainDecision(domain="counts", stated=True, reason="simulated counts"),
        metadata={
            "nphotons": float(photons),
            "intensity_scale": scale,
            "seed": int(seed),
            "noise": bool(noise),
            **faults.stated(),
            **known,
        },
    )


def _require_possible(N: int, grid: tuple[int, int], *, step_px: float, jitter_px: float) -> None:
    """Refuse sizes without an end, and those that there is no memory for, before any is taken."""
    for name, value in (("step_px", step_px), ("jitter_px", jitter_px)):
        if not math.isfinite(value):
            raise ValueError(f"{name}: expected a finite number of pixels, got {value:g}")
    sides = [N + 2 * jitter_px + (points - 1) * step_px for points in grid]
    needed = _BYTES_PER_FRAME_PX * math.prod(grid) * N**2 + _BYTES_PER_OBJECT_PX * math.prod(sides)
    if needed > memory_bytes():
        size = f"{math.prod(grid)} frames of {N} px on an object of {sides[0]:.3g} x {sides[1]:.3g} px"
        raise ValueError(
            f"grid, step_px, N: {size} take {needed / 1e9:.3g} GB of memory, and this machine has "
            f"{memory_bytes() / 1e9:.3g} GB; ask for fewer or smaller frames"
        )


def simulate_scene(
    scene: str = "lines",
    *,
    N: int = 64,
    grid: tuple[int, int] = (20, 20),
    step_px: float = 6.0,
    jitter_px: float = 1.5,
    photons: float = 1e6,
    seed: int = 0,
    noise: bool = True,
    mode_powers: Sequence[float] = (1.0,),
    faults: Faults = NO_FAULTS,
    optics: Mapping[str, Any] | None = None,
    slices: int = 1,
    slice_distance_m: float | None = None,
) -> Scan:
    """Complete scan of a named scene: object, probe, positions and counts from one seed.

    Parameters
    ----------
    scene
        Name in `ptycho_torch.data.simulation.scenes.OBJECTS`.
    N
        Edge of frames and probe; px.
    grid
        (rows, columns) of the raster.
    step_px, jitter_px
        Step of the raster and largest displacement of a point along each axis; px.
    photons
        Mean expected counts per frame.
    seed
        Object, displacements and noise draw from independent streams derived from it.
    noise
        False: expected counts.
    mode_powers
        Relative power of each incoherent probe mode.
    faults
        What is wrong with the scan, drawn from ``seed`` too.
    optics
        As for `simulate_scan`.
    slices, slice_distance_m
        Slices of a thick object, and the distance from one to the next. Each turns phases as the object of a
        thin scan does, and lets that root of the light through that leaves as much of it in all.

    Returns
    -------
    Scan
        With ``object_truth``; its index equals the coordinate.

    Raises
    ------
    ValueError
        Unknown scene, a number that cannot be, or sizes that there is no memory for.
    """
    if scene not in OBJECTS:
        raise ValueError(f"scene: expected one of {', '.join(OBJECTS)}, got {scene!r}")
    _require_possible(N, grid, step_px=step_px, jitter_px=jitter_px)
    object_seed, position_seed, noise_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(3))
    start = N // 2 + jitter_px
    positions = raster_positions(
        grid, step_px=step_px, jitter_px=jitter_px, start_px=(start, start), seed=position_seed
    )
    if (slices > 1) != (slice_distance_m is not None):
        raise ValueError(
            f"slices, slice_distance_m: expected both or none, got {slices} and {slice_distance_m}"
        )
    shape = object_shape(positions, N)
    obj = OBJECTS[scene](shape, seed=object_seed)
    if slices > 1:
        obj = thick_object(scene, shape, slices=slices, seed=object_seed)
    probe = defocused_probe(N, mode_powers=mode_powers)
    scan = simulate_scan(
        obj,
        probe,
        positions,
        photons=photons,
        seed=noise_seed,
        noise=noise,
        faults=faults,
        fault_seed=seed,
        optics=optics,
        slice_distance_m=slice_distance_m,
    )
    return replace(scan, metadata={**scan.metadata, "scene": scene, "seed": int(seed)})
