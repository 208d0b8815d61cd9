"""Reconstruction as the program that users of PtychoPINN start with ``python -m ptycho_torch.inference``.

It is the command ``ptycho-torch infer``, which is run where the command line is installed. This is the one
place in this package, with its sibling, that knows of the command line, and only as a program.
"""

from __future__ import annotations

import runpy

from ptycho_torch.reference.programs import refusing, require_command_line

__all__: list[str] = []
__getattr__ = refusing(
    __name__,
    (
        "_run_inference_and_reconstruct",
        "cli_main",
        "load_and_predict",
        "plot_amp_and_phase",
        "save_individual_reconstructions",
    ),
    "ptycho_torch.workflows.infer with create_inference_payload of ptycho_torch.config_factory, "
    "or the command `ptycho-torch infer` of the package ptycho-torch-cli",
)

if __name__ == "__main__":
    require_command_line("ptycho-torch infer")
    runpy.run_module("ptycho_torch_cli.inference", run_name="__main__", alter_sys=True)
