"""A scan that was measured, played as a detector and an encoder would send it."""

__all__: list[str] = []
