"""What can be wrong with a scan or with a result: found by name, with a threshold, its reason and an advice.

One pass over the frames gathers what all diagnoses share (`statistics`). Each diagnosis is one function of
the `evidence`, in the file of its subject; `table` lists them all.
"""

from __future__ import annotations

__all__: list[str] = []
