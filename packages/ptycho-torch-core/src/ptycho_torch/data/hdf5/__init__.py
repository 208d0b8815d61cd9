"""What layouts in HDF5 have in common."""

__all__: list[str] = []
