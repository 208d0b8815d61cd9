"""The numbered rules: each is defined once, marked tests hold it, and every number that is cited exists."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import rules

CITED = re.compile(r"\b(?:CFG|CONFIG|CONFIG-LOGGER|DATA|PHY|STI|REF|MET|BUN|RUN|EMB|CLI|PKG|POLICY)-\d{3}\b")


def test_every_rule_is_defined_once(root):
    counts = Counter(rules.defined_rules(root))
    assert len(counts) > 100
    assert not [rule for rule, count in counts.items() if count > 1]


def test_every_rule_has_a_test(root):
    held = {mark.rule for mark in rules.marks(root)} | set(rules.HELD_ELSEWHERE)
    without = [rule for rule in rules.defined_rules(root) if rule not in held]
    assert not without, f"mark the tests of these rules with pytest.mark.rule: {', '.join(without)}"


def test_every_mark_names_a_rule(root):
    known = set(rules.defined_rules(root))
    wrong = [f"{mark.file}::{mark.test}: {mark.rule}" for mark in rules.marks(root) if mark.rule not in known]
    assert not wrong, "\n".join(wrong)
    assert set(rules.HELD_ELSEWHERE) <= known


def test_a_mark_is_read_from_the_source():
    source = '@pytest.mark.rule("AB-001", "AB-002")\n@pytest.mark.drawn\ndef test_it():\n    pass\n'
    assert list(rules.marks_of(source, "x.py")) == [
        rules.Mark("AB-001", "x.py", "test_it"),
        rules.Mark("AB-002", "x.py", "test_it"),
    ]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('@pytest.mark.rule("AB-001")\ndef helper():\n    pass\n', "only a test function"),
        ('@pytest.mark.rule("AB-001")\nclass TestIt:\n    pass\n', "only a test function"),
        ("@pytest.mark.rule\ndef test_it():\n    pass\n", "as texts"),
        ("@pytest.mark.rule(NUMBER)\ndef test_it():\n    pass\n", "as texts"),
    ],
)
def test_a_mark_that_could_not_be_read_is_refused(source, words):
    with pytest.raises(ValueError, match=f"x.py:1: .*{words}"):
        list(rules.marks_of(source, "x.py"))


@pytest.mark.parametrize("pattern", ["docs/**/*.md", "specs/*.md", "tests/**/*.py", "packages/**/*.py"])
def test_every_cited_rule_exists(root, pattern):
    known = set(rules.defined_rules(root))
    unknown = [
        f"{path.relative_to(root)}: {rule}"
        for path in sorted(root.glob(pattern))
        if "_build" not in path.parts
        for rule in CITED.findall(path.read_text(encoding="utf-8"))
        if rule not in known
    ]
    assert not unknown, "\n".join(unknown)
