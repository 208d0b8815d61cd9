"""The contract of a scan: its arrays, their checks, units, crops and lazy frames."""

__all__: list[str] = []
