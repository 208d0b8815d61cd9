"""Pages and pictures that are made by scripts."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from ptycho_torch.data.scan.cleaning import DOMAIN, UNREAD, UNWRITTEN
from ptycho_torch.diagnosis.table import DIAGNOSES


@pytest.fixture(scope="module")
def load(root):
    def run(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"docs_{name}", root / "docs" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return run


@pytest.mark.rule("CLI-007", "CFG-002")
def test_tables_are_those_of_the_code(root, load):
    pages = load("generate_tables").pages()
    # Of these pages only the table is written.
    assert set(pages) - {"formats.md", "diagnoses.md", "live.md"} == {
        path.relative_to(root / "docs").as_posix() for path in (root / "docs" / "config").glob("*.md")
    }
    for name, text in pages.items():
        committed = (root / "docs" / name).read_text(encoding="utf-8")
        assert committed == text, f"docs/{name} is out of date; run python docs/generate_tables.py"


def test_figures_can_be_drawn_and_are_small(root, load, tmp_path, monkeypatch):
    figures = load("make_figures")
    monkeypatch.setattr(figures, "HERE", tmp_path)
    figures.main(star_epochs=1)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"coordinates.png", "coverage.png", "siemens_star.png"}
    for name in made:
        committed = root / "docs" / "images" / name
        assert committed.read_bytes().startswith(b"\x89PNG")
        assert committed.stat().st_size < 250_000


def test_every_diagnosis_has_a_section_of_its_page(root):
    text = (root / "docs" / "diagnoses.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### `([\w-]+)`$\n(.+)", text, flags=re.MULTILINE)
    assert [name for name, _ in sections] == [DOMAIN, UNREAD, UNWRITTEN, *(entry.name for entry in DIAGNOSES)]
    assert all(len(first) > 40 for _, first in sections)


def test_the_page_on_performance_is_that_of_the_records(root, load):
    made = load("make_performance")
    committed = (root / "docs" / "performance.md").read_text(encoding="utf-8")
    assert committed == made.page(), "out of date; run python docs/make_performance.py"
    assert len(made.draw_errors().axes) == 3
    assert len(made.draw_sizes().axes) == 2
    for name in ("error_against_time", "cost_against_size"):
        picture = root / "docs" / "images" / f"{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 250_000
