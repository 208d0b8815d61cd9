"""Fixtures shared by the tests of ptycho-config."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from ptycho_config import SECTIONS, Config, ConfigError

settings.load_profile("ci")  # the same examples in every run, no limit of time, nothing kept on disk


@pytest.fixture
def training_schema() -> dict[str, type[Config]]:
    """The sections a training uses."""
    return {name: SECTIONS[name] for name in ("model", "training", "execution")}


@pytest.fixture
def inference_schema() -> dict[str, type[Config]]:
    """The sections a reconstruction uses."""
    return {name: SECTIONS[name] for name in ("model", "inference", "execution")}


@pytest.fixture
def problems_of() -> Callable[..., dict[str, str]]:
    """Call something that must fail; give back field -> sentence of every problem."""

    def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, str]:
        with pytest.raises(ConfigError) as caught:
            function(*args, **kwargs)
        return {problem.field: str(problem) for problem in caught.value.problems}

    return call
