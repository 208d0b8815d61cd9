"""The table of diagnoses is complete, and everything in it can be said."""

import inspect

import numpy as np

from ptycho_torch.diagnosis import table
from ptycho_torch.diagnosis.finding import numbered
from ptycho_torch.diagnosis.table import CLEANING, DIAGNOSES, examine


def test_names_are_their_own_and_every_entry_speaks():
    names = [entry.name for entry in DIAGNOSES]
    assert len(set(names)) == len(names)
    for entry in DIAGNOSES:
        assert entry.looks_for
        assert entry.threshold
        assert inspect.getdoc(entry.examine)


def test_a_sound_scan_is_answered_by_all(scene):
    findings = examine(scene(64).evidence())
    assert [finding.name for finding in findings] == [entry.name for entry in DIAGNOSES]
    assert [finding.name for finding in findings if finding.found] == []
    assert all(finding.text for finding in findings)


def test_only_what_cleans_has_a_remedy(scene):
    made = scene(64)
    made.frames[3] = 0
    made.frames[:, 20] = 0
    made.positions[5] = 1e4
    for finding in examine(made.evidence()):
        assert finding.remedy is None or finding.name in CLEANING
        assert finding.found or finding.remedy is None
    assert table.__all__


def test_numbers_in_sentences():
    assert numbered(np.array([False, True, True, True])) == "1 to 3"
    assert numbered(np.array([True, False, True])) == "0, 2"
    assert numbered(np.arange(0, 40, 2)) == "0, 2, 4, 6, 8, 10 and 14 more"
