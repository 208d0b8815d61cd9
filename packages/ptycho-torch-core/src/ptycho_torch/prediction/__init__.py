"""From a trained network and a scan to one object, in memory."""

__all__: list[str] = []
