"""Devices and processes that share the work of a job."""

__all__: list[str] = []
