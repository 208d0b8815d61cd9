"""Scans as ptychodus lays them out, with a known object in metres, and ptychodus as a command."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.ndimage import map_coordinates
from skimage.registration import phase_cross_correlation

from ptycho_torch.bundle import best_checkpoint
from ptycho_torch.data.simulation.simulate import simulate_scene

PIXEL_M, DISTANCE_M, ENERGY_EV = 1e-8, 1.0, 10_000.0
WAVELENGTH_M = 12398.4198 / ENERGY_EV * 1e-10
PX = 0.25
"""Most that features may be misplaced."""
CENTRE_M = np.array([3e-6, -2e-6])


@dataclass(frozen=True)
class World:
    """A folder with a scan, and what it was made from.

    Attributes
    ----------
    folder
        Holds ``diffraction.h5`` and ``product.h5``.
    truth
        Complex, the object; its pixel ``[y, x]`` lies at ``CENTRE_M + ([y, x] - middle) * PIXEL_M``.
    middle
        (2,) index into ``truth`` of the point ``CENTRE_M``.
    """

    folder: Path
    truth: np.ndarray
    middle: np.ndarray

    def seen_at(self, shape: tuple[int, ...], centre_m: np.ndarray) -> np.ndarray:
        """The object on an array of this shape whose middle lies at ``centre_m``."""
        offset = (centre_m - CENTRE_M) / PIXEL_M + self.middle
        axes = [
            np.arange(length) - (length - 1) / 2 + start for length, start in zip(shape, offset, strict=True)
        ]
        grid = np.meshgrid(*axes, indexing="ij")
        parts = (
            map_coordinates(part, grid, order=3, mode="nearest")
            for part in (self.truth.real, self.truth.imag)
        )
        real, imaginary = parts
        return real + 1j * imaginary


def make_world(
    folder: Path,
    *,
    n_pixels: int = 32,
    modes: int = 1,
    dtype: str = "int32",
    masked: bool = False,
    known: bool = False,
    photons: float = 1e5,
    step_px: float = 4.0,
) -> World:
    """Write a scan into a new folder."""
    scan = simulate_scene(
        "lines", N=n_pixels, grid=(11, 8), step_px=step_px, jitter_px=1.0, photons=photons, seed=7,
        mode_powers=tuple(0.6**number for number in range(modes)),
    )  # fmt: skip
    # Denser at one end, so that the mean of the positions is far from their middle.
    chosen = np.flatnonzero((np.arange(scan.n_frames) < 56) | (np.arange(scan.n_frames) % 2 == 0))
    frames = np.asarray(scan.diffraction)[chosen]
    # ptychodus puts the middle of a patch, (N - 1) / 2, on its position.
    positions = scan.positions[chosen] - 0.5
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
    made = World(folder, scan.object_truth, middle + scan.object_truth_origin)
    made.folder.mkdir()
    shape = tuple((np.ceil(np.ptp(positions, axis=0)).astype(int) + n_pixels).tolist())
    guess = made.seen_at(shape, CENTRE_M) if known else np.ones(shape)
    _write_frames(made.folder / "diffraction.h5", frames, dtype, masked)
    metres = (positions - middle) * PIXEL_M + CENTRE_M
    _write_product(made.folder / "product.h5", scan.probe, guess.astype(np.complex64), metres)
    return made


def _write_frames(path: Path, frames: np.ndarray, dtype: str, masked: bool) -> None:
    n_pixels = frames.shape[-1]
    values, bad = frames.copy(), np.zeros((n_pixels, n_pixels), dtype=bool)
    if masked:
        bad[5:7] = bad[:, 20] = True
        # Some are known by their values, others by the mask only.
        values[:, :, 20] *= 2
        values[:, 5:7] = np.iinfo(dtype).max
    detector_m = WAVELENGTH_M * DISTANCE_M / (n_pixels * PIXEL_M)
    with h5py.File(path, "w") as file:
        file["indexes"] = np.arange(len(frames))
        file["bad_pixels"] = bad
        patterns = file.create_dataset("patterns", data=values.astype(dtype))
        patterns.attrs.update(detector_pixel_width_m=detector_m, detector_pixel_height_m=detector_m)


def _write_product(path: Path, probe: np.ndarray, guess: np.ndarray, metres: np.ndarray) -> None:
    pixels = {"pixel_width_m": PIXEL_M, "pixel_height_m": PIXEL_M}
    with h5py.File(path, "w") as file:
        file.attrs.update(
            name="simulated", comments="", detector_object_distance_m=DISTANCE_M, photon_energy_eV=ENERGY_EV,
            probe_photon_count=1e5, exposure_time_s=1.0,
            mass_attenuation_m2_per_kg=0.0, tomography_angle_deg=0.0,
        )  # fmt: skip
        file.create_dataset("probe", data=probe[None]).attrs.update(pixels)
        image = file.create_dataset("object", data=guess[None])
        image.attrs.update({**pixels, "center_y_m": CENTRE_M[0], "center_x_m": CENTRE_M[1]})
        file["object_layer_spacing_m"] = np.zeros(0)
        file["probe_position_indexes"] = np.arange(len(metres))
        file["probe_position_y_m"], file["probe_position_x_m"] = metres.T
        file["loss_values"], file["loss_epochs"] = np.zeros(0), np.zeros(0, dtype=int)


def write_frames_for_the_window(world: World) -> Path:
    """The frames in a file that the window opens; it offers no reader for ``diffraction.h5``."""
    from ptychodus.api.io import load_diffraction_data, load_product, save_training_data
    from ptychodus.api.reconstruct import prepare_reconstruct_input

    folder, path = world.folder, world.folder / "frames.h5"
    data = load_diffraction_data(folder / "diffraction.h5")
    save_training_data(path, prepare_reconstruct_input(data, load_product(folder / "product.h5")))
    return path


def command(job: str, source: Path, output: Path, settings: Path) -> list[str]:
    """Command line of ptychodus, as its users type it."""
    program = Path(sys.executable).with_name("ptychodus")
    paths = ["-i", str(source), "-o", str(output), "-s", str(settings)]
    return [str(program), "-b", job, *paths, "--log-level", "20"]


def settings_file(
    folder: Path, *, algorithm: str = "unsupervised", model_size: int | None = 32, **training: Any
) -> Path:
    """Settings of ptychodus; what is left out has its defaults."""
    lines = ["[Processing]", f"Algorithm = ptychopinn-torch_{algorithm}"]
    if model_size is not None:
        lines += ["[PtychoPINNTorchData]", f"model_size = {model_size}"]
    lines += ["[PtychoPINNTorchTraining]", *(f"{name} = {value}" for name, value in training.items())]
    path = folder / f"settings-{algorithm}-{model_size}.ini"
    path.write_text("\n".join(lines) + "\n")
    return path


def environment(folder: Path) -> dict[str, str]:
    """Of a process whose home and temporary folder are watched."""
    places = {name: folder / name for name in ("home", "tmp")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    return {**os.environ, "HOME": str(places["home"]), "TMPDIR": str(places["tmp"]), "OMP_NUM_THREADS": "1"}


def displacement_and_error(world: World, product: Path) -> tuple[np.ndarray, float, float]:
    """How far features of the product are misplaced, in px; its error, and that of a flat object."""
    with h5py.File(product) as file:
        image = file["object"][()].reshape(file["object"].shape[-2:])
        centre_m = np.array([file["object"].attrs[name] for name in ("center_y_m", "center_x_m")])
    truth = world.seen_at(image.shape, centre_m)
    margin = 16
    inside = (slice(margin, -margin),) * 2
    first, second = truth[inside], image[inside]
    second = second * (np.vdot(second, first) / np.vdot(second, second))
    moved, _, _ = phase_cross_correlation(
        first - first.mean(), second - second.mean(), upsample_factor=50, normalization=None
    )
    norm = np.linalg.norm(first)
    error, flat = np.linalg.norm(first - second) / norm, np.linalg.norm(first - first.mean()) / norm
    return moved, float(error), float(flat)


def reconstructed(ptychodus, compared, world, output, run, **settings):
    """Reconstruct with the checkpoint that a user copies from a run."""
    shutil.copy(best_checkpoint(run), world.folder / "model.ckpt")
    done = ptychodus("reconstruct", world.folder, output, **settings)
    assert done.returncode == 0, done.stdout
    return compared(world, output / "product.000001.h5")


def only_run(output: Path) -> Path:
    """The one run that a folder holds."""
    runs = list(output.glob("run_*"))
    assert len(runs) == 1, runs
    return runs[0]


def trained(ptychodus, world, output, **settings):
    """Train into a new folder; the run, and what was said."""
    done = ptychodus("train", world.folder, output, **settings)
    assert done.returncode == 0, done.stdout
    return only_run(output), done.stdout
