"""What else there is: a network at the end where photons are few, other programs, and the measured star."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_record import error_of, write_record
from kinds import MEASURED, SEEN, scan_of
from last_step import EPOCHS as LAST_EPOCHS
from last_step import PENALTIES, finished, variation_for
from measure import EPOCHS, FIRST_SEED, held, trainings
from network_quality import learn, simulate
from refine_vs_ptychi import run_theirs
from stages import row_of, run, run_solver

from ptycho_torch.bundle import load_bundle
from ptycho_torch.data.formats.npz import load_scan
from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.data.simulation.simulate import simulate_scan
from ptycho_torch.metrics import compare
from ptycho_torch.reassembly import StitchedObject
from ptycho_torch.refine import refine
from ptycho_torch.workflows import reconstruct

WEIGHTS = (0.5, 1.0)
BESIDE_OTHERS = ("natural", "camera", "lines", "leaves")
DATA = Path(__file__).resolve().parents[2] / "data"


def after_last(scan: Scan, networks: dict[str, torch.nn.Module]) -> dict[str, dict[str, dict[str, float]]]:
    """Errors and processor seconds of the solver with the penalty of its dose and then each network."""
    cpu = time.process_time()
    photons = float(scan.counts_per_frame().mean())
    solver = run_solver(scan, LAST_EPOCHS, None, total_variation=variation_for(photons))[0]
    cpu = time.process_time() - cpu
    image = solver.unknowns.object
    ended, rows = image.now, dict[str, dict[str, dict[str, float]]]()
    for name, network in networks.items():
        rows[name] = {}
        for weight in WEIGHTS:
            began = time.process_time()
            with torch.no_grad():
                image.now = ended
                image.now = finished(network, solver, weight)
            took = time.process_time() - began + cpu
            rows[name][str(weight)] = {"cpu_s": took, "error": error_of(scan, solver.standing())}
    return rows


def low_dose(arguments: argparse.Namespace) -> None:
    """Every penalty of the solver, and the network at its end."""
    record = held(arguments.output)
    every = trainings(arguments.weights)
    record.setdefault("trainings", {}).update({name: facts for name, (facts, _) in every.items()})
    cases: list[dict[str, Any]] = record.setdefault("low_dose", [])
    done = {(case["kind"], case["step_px"], case["photons"]) for case in cases}
    conditions = [(step_px, photons) for step_px in (6, 12) for photons in (1e3, 1e4)]
    kinds, side = MEASURED, None
    if arguments.quick:
        conditions, kinds, side = conditions[:1], MEASURED[:1], 5
    for step_px, photons in conditions:
        for kind in kinds:
            if (kind, step_px, photons) in done:
                continue
            scan = scan_of(kind, step_px, photons, FIRST_SEED, side=side)
            penalties = [
                {"penalty": penalty, **row_of(scan, LAST_EPOCHS, None, **penalty)} for penalty in PENALTIES
            ]
            networks = after_last(scan, {name: network for name, (_, network) in every.items()})
            best = min(row["error"] for row in penalties)
            ratios = [rows["1.0"]["error"] / best for rows in networks.values()]
            cases.append(
                {
                    "kind": kind, "seen": kind in SEEN, "step_px": step_px, "photons": photons,
                    "solver": penalties, "networks": networks, "to_best": ratios,
                }
            )  # fmt: skip
            print(kind, step_px, f"{photons:.0e}", [f"{ratio:.2f}" for ratio in ratios], flush=True)
            write_record(arguments.output, record)


def per_frame(folder: Path, epochs: int) -> tuple[Path, float]:
    """The default network after a training on three scans of kinds that are seen; processor seconds."""
    scans = [simulate(folder, kind, 64, 1e6, 4001, side=12) for kind in SEEN[:3]]
    bundle, cpu, _ = learn(folder, scans, "cpu", nepochs=epochs)
    return bundle, cpu


def from_network(scan: Scan, bundle: Path, numbers: tuple[int, ...]) -> list[dict[str, float]]:
    """A per-frame network alone, and followed by the solver; times hold both."""
    model, _ = load_bundle(bundle, device="cpu")
    reconstruct(model, scan.take(np.arange(16)), batch_size=16)
    cpu = time.process_time()
    start = reconstruct(model, scan, batch_size=16)
    cpu = time.process_time() - cpu
    rows = [{"epochs": 0, "cpu_s": cpu, "error": error_of(scan, start)}]
    for epochs in numbers:
        began = time.process_time()
        result = refine(scan, start, epochs=epochs, tolerance=0, error_bars="none")
        took = time.process_time() - began + cpu
        rows.append({"epochs": epochs, "cpu_s": took, "error": error_of(scan, result.object)})
    return rows


def whole_pixels(kind: str, side: int | None) -> Scan:
    """A scan on whole pixels, where all programs model the same experiment."""
    scan = scan_of(kind, 6, 1e6, FIRST_SEED, side=side)
    truth = scan.object_truth
    assert truth is not None
    positions = np.rint(scan.positions)
    return simulate_scan(truth, scan.probe, positions, photons=1e6, seed=FIRST_SEED + 1)


def others(arguments: argparse.Namespace) -> None:
    """The solver, networks with it, and LSQML of Pty-Chi, on the same frames."""
    record, stages = held(arguments.output), trainings(arguments.weights)
    rows: list[dict[str, Any]] = record.setdefault("others", [])
    done = {row["kind"] for row in rows}
    kinds, side, numbers, epochs = BESIDE_OTHERS, None, EPOCHS, 5
    if arguments.quick:
        kinds, side, numbers, epochs = MEASURED[:1], 5, (2, 3), 1
    with tempfile.TemporaryDirectory() as name:
        bundle, cpu = per_frame(Path(name), epochs)
        record["per_frame_training_cpu_s"] = cpu
        for kind in kinds:
            if kind in done:
                continue
            scan = whole_pixels(kind, side)
            row: dict[str, Any] = {"kind": kind, "seen": kind in SEEN}
            row["solver"] = [row_of(scan, count, None) for count in numbers]
            row["per_frame"] = from_network(scan, bundle, numbers)
            for facts, begin in stages.values():
                row[facts["stage"]] = [row_of(scan, count, begin) for count in numbers[:-1]]
            if arguments.ptychi_python is not None:
                weight = refine(scan, epochs=1).object.weight
                row["lsqml"] = run_theirs(scan, "lsqml", arguments.ptychi_python, 4.0, 50, weight)
            rows.append(row)
            print(kind, row, flush=True)
            write_record(arguments.output, record)


def star(arguments: argparse.Namespace) -> None:
    """Stages on the measured scan: residual of its frames, and agreement with another program's object."""
    record = held(arguments.output)
    scan = load_scan(DATA / "siemens_star_128.npz")
    if arguments.quick:
        scan = scan.take(np.arange(24))
    with np.load(DATA / "siemens_star_reference.npz") as archive:
        known, origin = archive["object"], archive["origin"]
    stages = {name: one[1] for name, one in trainings(arguments.weights).items() if one[0]["stage"] != "last"}
    rows: dict[str, list[dict[str, float]]] = {}
    for name, begin in (("solver", None), *stages.items()):
        rows[name] = []
        for epochs in (2,) if arguments.quick else (5, 15):
            cpu = time.process_time()
            found = run(scan, epochs, begin, refine_probe=True, probe_modes=3, likelihood="amplitude")
            cpu = time.process_time() - cpu
            agreement = phase_correlation(found.object, known, origin)
            rows[name].append(
                {
                    "epochs": epochs,
                    "cpu_s": cpu,
                    "residual": found.residuals[-1],
                    "phase_correlation": agreement,
                }
            )
            print(name, rows[name][-1], flush=True)
        record["star"] = rows
        write_record(arguments.output, record)


def phase_correlation(found: StitchedObject, known: np.ndarray, origin: np.ndarray) -> float:
    """Correlation of phases after alignment."""
    report = compare(
        found.object, known, weight=found.weight, origin=found.origin, truth_origin=origin, frc=False
    )
    return report.scores.phase_correlation
