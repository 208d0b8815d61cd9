"""What was found in a scan, said to whoever opened it."""

from __future__ import annotations

import logging
import warnings

from ptycho_torch.data.scan.contract import Scan
from ptycho_torch.errors import ScanWarning

__all__ = ["tell"]

logger = logging.getLogger(__name__)


def tell(scan: Scan, name: str) -> None:
    """Say what was found: what spoils a result as a warning of the caller's caller, the rest in the log.

    Parameters
    ----------
    scan
        With its findings.
    name
        Of the source, for the sentences.
    """
    for finding in scan.findings:
        if finding.found and finding.severity == "warning":
            warnings.warn(f"{name}: {finding.sentence()}", ScanWarning, stacklevel=3)
        elif finding.found:
            logger.info("%s: %s", name, finding.sentence())
