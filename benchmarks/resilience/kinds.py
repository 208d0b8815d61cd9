"""The kinds of files that are damaged, and what reads each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from damage import ARCHIVE, BUNDLE, JSON, TOML, YAML, Mutation, change_metadata
from damage_checkpoint import CHECKPOINT
from damage_hdf5 import HDF5
from material import CPU, SCANS

__all__ = ["KINDS", "Kind"]

Reader = Callable[[Path], Any]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    original
        File or folder of the material, copied for every case.
    file
        What is damaged in the folder; empty where the original is a file.
    mutations
        Ways to damage it.
    share
        How many of 1,500 cases are of this kind.
    readers
        Functions of the packages that read the file.
    commands
        Command lines, from material, folder of the case, damaged file and number of the case.
    compares
        Whether `inspect` has to agree with the commands that use a scan.
    """

    original: str
    mutations: tuple[Mutation, ...]
    share: int
    commands: Callable[[Path, Path, Path, int], list[list[str]]]
    file: str = ""
    readers: Callable[[], list[Reader]] = list
    compares: bool = False


def _scan_readers() -> list[Reader]:
    import numpy as np

    from ptycho_torch.data.opening import open_scan, read_scan_header

    def header(path: Path) -> Any:
        return read_scan_header(_scan_of(path))

    def all_frames(path: Path) -> Any:
        return np.asarray(open_scan(_scan_of(path)).diffraction[:])

    return [header, all_frames]


def _object_readers() -> list[Reader]:
    from ptycho_torch.results import load_object, load_object_and_probe

    return [*_scan_readers(), load_object, load_object_and_probe]


def _bundle_readers() -> list[Reader]:
    from ptycho_torch.bundle import load_bundle, read_manifest
    from ptycho_torch.workflows import load_inference_bundle_torch

    return [read_manifest, load_bundle, load_inference_bundle_torch]


def _infer(model: Path, scan: Path, out: Path, *more: str) -> list[str]:
    words = ["infer", "--model-path", str(model), "--test-data", str(scan), "--output-dir", str(out)]
    return [*words, *CPU, *more]


def _scan_commands(material: Path, place: Path, file: Path, number: int) -> list[list[str]]:
    scan, out, text = _scan_of(file), place / "out", str(_scan_of(file))
    others = (
        _infer(material / "model", scan, out),
        ["refine", "--data", text, "--refine-epochs", "1", "--output-dir", str(out), *CPU],
        ["convert", text, str(place / "converted.npz")],
        ["refine", "--data", text, "--refine-epochs", "1", "--output-dir", str(out), *CPU],
        ["evaluate", str(material / "result" / "reconstruction.npz"), text, "--output-dir", str(out)],
        _infer(material / "model", scan, out),
        _train(scan, out),
    )
    return [["inspect", text, "--json"], others[number % len(others)]]


def _scan_of(file: Path) -> Path:
    """The scan that a file belongs to."""
    if file.name == "positions.csv":
        return file.with_name("parts.scan")
    return file.parent if file.name in ("diffraction.h5", "product.h5") else file


def _train(scan: Path, out: Path) -> list[str]:
    words = ["train", "--train-data-file", str(scan), "--output-dir", str(out), "--nepochs", "1"]
    return [*words, "--n-groups", "8", "--batch-size", "8", "--set", "n_filters_scale=1", *CPU]


def _object_commands(material: Path, place: Path, file: Path, number: int) -> list[list[str]]:
    scan, out = str(material / SCANS["npz"]), str(place / "out")
    refine = [
        "refine",
        "--data",
        scan,
        "--start",
        str(file),
        "--refine-epochs",
        "1",
        "--output-dir",
        out,
        *CPU,
    ]
    evaluate = ["evaluate", str(file), scan, "--output-dir", out]
    return [refine if number % 2 else evaluate]


def _bundle_commands(material: Path, place: Path, file: Path, number: int) -> list[list[str]]:
    return [_infer(file, material / SCANS["npz"], place / "out")]


def _run_commands(material: Path, place: Path, file: Path, number: int) -> list[list[str]]:
    """What is done with the folder of an interrupted training."""
    folder = place / "interrupted"
    resume = ["train", "--resume", "--output-dir", str(folder), *CPU]
    if file.suffix == ".ckpt":
        return [resume if number % 3 else _infer(file, material / SCANS["npz"], place / "out")]
    return [resume]


def _folder_commands(material: Path, place: Path, file: Path, number: int) -> list[list[str]]:
    """What is done in the folder of a finished run."""
    folder, scan = place / "result", material / SCANS["npz"]
    refine = ["refine", "--data", str(scan), "--refine-epochs", "1", "--output-dir", str(folder), *CPU]
    return [_infer(material / "model", scan, folder, "--overwrite") if number % 2 else refine]


def _settings_commands(material: Path, place: Path, file: Path, number: int) -> list[list[str]]:
    job, needed = (
        ("train", ["--train-data-file", str(material / SCANS["npz"]), "--output-dir", str(place / "out")]),
        ("refine", ["--data", str(material / SCANS["npz"]), "--output-dir", str(place / "out")]),
    )[number % 2]
    validate = ["config", "validate", str(file), "--for", job]
    return [validate, [job, "--config", str(file), "--dry-run", *needed]]


def _settings_readers() -> list[Reader]:
    from ptycho_config import load_config

    return [load_config]


def _hdf5(original: str, share: int, file: str = "") -> Kind:
    return Kind(
        original=original,
        file=file,
        mutations=HDF5,
        share=share,
        readers=_scan_readers,
        commands=_scan_commands,
        compares=True,
    )


def _settings(original: str, mutations: tuple[Mutation, ...], share: int) -> Kind:
    return Kind(
        original=original,
        mutations=mutations,
        share=share,
        readers=_settings_readers,
        commands=_settings_commands,
    )


def _parts(file: str, share: int) -> Kind:
    return Kind(
        original="parts",
        file=file,
        mutations=TOML,
        share=share,
        commands=_scan_commands,
        compares=True,
    )


def _of_run(file: str, mutations: tuple[Mutation, ...], share: int) -> Kind:
    return Kind(original="interrupted", file=file, mutations=mutations, share=share, commands=_run_commands)


KINDS: dict[str, Kind] = {
    "bundle": Kind(
        original="model/wts.h5.zip",
        mutations=BUNDLE,
        share=200,
        readers=_bundle_readers,
        commands=_bundle_commands,
    ),
    "checkpoint": _of_run("checkpoints/last.ckpt", CHECKPOINT, 220),
    "npz": Kind(
        original=SCANS["npz"],
        mutations=(*ARCHIVE, *(change_metadata,) * 3),
        share=220,
        readers=_object_readers,
        commands=_scan_commands,
        compares=True,
    ),
    "reconstruction": Kind(
        original="result/reconstruction.npz",
        mutations=ARCHIVE,
        share=80,
        readers=_object_readers,
        commands=_object_commands,
    ),
    "training-h5": _hdf5(SCANS["ptychodus-training"], 110),
    "pair-frames": _hdf5(SCANS["ptychodus"], 70, "diffraction.h5"),
    "pair-product": _hdf5(SCANS["ptychodus"], 90, "product.h5"),
    "cxi": _hdf5(SCANS["cxi"], 110),
    "nxcxi": _hdf5(SCANS["nxcxi-ptycho"], 70),
    "parts": _parts("parts.scan", 40),
    "positions": _parts("positions.csv", 20),
    "yaml": _settings("run.yaml", YAML, 70),
    "toml": _settings("run.toml", TOML, 70),
    "json": _settings("model/resolved_config.json", JSON, 60),
    "resumed-settings": _of_run("resolved_config.json", JSON, 30),
    "record": Kind(
        original="result", file=".run-infer.json", mutations=JSON, share=30, commands=_folder_commands
    ),
    "record-of-training": _of_run(".run-train.json", JSON, 30),
    "log": _of_run("logs/metrics.csv", YAML[:-1], 20),
}
"""Name of a kind -> the kind."""
