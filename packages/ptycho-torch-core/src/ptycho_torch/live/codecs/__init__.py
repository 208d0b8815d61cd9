"""Messages of detectors as bytes, both ways: nothing here opens a socket, and nothing is unpickled."""

__all__: list[str] = []
