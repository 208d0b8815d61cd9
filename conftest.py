"""What the tests of all packages share."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("hypothesis") is not None:
    from hypothesis import settings

    settings.load_profile("ci")  # the same examples in every run, no limit of time, nothing kept on disk


@pytest.fixture(autouse=True)
def blank_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build and save every figure, but draw nothing on it, unless the test is marked `drawn`.

    Laying out letters takes longer than training a tiny network, and few tests look at a picture.
    """
    if request.node.get_closest_marker("drawn") is None and find_spec("matplotlib") is not None:
        from matplotlib.figure import Figure

        monkeypatch.setattr(Figure, "draw", lambda figure, renderer: None)
