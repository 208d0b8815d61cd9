"""Where metrics and pictures of a training are logged: one file per kind of log.

To add one, write a module in this folder that ends with ``KIND``, an object that keeps to
:class:`~ptycho_torch.lightning.loggers.protocol.LoggerKind`, and put its name among the choices of the
setting ``logger_backend``. Nothing else has to know about it.
"""

from ptycho_torch.lightning.loggers.protocol import LOGS, LoggerKind, Picture
from ptycho_torch.lightning.loggers.registry import logger_kind, logger_names, relocate_logs

__all__ = ["LOGS", "LoggerKind", "Picture", "logger_kind", "logger_names", "relocate_logs"]
