"""Sources of live scans, one file each; what one holds is said in `ptycho_torch.live.source_registry`."""

__all__: list[str] = []
