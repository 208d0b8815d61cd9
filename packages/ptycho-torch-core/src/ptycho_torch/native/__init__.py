"""Arithmetic that torch has no single pass for, in C, compiled on the machine that runs it.

The package stays pure Python: the source travels with it, and a C compiler that the machine has turns it into
a library once (:mod:`ptycho_torch.native.building`). Where there is none everything works through torch.
"""

from ptycho_torch.native.frames import Counts, FrameKernels, Places, frame_kernels

__all__ = ["Counts", "FrameKernels", "Places", "frame_kernels"]
