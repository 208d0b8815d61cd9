"""Reconstruction while a scan is measured: tables joined by frame number, and engines that grow with them."""

__all__: list[str] = []
