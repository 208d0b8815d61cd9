"""Formats from elsewhere: a file of the user's own, and installed distributions."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_torch.data import format_registry
from ptycho_torch.data.convert import convert, write_scan
from ptycho_torch.data.format_registry import (
    built_in_formats,
    format_for_target,
    formats,
    writable_formats,
)
from ptycho_torch.data.formats import npz
from ptycho_torch.data.opening import open_scan, read_scan_header, scan_files
from ptycho_torch.data.recognition import recognised
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.summary import inspect_scan
from ptycho_torch.errors import ConfigError, DataError

TOY = Path(__file__).with_name("toy_format.py")

SPECIAL = '''
"""A beamline's own habit in CXI."""
from ptycho_torch.data.formats import cxi
from ptycho_torch.data.scan import Located

NAME = "beamline-cxi"
HELP = "CXI as one beamline writes it"
SUFFIXES = (".cxi",)
REFINES = "cxi"

def recognise(candidate):
    if "beamline" not in candidate.hdf5_names("entry_1"):
        return "no entry_1/beamline"
    return Located(NAME, (candidate.path,))

def header(located):
    return cxi.header(located)

def read(located, **asked):
    return cxi.read(located, **asked)
'''


@pytest.fixture
def toy(tmp_path):
    """The example scan in the toy format."""
    path = tmp_path / "scan.toy"
    write_scan(path, example_scan(), reader=TOY)
    return path


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with one module and an entry point on the search path, as an installer would."""
    number = 0

    def make(source: str, entry: str = "other = other_format_{number}") -> str:
        nonlocal number
        number += 1
        site = tmp_path / f"site{number}"
        info = site / f"other_{number}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"other_format_{number}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: other-{number}\nVersion: 1.0\n")
        named = entry.format(number=number)
        (info / "entry_points.txt").write_text(f"[{format_registry.ENTRY_POINT_GROUP}]\n{named}\n")
        monkeypatch.syspath_prepend(str(site))
        return f"other_format_{number}"

    yield make
    for made in range(1, number + 1):
        sys.modules.pop(f"other_format_{made}", None)


def test_a_file_of_the_users_own_is_asked_first_and_reads_its_scans(toy):
    with pytest.raises(DataError):
        open_scan(toy)
    assert formats(TOY)[0].name == "toy"
    assert recognised(toy, reader=TOY)[1].format == "toy"
    np.testing.assert_array_equal(open_scan(toy, reader=TOY).diffraction, example_scan().diffraction)
    assert read_scan_header(toy, reader=TOY).n_frames == 12
    assert inspect_scan(toy, reader=TOY).is_sound
    assert scan_files(toy.parent, reader=TOY) == (toy,)


def test_it_converts_in_both_directions(toy, tmp_path):
    convert(toy, tmp_path / "scan.cxi", reader=TOY)
    convert(tmp_path / "scan.cxi", tmp_path / "again.toy", reader=TOY)
    found = open_scan(tmp_path / "again.toy", reader=TOY)
    np.testing.assert_array_equal(found.positions, example_scan().positions)
    assert "toy" not in {format.name for format in writable_formats()}
    assert format_for_target("x.toy", TOY).name == "toy"


def test_other_formats_are_read_beside_it(tmp_path):
    npz.make_example(tmp_path / "scan.npz")
    assert recognised(tmp_path / "scan.npz", reader=TOY)[1].format == "npz"


def test_a_changed_file_is_run_again(tmp_path, toy):
    own = tmp_path / "own.py"
    own.write_text(TOY.read_text())
    assert open_scan(toy, reader=own).n_frames == 12
    before = own.stat()
    own.write_text(TOY.read_text().replace('b"TOYSCAN1"', 'b"TOYSCAN2"'))
    # As long as before, and changed within the same second: what Python tells bytecode by.
    os.utime(own, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    with pytest.raises(DataError):
        open_scan(toy, reader=own)
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "NAME, HELP, SUFFIXES is missing"),
        ("def broken(:\n", "line 1"),
        ('NAME = "a" + "b"\nHELP = ""\nSUFFIXES = ()\n', "NAME is computed"),
        ('NAME = "a"\nHELP = ""\nSUFFIXES = ("a",)\n', "SUFFIXES: expected endings"),
        ('NAME = "cxi"\nHELP = ""\nSUFFIXES = ()\n', "cxi is taken"),
        ('NAME = "a"\nHELP = ""\nSUFFIXES = ()\n', "recognise, header, read is missing"),
    ],
)
def test_what_is_no_reader_is_refused(tmp_path, toy, source, said):
    own = tmp_path / "own.py"
    own.write_text(source)
    with pytest.raises(ConfigError) as caught:
        open_scan(toy, reader=own)
    [problem] = caught.value.problems
    assert (problem.field, problem.value) == ("reader", str(own))
    assert said in problem.hint
    with pytest.raises(FileNotFoundError):
        open_scan(toy, reader=tmp_path / "gone.py")


def test_facts_are_known_without_running_a_module(install):
    name = install(f"raise SystemExit('was run')\n{TOY.read_text()}", "toy = other_format_{number}")
    [found] = [format for format in formats() if format.name == "toy"]
    assert (found.suffixes, found.is_writable, found.problem) == ((".toy",), True, "")
    assert name not in sys.modules


@pytest.mark.rule("DATA-019")
def test_a_format_of_another_distribution_is_one_of_all(install, tmp_path, toy):
    install(TOY.read_text(), "toy = other_format_{number}")
    assert recognised(toy)[1].format == "toy"
    convert(toy, tmp_path / "scan.npz")
    convert(tmp_path / "scan.npz", tmp_path / "again.toy")
    np.testing.assert_array_equal(open_scan(tmp_path / "again.toy").diffraction, example_scan().diffraction)


@pytest.mark.rule("DATA-019")
def test_a_special_format_is_asked_before_the_general_one(install, tmp_path):
    install(SPECIAL)
    [general] = [format for format in built_in_formats() if format.name == "cxi"]
    general.load().make_example(tmp_path / "plain.cxi")
    general.load().make_example(tmp_path / "special.cxi")
    with h5py.File(tmp_path / "special.cxi", "a") as file:
        file["entry_1/beamline"] = 7
    assert recognised(tmp_path / "plain.cxi")[1].format == "cxi"
    assert recognised(tmp_path / "special.cxi")[1].format == "beamline-cxi"
    assert open_scan(tmp_path / "special.cxi").n_frames == 12
    order = [format.name for format in formats()]
    assert order.index("beamline-cxi") < order.index("cxi")


@pytest.mark.rule("DATA-019")
def test_two_formats_that_know_nothing_of_each_other_do_not_decide(install, tmp_path):
    install(SPECIAL.replace('REFINES = "cxi"\n', ""))
    [general] = [format for format in built_in_formats() if format.name == "cxi"]
    general.load().make_example(tmp_path / "special.cxi")
    with h5py.File(tmp_path / "special.cxi", "a") as file:
        file["entry_1/beamline"] = 7
    with pytest.raises(DataError) as caught:
        recognised(tmp_path / "special.cxi")[1]
    assert "beamline-cxi" in str(caught.value)
    assert "cxi and" in str(caught.value) or "and as cxi" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "entry"),
    [
        (TOY.read_text(), "toy = nowhere.at_all"),
        ("NAME = 3 +\n", "toy = other_format_{number}"),
        (TOY.read_text().replace('"toy"', '"npz"'), "toy = other_format_{number}"),
        (f"import a_package_that_is_not_there\n{TOY.read_text()}", "toy = other_format_{number}"),
    ],
    ids=["no module", "no Python", "name taken", "needs a package"],
)
def test_a_distribution_that_cannot_be_used_spoils_nothing(install, tmp_path, toy, source, entry):
    install(source, entry)
    npz.make_example(tmp_path / "scan.npz")
    assert open_scan(tmp_path / "scan.npz").n_frames == 12
    with pytest.raises(DataError) as caught:
        open_scan(toy)
    assert any("cannot be" in problem for problem in caught.value.problems)


LAZY = """
import numpy as np
from ptycho_torch.data.formats import npz
from ptycho_torch.data.scan.lazy import FrameStack

NAME = "lazy"
HELP = "frames that are made when they are read"
SUFFIXES = (".npz",)
REFINES = "npz"
recognise, header, read = npz.recognise, npz.header, npz.read

class Made(FrameStack):
    def __init__(self, n):
        super().__init__()
        self.shape, self.dtype = (n, 8, 8), np.dtype("u2")
    def __getitem__(self, index):
        return np.full((*np.shape(np.arange(self.shape[0])[index]), 8, 8), self.shape[0], "u2")
    def take(self, indices):
        return Made(len(np.arange(self.shape[0])[indices]))
    def crop(self, N):
        return self
"""


def test_frames_of_a_reader_reach_other_processes(tmp_path):
    """They load by the name of a module that nothing else can import."""
    own = tmp_path / "lazy.py"
    own.write_text(LAZY, encoding="utf-8")
    [lazy] = [format for format in formats(own) if format.name == "lazy"]
    frames = lazy.load().Made(5)
    (tmp_path / "sent").write_bytes(pickle.dumps(frames.take([0, 2])))
    script = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))[:].sum())"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "sent")], capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{2 * 64 * 2}\n", done.stderr
