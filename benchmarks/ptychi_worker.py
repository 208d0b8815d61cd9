"""Run one solver of Pty-Chi on frames that another process prepared, and keep its object at chosen times.

Started by refine_vs_ptychi.py in the environment that has Pty-Chi; it needs nothing of this project.
"""

from __future__ import annotations

import argparse
import sys
import time
import types
from typing import Any

import numpy as np
import torch

SOLVERS = ("lsqml", "epie", "rpie", "autodiff")


def stand_in_for_torchvision() -> None:
    """Pty-Chi imports one filter that far-field reconstruction does not use."""
    package, transforms = types.ModuleType("torchvision"), types.ModuleType("torchvision.transforms")
    transforms.GaussianBlur = object  # type: ignore[attr-defined]
    package.transforms = transforms  # type: ignore[attr-defined]
    sys.modules.update({"torchvision": package, "torchvision.transforms": transforms})


def options_of(solver: str, api: Any) -> Any:
    """Options of a solver: the best batch and step of those tried on the natural scene."""
    if solver == "lsqml":
        options = api.LSQMLOptions()
        options.reconstructor_options.batch_size = 16
        options.reconstructor_options.momentum_acceleration_gain = 0.5
        return options
    if solver == "autodiff":
        options = api.AutodiffPtychographyOptions()
        options.reconstructor_options.batch_size = 16
        options.reconstructor_options.loss_function = api.LossFunctions.MSE_SQRT
        options.object_options.optimizer = api.Optimizers.ADAM
        options.object_options.step_size = 0.02
        return options
    options = api.EPIEOptions() if solver == "epie" else api.RPIEOptions()
    options.reconstructor_options.batch_size = 4 if solver == "epie" else 8
    options.object_options.alpha = 1.0 if solver == "epie" else 0.5
    options.object_options.step_size = 1.0 if solver == "epie" else 0.5
    return options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem")
    parser.add_argument("output")
    parser.add_argument("--solver", choices=SOLVERS, required=True)
    parser.add_argument("--budget-s", type=float, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--larger", type=int, default=1, help="how many times the frames of the best batch")
    parser.add_argument("--last-epoch", type=int, default=10**6, help="stop after it, budget or not")
    parser.add_argument("--marks-s", type=float, nargs="+", required=True)
    parser.add_argument("--marks-epochs", type=int, nargs="+", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    stand_in_for_torchvision()
    import ptychi.api as api
    from ptychi.api.task import PtychographyTask

    problem = np.load(arguments.problem)
    options = options_of(arguments.solver, api)
    options.data_options.data = problem["counts"].astype(np.float32)
    on_gpu = arguments.device == "cuda"
    options.reconstructor_options.default_device = api.Devices.GPU if on_gpu else api.Devices.CPU
    options.data_options.save_data_on_device = on_gpu
    options.reconstructor_options.batch_size *= arguments.larger
    options.reconstructor_options.num_epochs = 10**6
    target = options.object_options
    target.initial_guess = problem["start"][None]
    target.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    # A patch of N pixels begins (N - 1) / 2 before its position there, and N / 2 before it here.
    target.position_origin_coords = problem["origin"] - 0.5
    # Its transform is not unitary: the probe carries the factor.
    options.probe_options.initial_guess = (problem["probe"] / problem["probe"].shape[-1])[None]
    options.probe_options.optimizable = False
    options.probe_position_options.position_y_px = problem["positions"][:, 0]
    options.probe_position_options.position_x_px = problem["positions"][:, 1]
    options.probe_position_options.optimizable = False
    task = PtychographyTask(options)
    marks, cpu, epoch = sorted(arguments.marks_s), 0.0, 0
    rows: list[tuple[int, float, float, np.ndarray]] = []
    wall = spent = 0.0
    while spent < arguments.budget_s and epoch < arguments.last_epoch:
        began, began_wall = time.process_time(), time.perf_counter()
        task.run(1)
        if on_gpu:
            torch.cuda.synchronize()
        cpu += time.process_time() - began
        wall += time.perf_counter() - began_wall
        epoch += 1
        # What a GPU does is no time of the processor.
        spent = wall if on_gpu else cpu
        due = bool(marks) and spent >= marks[0]
        while marks and spent >= marks[0]:
            marks.pop(0)
        if due or epoch in arguments.marks_epochs:
            rows.append((epoch, cpu, wall, np.array(task.get_data_to_cpu("object", as_numpy=True)[0])))
    epochs, cpus, walls, objects = zip(*rows, strict=True)
    np.savez(arguments.output, epoch=epochs, cpu_s=cpus, wall_s=walls, object=np.stack(objects))


if __name__ == "__main__":
    main()
