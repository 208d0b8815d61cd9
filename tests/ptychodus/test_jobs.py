"""Jobs of ptychodus as people start them: supervised, two at once, cancelled, without data."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from driving import PX, command, environment, reconstructed, settings_file, trained

from ptycho_torch.bundle import best_checkpoint


@pytest.mark.long
def test_supervised_with_one_folder_for_input_and_output(world, ptychodus, compared, tmp_path):
    """The training file is the one that ptychodus' own exporter writes; runs of before lie beside it."""
    from ptychodus.api.io import load_diffraction_data, load_product, save_ptychopinn_training_data
    from ptychodus.api.reconstruct import prepare_reconstruct_input

    made = world(known=True)
    data = load_diffraction_data(made.folder / "diffraction.h5")
    prepared = prepare_reconstruct_input(data, load_product(made.folder / "product.h5"))
    both = tmp_path / "both"
    # The program asks for the pair; the training takes the archive that was exported beside it.
    shutil.copytree(made.folder, both)
    (both / "run_of_before").mkdir()
    (both / "run_of_before" / "no_scan.npz").write_bytes(b"not to be read")
    save_ptychopinn_training_data(both / "exported.npz", prepared)
    settings = {"algorithm": "supervised", "epochs": 4}
    done = ptychodus("train", both, both, **settings)
    assert done.returncode == 0, done.stdout
    run = next(path for path in both.glob("run_*") if path.name != "run_of_before")
    moved, error, flat = reconstructed(ptychodus, compared, made, tmp_path / "rec", run, **settings)
    assert np.abs(moved).max() <= PX
    assert error < 0.6 * flat


@pytest.mark.long
def test_a_forgotten_model_size_trains_at_the_size_of_the_frames(world, ptychodus, compared, tmp_path):
    made = world()
    run, said = trained(ptychodus, made, tmp_path / "out", model_size=None, epochs=1)
    assert "trained at 32 px" in said
    moved, *_ = reconstructed(ptychodus, compared, made, tmp_path / "rec", run, model_size=None)
    assert np.abs(moved).max() <= PX


@pytest.mark.long
def test_two_jobs_at_once_do_not_collide_and_write_nowhere_else(world, tmp_path):
    made = world()
    before = _files(made.folder)
    settings, output = settings_file(tmp_path, epochs=1, n_devices=2), tmp_path / "out"
    jobs = [
        subprocess.Popen(
            command("train", made.folder, output, settings),
            env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [job.communicate(timeout=240)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    runs = list(output.glob("run_*"))
    assert len(runs) == 2
    assert all(best_checkpoint(run) is not None for run in runs)
    assert _files(made.folder) == before
    assert {path.name for path in output.iterdir()} == {run.name for run in runs}


def test_a_cancelled_job_ends_at_once_and_blocks_nothing(world, ptychodus, tmp_path):
    made, output = world(), tmp_path / "out"
    settings = settings_file(tmp_path, epochs=500)
    # In a group of its own, as a batch system starts it: the signal reaches the process that trains, too.
    job = subprocess.Popen(
        command("train", made.folder, output, settings),
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    for line in job.stdout:
        if "ptychopinn-torch: epoch 1 of 500" in line:
            break
    os.killpg(job.pid, signal.SIGTERM)
    start = time.monotonic()
    job.communicate(timeout=60)
    assert time.monotonic() - start < 45
    done = ptychodus("train", made.folder, output, epochs=1)
    assert done.returncode == 0, done.stdout


def test_a_folder_without_data_is_refused_with_an_exit_code(world, ptychodus, tmp_path):
    made = world()
    with h5py.File(made.folder / "diffraction.h5", "r+") as file:
        del file["patterns"]
        file["patterns"] = np.zeros((0, 32, 32))
    done = ptychodus("train", made.folder, tmp_path / "out", epochs=1)
    assert done.returncode != 0
    assert not list(tmp_path.glob("out/run_*"))


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
