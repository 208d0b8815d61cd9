"""Everything that needs Lightning."""

from ptycho_torch.lightning.callbacks import EpochReport, History
from ptycho_torch.lightning.collapse import CollapseGuard
from ptycho_torch.lightning.datamodule import ScanDataModule
from ptycho_torch.lightning.module import PtychoModule
from ptycho_torch.lightning.objective import Objective

__all__ = ["CollapseGuard", "EpochReport", "History", "Objective", "PtychoModule", "ScanDataModule"]
