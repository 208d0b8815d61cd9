"""What holds for every format: each brings an example, and all tests run over all of them."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho_torch.data import formats
from ptycho_torch.data.convert import write_scan
from ptycho_torch.data.format_registry import built_in_formats, writable_formats
from ptycho_torch.data.opening import open_scan, read_scan_header
from ptycho_torch.data.recognition import Candidate, recognised
from ptycho_torch.data.scan.example import example_scan
from ptycho_torch.data.scan.hdf5_frames import HDF5Frames
from ptycho_torch.data.scan.lazy import FrameStack
from ptycho_torch.errors import DataError

FORMATS = {format.name: format for format in built_in_formats()}
WRITABLE = {format.name: format for format in writable_formats()}
NAMES = {name: f"example{(*format.targets, *format.suffixes)[0]}" for name, format in FORMATS.items()}
LOADED_WHOLE = {"npz", "ptychodus-npz"}
WITHOUT_OPTICS = {"ptychodus-npz"}
WITHOUT_PROBE = {"ptypy", "ptylab", "fold-slice"}

pytestmark = pytest.mark.filterwarnings("ignore:.*holds no probe:ptycho_torch.errors.ScanWarning")
every_format = pytest.mark.parametrize("name", FORMATS)
writable_format = pytest.mark.parametrize("name", WRITABLE)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The example of every format, each in a folder of its own."""
    made = {}
    for name, format in FORMATS.items():
        made[name] = tmp_path_factory.mktemp(name) / NAMES[name]
        format.load().make_example(made[name])
    return made


def test_the_formats_are_the_files_of_the_folder():
    files = {path.stem for path in Path(formats.__path__[0]).glob("*.py")} - {"__init__"}
    assert {"npz", "cxi", "ptychodus", "ptychodus_training"} <= files
    assert {format.load().__name__.rpartition(".")[2] for format in FORMATS.values()} == files


@every_format
def test_facts_are_read_from_the_source_as_the_module_states_them(name):
    format, module = FORMATS[name], FORMATS[name].load()
    assert (format.name, format.help, format.suffixes) == (module.NAME, module.HELP, module.SUFFIXES)
    assert format.targets == getattr(module, "TARGETS", ())
    assert format.is_writable == hasattr(module, "write")


@pytest.mark.rule("DATA-009")
@every_format
def test_it_recognises_its_own_example_and_no_other(name, examples):
    located = recognised(examples[name])[1]
    assert located.format == name
    for other, path in examples.items():
        with Candidate(path) as candidate:
            answer = FORMATS[name].recognise(candidate)
        if other == name:
            assert answer == located
        elif FORMATS[other].refines != name:
            assert isinstance(answer, str)
            assert answer


@every_format
def test_the_name_of_a_file_does_not_decide(name, examples, tmp_path):
    located = recognised(examples[name])[1]
    if examples[name].is_dir():
        return
    path = tmp_path / "scan.data"
    shutil.copy(located.frames, path)
    assert recognised(path)[1].format == name


@every_format
def test_every_file_of_it_stands_for_the_scan(name, examples):
    located = recognised(examples[name])[1]
    # A text that names its files stands for the scan alone.
    files = located.files[:1] if name == "parts" else located.files
    assert all(recognised(path)[1] == located for path in files)


@pytest.mark.rule("DATA-009")
@every_format
def test_the_example_is_the_scan_that_its_npz_twin_holds(name, examples):
    found, twin = open_scan(examples[name]), open_scan(examples["npz"])
    np.testing.assert_array_equal(found.diffraction[:], twin.diffraction)
    if name not in WITHOUT_PROBE:
        np.testing.assert_array_equal(found.probe, twin.probe)
    # Where coordinate zero lies is free in formats that count from elsewhere.
    for scan in (found, twin):
        assert scan.n_frames == 12
    np.testing.assert_allclose(
        found.positions - found.positions[0], twin.positions - twin.positions[0], atol=1e-7
    )
    if name not in WITHOUT_OPTICS:
        assert found.metadata["photon_energy_eV"] == pytest.approx(8000.0)


@pytest.mark.rule("DATA-018")
@every_format
def test_a_header_reads_no_frames(name, examples, monkeypatch):
    scan = open_scan(examples[name])

    def read(*arguments, **rest):
        raise AssertionError("frames were read")

    stored = np.lib.format.read_array

    def read_text_only(stream, **rest):
        values = stored(stream, **rest)
        assert values.dtype.kind == "U", "an array was read"
        return values

    monkeypatch.setattr(HDF5Frames, "_fetch", read)
    monkeypatch.setattr(np.lib.format, "read_array", read_text_only)
    header = read_scan_header(examples[name])
    assert (header.n_frames, header.N, header.probe_size) == (scan.n_frames, scan.N, scan.probe.shape[-1])
    assert header.metadata == scan.metadata
    stored = [array.shape for array in header.arrays.values() if array.shape[-2:] == (16, 16)]
    assert sum(shape[0] for shape in stored if len(shape) == 3) >= 12


@pytest.mark.rule("DATA-014")
@every_format
def test_frames_stay_in_their_file(name, examples):
    assert isinstance(open_scan(examples[name]).diffraction, FrameStack) == (name not in LOADED_WHOLE)


@pytest.mark.rule("DATA-037")
@every_format
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_a_truncated_file_is_refused_in_words(name, share, examples, tmp_path):
    for number, original in enumerate(recognised(examples[name])[1].files):
        path = _copied(examples[name], tmp_path / str(number))
        broken = path / original.name if path.is_dir() else path
        content = original.read_bytes()
        broken.write_bytes(content[: int(len(content) * share)])
        for act in (read_scan_header, open_scan):
            with pytest.raises(DataError) as caught:
                act(path)
            assert all(caught.value.problems)


@every_format
@pytest.mark.parametrize("seed", range(25))
def test_flipped_bytes_are_refused_in_words_or_do_no_harm(name, seed, examples, tmp_path):
    rng = np.random.default_rng([seed, 77])
    for number, original in enumerate(recognised(examples[name])[1].files):
        path = _copied(examples[name], tmp_path / str(number))
        broken = path / original.name if path.is_dir() else path
        content = np.frombuffer(original.read_bytes(), dtype=np.uint8).copy()
        content[rng.integers(0, content.size, 4)] ^= rng.integers(1, 256, 4, dtype=np.uint8)
        broken.write_bytes(content.tobytes())
        for act in (read_scan_header, lambda found: open_scan(found).diffraction[:]):
            # Anything but a refusal in words fails the test.
            with warnings.catch_warnings(), contextlib.suppress(DataError):
                warnings.simplefilter("ignore")
                act(path)


def _copied(example: Path, folder: Path) -> Path:
    # With what lies beside it, which a text may name.
    return Path(shutil.copytree(example.parent, folder) / example.name)


@pytest.mark.rule("DATA-017")
@writable_format
@pytest.mark.parametrize("complete", [False, True], ids=["plain", "complete"])
def test_what_is_written_is_read_back_exactly(name, complete, tmp_path):
    scan = example_scan()
    if complete:
        rng = np.random.default_rng(1)
        bad = np.zeros((16, 16), dtype=np.bool_)
        bad[3, 4] = True
        labels = rng.normal(size=(12, 16, 16)) + 1j * rng.normal(size=(12, 16, 16))
        scan = replace(
            scan,
            diffraction=np.where(bad, 0, scan.diffraction).astype(np.uint16),
            bad_pixels=bad,
            labels=labels.astype(np.complex64),
            object_truth=(rng.normal(size=(70, 80)) + 1j).astype(np.complex64),
            object_truth_origin=np.array([1.5, -2.25]),
            positions_nominal=scan.positions + rng.normal(size=(12, 2)),
            scan_index=np.repeat([0, 1, 2], 4),
            frame_index=rng.permutation(30)[:12],
            metadata={**scan.metadata, "nested": {"a": [1, 2.5, None]}},
        )
    path = tmp_path / NAMES[name]
    assert write_scan(path, scan, format=name) == name
    found, header = open_scan(path), read_scan_header(path)
    assert found.diffraction.dtype == scan.diffraction.dtype
    np.testing.assert_array_equal(found.diffraction[:], scan.diffraction)
    for part in (
        *("positions", "positions_nominal", "probe", "object_truth", "object_truth_origin"),
        *("scan_index", "frame_index", "bad_pixels", "labels"),
    ):
        ours, theirs = getattr(found, part), getattr(scan, part)
        assert (ours is None) == (theirs is None), part
        if ours is not None:
            assert ours.dtype == theirs.dtype, part
            np.testing.assert_array_equal(ours, theirs, err_msg=part)
    assert found.metadata == header.metadata == scan.metadata
    assert (header.n_frames, header.N) == (12, 16)


@writable_format
def test_a_refused_scan_leaves_nothing(name, tmp_path):
    scan = replace(example_scan(), metadata={"unfit": {1, 2}})
    with pytest.raises(DataError):
        write_scan(tmp_path / NAMES[name], scan, format=name)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_text_is_named_in_a_refusal(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file[b"torn\xff"], file["whole"] = 1.0, 2.0
    with pytest.raises(DataError) as caught:
        recognised(tmp_path / "x.h5")[1]
    assert "torn\ufffd, whole" in caught.value.problems[0]


@pytest.mark.rule("DATA-037")
def test_a_refusal_is_made_of_the_reasons_of_all_formats(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["measurement/frames"] = np.zeros(3)
    with pytest.raises(DataError) as caught:
        recognised(tmp_path / "x.h5")[1]
    head, *reasons = caught.value.problems
    assert "measurement/frames" in head
    said = [name for reason in reasons for name in reason.partition(":")[0].split(", ")]
    assert sorted(said) == sorted(FORMATS)
