"""Whatever file a scan is read from is known, so that no output goes over it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.data.convert import convert, write_scan
from ptycho_torch.data.formats import parts
from ptycho_torch.data.inputs import files_read
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.scan.example import example_scan


@pytest.fixture
def training_file(tmp_path):
    write_scan(tmp_path / "scan.h5", example_scan())
    return tmp_path / "scan.h5"


def _refused(source, target, **asked):
    before = target.read_bytes()
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("target",)):
        convert(source, target, overwrite=True, **asked)
    assert target.read_bytes() == before


@pytest.mark.rule("RUN-082")
def test_frames_behind_a_link_are_an_input(training_file):
    first = training_file.with_name("first.h5")
    shutil.copy(training_file, first)
    with h5py.File(training_file, "r+") as file:
        del file["patterns"]
        file["patterns"] = h5py.ExternalLink("first.h5", "/patterns")
    assert first in files_read([training_file])
    _refused(training_file, first)
    convert(training_file, training_file.with_name("second.h5"))


@pytest.mark.rule("RUN-082")
def test_the_parts_of_a_virtual_dataset_are_inputs_and_what_they_link_to(training_file):
    first, last = training_file.with_name("first.h5"), training_file.with_name("last.h5")
    shutil.copy(training_file, last)
    with h5py.File(first, "w") as file:
        file["patterns"] = h5py.ExternalLink("last.h5", "/patterns")
    with h5py.File(training_file, "r+") as file:
        shape, kind = file["patterns"].shape, file["patterns"].dtype
        del file["patterns"]
        layout = h5py.VirtualLayout(shape=shape, dtype=kind)
        layout[:] = h5py.VirtualSource("first.h5", "patterns", shape=shape)
        file.create_virtual_dataset("patterns", layout)
    assert {first, last} <= set(files_read([training_file]))
    _refused(training_file, last)


@pytest.mark.rule("RUN-082")
def test_files_that_a_text_names_are_inputs(tmp_path):
    parts.make_example(tmp_path / "a.scan")
    read = files_read([tmp_path / "a.scan"])
    assert {path.name for path in read} == {"a.scan", "frames.h5", "positions.csv", "probe.h5"}
    _refused(tmp_path / "a.scan", tmp_path / "frames.h5")


def test_a_part_of_a_file_a_scan_in_memory_and_a_folder_are_their_files(training_file, tmp_path):
    write_scan(tmp_path / "scan.cxi", example_scan())
    assert tmp_path / "scan.cxi" in files_read([f"{tmp_path / 'scan.cxi'}:/entry_1"])
    assert training_file in files_read([open_scan(training_file)])
    write_scan(tmp_path / "pair", example_scan())
    assert tmp_path / "pair" / "product.h5" in files_read([tmp_path / "pair"])
    arrays = {"diff3d": np.ones((2, 8, 8))}
    assert files_read(
        [arrays, replace(example_scan(), source=None), tmp_path / "none"], tmp_path / "r.py"
    ) == (
        tmp_path / "r.py",
        tmp_path / "none",
    )


def test_links_in_a_circle_and_damaged_files_are_left_to_the_reader(training_file):
    other = training_file.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["back"] = h5py.ExternalLink(training_file.name, "/patterns")
    with h5py.File(training_file, "r+") as file:
        file["on"] = h5py.ExternalLink("other.h5", "/back")
        file["nowhere"] = h5py.ExternalLink("gone.h5", "/x")
    assert other in files_read([training_file])
    training_file.write_bytes(training_file.read_bytes()[:3000])
    assert files_read([training_file]) == (training_file,)
