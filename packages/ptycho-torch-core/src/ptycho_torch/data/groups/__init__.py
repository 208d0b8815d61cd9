"""Groups of neighbouring frames, and the tensors a network is fed with."""

__all__: list[str] = []
