"""What programs call that were written against the torch modules of PtychoPINN, ptychodus among them.

Every name is translated into the configuration and the workflows of this package; nothing is computed here.
The modules under which those programs import the names (`ptycho_torch.config_params`, `ptycho_torch.api`,
`ptycho_torch.model`, `ptycho_torch.lightning_utils`) are thin and deprecated.
"""

from __future__ import annotations

__all__: list[str] = []
