"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ptycho_config import ConfigError, PyTorchExecutionConfig, resolve
from ptycho_config.keys import LEGACY_SPELLINGS, SECTIONS
from ptycho_config.yamlio import parse_yaml

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("code", _blocks("python"))
def test_examples_run_and_print_what_they_say(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), scope)
    promised = [line.split("  # ", 1)[1] for line in code.splitlines() if line.startswith("print(")]
    promised = [line.removeprefix("# ") for line in promised]
    assert capsys.readouterr().out.splitlines() == promised


def test_the_error_shown_is_the_error_raised() -> None:
    shown = [line for line in README.splitlines() if line.startswith("  - ")]
    with pytest.raises(ConfigError) as caught:
        PyTorchExecutionConfig(accelerator="tpu", persistent_workers=True, learning_rate=float("nan"))
    real = str(caught.value).splitlines()[1:]
    assert len(shown) == len(real)
    for mine, yours in zip(shown, real, strict=True):
        assert yours.startswith(mine.removesuffix(" ..."))


def test_the_file_shown_resolves() -> None:
    (text,) = _blocks("yaml")
    assert resolve(SECTIONS, file=parse_yaml(text)).provenance["max_time"].value == "00:12:00:00"


def test_every_older_spelling_is_named() -> None:
    assert all(f"`{name}`" in README for name in LEGACY_SPELLINGS)
