"""Damage files in many ways and watch what the readers do.

Every case takes one sound file (bundle, NPZ or HDF5 scan, configuration in YAML, TOML or JSON), changes it in
one way and gives it to everything that reads such files. A reader may succeed, or refuse with an error that
the documentation names. Anything else is a defect: another exception, a process that dies, more than the
allowed time or memory, a payload that is executed, a file that is written.

    python benchmarks/mutated_files.py --cases 1000 --json benchmarks/results/mutated_files.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_record import write_record
from mutations import MUTATIONS

KINDS = ("bundle", "npz", "hdf5", "yaml", "toml", "json")
SHARES = (300, 300, 100, 120, 90, 90)
MEMORY_BYTES = 6 * 2**30
SECONDS = 30.0
NAMES = {
    "bundle": "wts.h5.zip",
    "npz": "scan.npz",
    "hdf5": "training.h5",
    "yaml": "run.yaml",
    "toml": "run.toml",
    "json": "resolved_config.json",
}
GEOMETRY = {
    "photon_energy_eV": 8000.0,
    "detector_object_distance_m": 1.0,
    "detector_pixel_width_m": 75e-6,
    "detector_pixel_height_m": 75e-6,
}


def make_originals(folder: Path) -> dict[str, bytes]:
    """One sound file of each kind, as bytes."""
    import torch

    from ptycho_config import ModelConfig, to_dict, to_json, to_yaml, write_resolved
    from ptycho_torch.bundle import save_bundle
    from ptycho_torch.config_factory import create_training_payload
    from ptycho_torch.data.convert import write_scan
    from ptycho_torch.data.formats.npz import save_scan
    from ptycho_torch.data.simulation.simulate import simulate_scene
    from ptycho_torch.models import build_patch_model
    from ptycho_torch.physics import calibrate

    scan = simulate_scene("lines", N=32, grid=(4, 4), photons=1e4, seed=1)
    save_scan(folder / NAMES["npz"], scan)
    scan_in_metres = replace(scan, metadata={**scan.metadata, **GEOMETRY})
    write_scan(folder / NAMES["hdf5"], scan_in_metres, format="ptychodus-training")
    payload = create_training_payload(
        folder / NAMES["npz"], folder / "run", {"nepochs": 3, "model.gridsize": 1}
    )
    config = ModelConfig(N=32, n_filters_scale=1)
    model = build_patch_model(config, calibrate(torch.from_numpy(scan.probe), 1e4))
    settings = {"model": to_dict(config), "training": payload.resolution.values()["training"]}
    save_bundle(folder / NAMES["bundle"], model, settings, payload.resolution.to_dict())
    (folder / NAMES["yaml"]).write_text(to_yaml(payload.resolution.values()))
    write_resolved(folder / NAMES["json"], payload.resolution, {}, "python")
    (folder / NAMES["toml"]).write_text(_as_toml(json.loads(to_json(payload.resolution.values()))))
    return {kind: (folder / name).read_bytes() for kind, name in NAMES.items()}


def _as_toml(sections: dict[str, dict[str, Any]]) -> str:
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items() if value is not None]
    return "\n".join(lines) + "\n"


def readers_of(kind: str) -> list[Callable[[Path], Any]]:
    """Everything of the packages that reads such a file."""
    import numpy as np

    from ptycho_config import SECTIONS, load_config, resolve
    from ptycho_torch.bundle import load_bundle, read_manifest
    from ptycho_torch.data.opening import open_scan, read_scan_header
    from ptycho_torch.data.summary import inspect_scan
    from ptycho_torch.results import load_object_and_probe
    from ptycho_torch.workflows import load_inference_bundle_torch

    def all_frames(path: Path) -> Any:
        return np.asarray(open_scan(path).diffraction[:])

    if kind == "bundle":
        return [read_manifest, load_bundle, load_inference_bundle_torch]
    if kind == "npz":
        return [read_scan_header, all_frames, load_object_and_probe, inspect_scan]
    if kind == "hdf5":
        return [read_scan_header, all_frames, inspect_scan]
    return [lambda path: resolve(SECTIONS, file=load_config(path))]


def watch(readers: list[Callable[[Path], Any]], path: Path, trap: Path) -> tuple[str, list[str]]:
    """Give a file to readers: ``"read"`` or ``"refused"``, and what should not have happened."""
    from ptycho_torch.errors import BundleError, ConfigError, DataError, ShapeError

    before = {entry: entry.read_bytes() for entry in path.parent.iterdir()}
    answer, defects = "read", []
    for reader in readers:
        name = getattr(reader, "__name__", "reader")
        started = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader(path)
        except (BundleError, ConfigError, DataError, ShapeError, FileNotFoundError):
            answer = "refused"
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            defects.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
        if time.perf_counter() - started > SECONDS:
            defects.append(f"{name}: took {time.perf_counter() - started:.0f} s")
    if trap.exists():
        defects.append("a payload was executed")
    if {entry: entry.read_bytes() for entry in path.parent.iterdir()} != before or any(Path.cwd().iterdir()):
        defects.append("something was written")
    return answer, defects


def run_case(kind: str, number: int, seed: int, content: bytes) -> tuple[str, str, list[str]]:
    """Mutation, answer and defects of one case; runs in a process of its own."""
    rng = random.Random(f"{seed} {kind} {number}")
    mutation = MUTATIONS[kind][number % len(MUTATIONS[kind])]
    with tempfile.TemporaryDirectory() as name:
        folder, trap = Path(name) / "case", Path(name) / "executed"
        folder.mkdir()
        path = folder / NAMES[kind]
        path.write_bytes(mutation(content, rng, trap))
        answer, defects = watch(readers_of(kind), path, trap)
    return mutation.__name__, answer, defects


def prepare_process(memory: int) -> None:
    """Start in an empty directory, with a limit on what may be allocated."""
    import torch  # its libraries count as address space, so they are loaded before the limit is set

    import ptycho_torch.workflows  # noqa: F401

    torch.set_num_threads(1)
    os.chdir(tempfile.mkdtemp(prefix="mutated-"))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))


def run(cases: int, seed: int) -> dict[str, Any]:
    """All cases, shared out over the kinds of files."""
    with tempfile.TemporaryDirectory() as folder:
        originals = make_originals(Path(folder))
    wanted = [
        (kind, number)
        for kind, share in zip(KINDS, SHARES, strict=True)
        for number in range(max(1, round(share * cases / sum(SHARES))))
    ]
    answers: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    defects: list[dict[str, Any]] = []
    context = multiprocessing.get_context("spawn")

    def fresh() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, context, prepare_process, (MEMORY_BYTES,))

    pool = fresh()
    for kind, number in wanted:
        try:
            mutation, answer, found = pool.submit(run_case, kind, number, seed, originals[kind]).result()
        except BrokenProcessPool:
            mutation = MUTATIONS[kind][number % len(MUTATIONS[kind])].__name__
            answer, found = "died", ["the process died"]
            pool = fresh()
        answers[kind][answer] += 1
        defects += [{"kind": kind, "case": number, "mutation": mutation, "defect": text} for text in found]
    pool.shutdown()
    return {
        "seed": seed,
        "cases": len(wanted),
        "answers": {kind: dict(found) for kind, found in answers.items()},
        "defects": defects,
    }


def main() -> int:
    """Run, print a table, write JSON; 1 if there was a defect."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()
    report = run(arguments.cases, arguments.seed)
    report["seconds"] = round(time.perf_counter() - started, 1)
    for kind, found in report["answers"].items():
        print(f"{kind:8} {found}")
    for defect in report["defects"]:
        print(defect)
    print(f"{report['cases']} cases, {len(report['defects'])} defects, {report['seconds']} s")
    if arguments.json is not None:
        write_record(arguments.json, report)
    return int(bool(report["defects"]))


if __name__ == "__main__":
    raise SystemExit(main())
