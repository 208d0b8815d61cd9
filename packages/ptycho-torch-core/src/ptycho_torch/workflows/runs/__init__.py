"""What a run leaves behind: its folder, how it is resumed, results and pictures."""

__all__: list[str] = []
