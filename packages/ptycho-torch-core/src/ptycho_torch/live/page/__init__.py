"""The page that shows a live scan in a browser, and what programs read from the same place."""

__all__: list[str] = []
