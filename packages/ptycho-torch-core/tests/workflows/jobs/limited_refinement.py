"""Refine a scan again in a process that may write small files only; started by a test.

The arguments are the size in bytes, the scan and the directory with the older results. Prints what
`ResultsIncomplete` says, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_refinement_payload
from ptycho_torch.workflows import ResultsIncomplete, refine_scan


def main(size: int, scan: str, folder: str) -> None:
    payload = create_refinement_payload(
        scan, folder, {"refine_epochs": 1}, PyTorchExecutionConfig(accelerator="cpu")
    )

    def limit(*_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    try:
        refine_scan(payload, overwrite=True, progress=limit, pictures=False)
    except ResultsIncomplete as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        names = [path.name for path in error.files]
        print(json.dumps({"failures": error.failures, "folder": str(error.folder), "files": names}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
