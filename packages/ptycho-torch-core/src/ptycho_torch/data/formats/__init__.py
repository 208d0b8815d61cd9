"""File formats of scans, one file each; `ptycho_torch.data.format_registry` finds them here."""

__all__: list[str] = []
