"""Training as the program that users of PtychoPINN start with ``python -m ptycho_torch.train``.

It is the command ``ptycho-torch train``, which is run where the command line is installed. This is the one
place in this package, with its sibling, that knows of the command line, and only as a program.
"""

from __future__ import annotations

import runpy

from ptycho_torch.reference.programs import refusing, require_command_line

__all__: list[str] = []
__getattr__ = refusing(
    __name__,
    ("cli_main", "main", "main_lightning"),
    "ptycho_torch.workflows.train with create_training_payload of ptycho_torch.config_factory, "
    "or the command `ptycho-torch train` of the package ptycho-torch-cli",
)

if __name__ == "__main__":
    require_command_line("ptycho-torch train")
    runpy.run_module("ptycho_torch_cli.train", run_name="__main__", alter_sys=True)
