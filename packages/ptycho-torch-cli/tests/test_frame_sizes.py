"""Frames of any size of 32 px and more go through every command; smaller ones are for `refine` alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation.simulate import simulate_scene
from ptycho_torch_cli import inference, refine, train

SMALL = ["--accelerator", "cpu", "--quiet"]


def written(folder: Path, size: int) -> str:
    """File of a scan with frames of this size."""
    scan = simulate_scene("lines", N=size, grid=(6, 6), step_px=4.0, jitter_px=0.5, seed=size)
    path = folder / f"scan_{size}.npz"
    save_scan(path, scan)
    return str(path)


def trained(scan: str, folder: Path) -> int:
    argv = ["--train-data-file", scan, "--nepochs", "1", "--n-filters-scale", "1"]
    return train.main([*argv, *SMALL, "--output-dir", str(folder)])


@pytest.mark.drawn
@pytest.mark.parametrize(("size", "taken"), [(33, 32), (50, 48)])
def test_frames_of_any_size_train_and_are_reconstructed(size: int, taken: int, tmp_path: Path) -> None:
    scan, crop = written(tmp_path, size), f"frames of {size} x {size} px were cropped to the central {taken}"
    with pytest.warns(UserWarning, match=crop):
        assert trained(scan, tmp_path / "run") == 0
    argv = ["--model-path", str(tmp_path / "run"), "--test-data", scan, *SMALL]
    with pytest.warns(UserWarning, match=crop):
        assert inference.main([*argv, "--output-dir", str(tmp_path / "network")]) == 0
    # Without a network nothing has to be cropped.
    argv = ["--data", scan, "--epochs", "5", *SMALL, "--output-dir", str(tmp_path / "refined")]
    assert refine.main(argv) == 0
    for name, edge in (("network", taken), ("refined", size)):
        with np.load(tmp_path / name / "reconstruction.npz") as found:
            assert found["probe"].shape[-2:] == (edge, edge)
            assert np.isfinite(found["object"]).all()


@pytest.mark.drawn
@pytest.mark.parametrize("size", [24, 31])
def test_frames_too_small_for_a_network_are_refused_with_what_takes_them(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = written(tmp_path, size)
    assert trained(scan, tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert f"N = {size}" in said
    assert "frames of at least 32 px" in said
    assert "ptycho-torch refine" in said
    assert not (tmp_path / "run").exists()
    argv = ["--data", scan, "--epochs", "3", *SMALL, "--output-dir", str(tmp_path / "refined")]
    assert refine.main(argv) == 0
