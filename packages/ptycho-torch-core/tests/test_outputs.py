"""No output goes over an input, by whatever name, or over a file of another kind."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from ptycho_torch.data.convert import convert
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.errors import ConfigError
from ptycho_torch.outputs import output_problems
from ptycho_torch.workflows.runs.directory import RunDirectory


@pytest.fixture
def scan(tmp_path):
    save_scan(tmp_path / "scan.npz", example_scan())
    return tmp_path / "scan.npz"


@pytest.mark.rule("RUN-082")
@pytest.mark.parametrize("link", [os.link, os.symlink, shutil.copy])
def test_links_to_an_input_are_the_input_and_copies_are_not(scan, link):
    other = scan.with_name("other.npz")
    link(scan, other)
    assert bool(output_problems("target", other, [scan])) is (link is not shutil.copy)


@pytest.mark.rule("RUN-082")
def test_a_file_of_another_kind_is_not_replaced(scan):
    picture = scan.rename(scan.with_suffix(".png"))
    [problem] = output_problems("--plot", picture)
    assert problem.field == "--plot"
    picture.write_bytes(b"")
    assert not output_problems("--plot", picture)


@pytest.mark.rule("RUN-082")
def test_a_pipe_is_no_output(tmp_path):
    os.mkfifo(tmp_path / "scan.npz")
    assert output_problems("target", tmp_path / "scan.npz")


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_convert_refuses_a_link_to_its_source(scan, link):
    before = scan.read_bytes()
    link(scan, scan.with_name("other.npz"))
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("target",)):
        convert(scan, scan.with_name("other.npz"), overwrite=True)
    assert scan.read_bytes() == before


def test_convert_refuses_to_replace_something_else(scan):
    notes = scan.with_name("notes.cxi")
    notes.write_bytes(b"\x89PNG of mine")
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("target",)):
        convert(scan, notes, overwrite=True)
    assert notes.read_bytes() == b"\x89PNG of mine"


@pytest.mark.rule("RUN-082")
def test_a_run_refuses_to_replace_what_it_reads(tmp_path):
    names = ("reconstruction.npz", "checkpoints")
    with RunDirectory.check(tmp_path / "out", "refine", names, overwrite=False).at_work() as work:
        np.savez(work / "reconstruction.npz", object=np.ones(3))
        (work / "checkpoints").mkdir()
        (work / "checkpoints" / "best.ckpt").write_text("weights")
        run = RunDirectory(path=tmp_path / "out", command="refine", names=names, work=work)
        run.publish()
    for inside in ("reconstruction.npz", "checkpoints/best.ckpt"):
        given = tmp_path / "out" / inside
        with pytest.raises(ConfigError, check=lambda error: error.fields == ("output_dir",)):
            RunDirectory.check(tmp_path / "out", "refine", names, overwrite=True, inputs=[given])
        assert given.exists()
    RunDirectory.check(tmp_path / "out", "refine", names, overwrite=True, inputs=[None, {"diff3d": 1}])
