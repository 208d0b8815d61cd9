"""The conformance tests of ptychodus itself, from its source archive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

SOURCE = Path(os.environ.get("PTYCHODUS_SOURCE", "."))


@pytest.mark.parametrize("name", ["test_parent_config_builders.py", "test_no_gpu_context.py"])
def test_conformance(name, tmp_path):
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", f"tests/{name}"],
        cwd=SOURCE, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    cases = {case.get("name"): case for case in ElementTree.parse(report).iter("testcase")}
    assert cases
    for case, entry in cases.items():
        # Other backends are not installed here.
        ours = "[ptychopinn_torch]" in case or "[" not in case
        assert not (ours and entry.findall("skipped")), case
