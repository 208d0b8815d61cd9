"""File formats of scans, one file each."""

__all__: list[str] = []
