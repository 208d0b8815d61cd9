"""What importing the package costs, and what it offers."""

from __future__ import annotations

import doctest
import importlib
import importlib.resources
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import requires, version

import pytest

import ptycho_config

MODULES = [f"ptycho_config.{info.name}" for info in pkgutil.iter_modules(ptycho_config.__path__)]
MOST_MODULES = 85


def _fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.rule("CFG-003", "PKG-002")
def test_importing_loads_only_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import ptycho_config;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    roots = set(_fresh(code).split()) - {"ptycho_config"}
    assert roots <= set(sys.stdlib_module_names)


def test_importing_loads_few_modules() -> None:
    # A count is the same on every machine, a time is not; 75 modules take about 40 ms, and one third-party
    # package or asyncio, email or unittest alone would push it over the limit.
    code = "import sys; before = len(sys.modules); import ptycho_config; print(len(sys.modules) - before)"
    assert int(_fresh(code)) <= MOST_MODULES


def test_resolving_and_building_load_no_yaml_reader() -> None:
    code = (
        "import sys; from ptycho_config import *;"
        "resolve(SECTIONS, cli={'nepochs': 3}); json_schema(ModelConfig);"
        "print('yaml' in sys.modules)"
    )
    assert _fresh(code).strip() == "False"


def test_the_yaml_reader_is_the_only_requirement() -> None:
    needed = [text for text in requires("ptycho-config") or [] if "extra ==" not in text]
    assert [re.split(r"[<>=!~ ]", text)[0].lower() for text in needed] == ["pyyaml"]


def test_the_version_is_that_of_the_distribution() -> None:
    assert ptycho_config.__version__ == version("ptycho-config")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ptycho_config.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["ptycho_config", *MODULES])
def test_everything_announced_exists_and_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    for word in module.__all__:
        item = getattr(module, word)
        if callable(item):
            assert item.__doc__, word


@pytest.mark.parametrize("name", ["ptycho_config", *MODULES])
def test_the_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_types_are_announced() -> None:
    assert importlib.resources.files("ptycho_config").joinpath("py.typed").is_file()
