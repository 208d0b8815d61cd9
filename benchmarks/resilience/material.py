"""What the campaign works on: small scans, a model, an interrupted training, results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from warm import command, run

__all__ = ["CPU", "SCANS", "TRAINING", "make_material", "training_of"]

CPU = ["--accelerator", "cpu", "--quiet"]
TRAINING = [
    *("--batch-size", "8", "--n-groups", "24", "--set", "n_filters_scale=1", "--set", "val_fraction=0.25"),
    *CPU,
]
SCANS = {
    "npz": "scan.npz",
    "cxi": "scan.cxi",
    "ptychodus-training": "training.h5",
    "ptychodus": "pair",
    "nxcxi-ptycho": "scan.nxs",
}
_SCENE = ["--N", "32", "--grid", "6,6", "--step", "4", "--photons", "1e4", "--seed", "3"]


def training_of(scan: Path, folder: Path, *, epochs: int) -> list[str]:
    """Words of a short training."""
    words = ["train", "--train-data-file", str(scan), "--output-dir", str(folder), "--nepochs", str(epochs)]
    return [*words, *TRAINING]


def make_material(folder: Path) -> None:
    """Make everything, each by a command in a fork; what is there is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    scan = folder / SCANS["npz"]
    for kind, name in SCANS.items():
        _make(folder / name, ["simulate", "--output", str(folder / name), "--format", kind, *_SCENE])
    _make(folder / "model", training_of(scan, folder / "model", epochs=2))
    _interrupt_training(scan, folder / "interrupted")
    reconstruct = ["infer", "--model-path", str(folder / "model"), "--test-data", str(scan)]
    _make(folder / "result", [*reconstruct, "--output-dir", str(folder / "result"), *CPU])
    _in_fork(folder / "parts", _write_parts, scan)
    _in_fork(folder / "run.yaml", _write_settings, folder)


def _make(target: Path, words: list[str]) -> None:
    if target.exists():
        return
    ended = run(command(words))
    if ended.answer != 0:
        raise SystemExit(f"{' '.join(words)}\n{ended.said}")


def _in_fork(target: Path, work: Callable[[Path, Path], None], given: Path) -> None:
    if target.exists():
        return
    ended = run(lambda: work(target, given) or 0)
    if ended.answer != 0:
        raise SystemExit(ended.said)


def _write_parts(target: Path, scan: Path) -> None:
    """Frames, positions and probe in files of their own."""
    import h5py
    import numpy as np

    from ptycho_torch.data.opening import open_scan

    found = open_scan(scan)
    target.mkdir()
    with h5py.File(target / "frames.h5", "w") as file:
        file["data"] = found.diffraction[:]
    np.save(target / "probe.npy", found.probe)
    np.savetxt(target / "positions.csv", found.positions[:, ::-1], delimiter=",", header="x,y", comments="")
    lines = ['frames = "frames.h5:/data"', 'positions = "positions.csv"', 'position_unit = "px"']
    lines += ['probe = "probe.npy"', "[metadata]", "photon_energy_eV = 9000.0"]
    lines += ["detector_object_distance_m = 2.0", "detector_pixel_height_m = 75e-6"]
    (target / "parts.scan").write_text("\n".join([*lines, "detector_pixel_width_m = 75e-6"]) + "\n")


def _write_settings(target: Path, folder: Path) -> None:
    """Settings of all jobs as YAML and as TOML."""
    from ptycho_config import SECTIONS, resolve, to_json, to_yaml

    values = resolve(SECTIONS).values()
    target.write_text(to_yaml(values))
    lines = []
    for section, entries in json.loads(to_json(values)).items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in entries.items() if value is not None]
    (folder / "run.toml").write_text("\n".join(lines) + "\n")


def _interrupt_training(scan: Path, folder: Path) -> None:
    """A training of three epochs, interrupted after two."""
    if folder.exists():
        return

    def work() -> int:
        from lightning.pytorch.callbacks import Callback

        from ptycho_torch.workflows import TrainingInterrupted, train
        from ptycho_torch_cli import train as door

        class Stop(Callback):
            def on_train_epoch_start(self, trainer, pl_module) -> None:
                if trainer.current_epoch == 2:
                    raise KeyboardInterrupt

        args = door.build_parser().parse_args(training_of(scan, folder, epochs=3)[1:])
        try:
            train(door._payload(args), callbacks=[Stop()])
        except TrainingInterrupted:
            return 0
        return 1

    ended = run(work)
    if ended.answer != 0:
        raise SystemExit(ended.said)
