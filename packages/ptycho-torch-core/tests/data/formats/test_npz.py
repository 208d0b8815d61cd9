"""Files: what is read, what comes back, and that nothing is unpickled or damaged."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from ptycho_torch.data.formats.npz import infer_probe_size, load_scan, read_npz_headers, save_scan
from ptycho_torch.data.limits import larger_arrays
from ptycho_torch.data.opening import read_scan_header
from ptycho_torch.data.scan.contract import DomainDecision, Scan
from ptycho_torch.errors import DataError, ScanWarning

# Noise is stored here, which no detector measures.
pytestmark = pytest.mark.filterwarnings("ignore::ptycho_torch.errors.ScanWarning")


def _random_scan(seed):
    """Scan whose optional parts, sizes and dtypes follow the seed."""
    rng = np.random.default_rng(seed)
    n, size, modes = (int(rng.integers(low, high)) for low, high in ((2, 9), (3, 13), (1, 4)))
    dtype = [np.uint8, np.uint16, np.int32, np.int64, np.float32][seed % 5]
    bad = rng.random((size, size)) < 0.1 if rng.random() < 0.5 else None
    frames = rng.poisson(20.0, (n, size, size)).astype(dtype)
    if dtype is np.float32 and seed % 2:
        frames += rng.random(frames.shape, dtype=np.float32)
    if bad is not None:
        frames[:, bad] = 0

    def complex_noise(*shape):
        return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)

    return Scan(
        diffraction=frames,
        positions=rng.normal(scale=100.0, size=(n, 2)),
        probe=complex_noise(modes, size, size),
        object_truth=complex_noise(20, 30) if rng.random() < 0.5 else None,
        object_truth_origin=rng.normal(size=2) if rng.random() < 0.5 else None,
        scan_index=rng.integers(0, 3, n),
        bad_pixels=bad,
        positions_nominal=rng.normal(size=(n, 2)) if rng.random() < 0.5 else None,
        labels=complex_noise(n, size, size) if rng.random() < 0.5 else None,
        metadata={"nphotons": float(rng.random()), "kept": ["as", {"it": None}], "ü": seed},
    )


@pytest.mark.rule("DATA-007")
@pytest.mark.parametrize("seed", range(20))
def test_round_trip_is_exact(tmp_path, seed):
    scan = _random_scan(seed)
    save_scan(tmp_path / "a.npz", scan)
    back = load_scan(tmp_path / "a.npz")
    for name, value in vars(scan).items():
        if isinstance(value, np.ndarray):
            assert getattr(back, name).dtype == value.dtype, name
            np.testing.assert_array_equal(getattr(back, name), value, err_msg=name)
        elif name not in ("domain", "source", "findings", "statistics"):
            assert getattr(back, name) == value, name
    assert back.source == tmp_path / "a.npz"
    assert back.domain == DomainDecision(domain="counts", stated=True, reason="stated by the file")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.npz"]


def test_a_scan_with_as_many_frames_as_pixels_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    scan = Scan(
        diffraction=rng.poisson(5.0, (8, 8, 8)),
        positions=rng.normal(scale=9.0, size=(8, 2)),
        probe=np.ones((1, 8, 8), np.complex64),
    )
    save_scan(tmp_path / "a.npz", scan)
    np.testing.assert_array_equal(load_scan(tmp_path / "a.npz").diffraction, scan.diffraction)


@pytest.mark.rule("DATA-008")
def test_failed_save_keeps_the_old_file(tmp_path):
    scan = _random_scan(1)
    path = tmp_path / "a.npz"
    save_scan(path, scan)
    before = path.read_bytes()
    with pytest.raises(DataError, check=lambda error: error.names == ("metadata",)):
        save_scan(path, replace(scan, metadata={"a": object()}))
    with pytest.raises(
        DataError, check=lambda error: error.names == ("",) and error.source == tmp_path / "a.h5"
    ):
        save_scan(tmp_path / "a.h5", scan)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.rule("DATA-006")
def test_x_is_the_column_and_positions_are_y_x(arrays, write):
    scan = load_scan(write(arrays))
    np.testing.assert_array_equal(scan.positions, np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1))
    np.testing.assert_array_equal(scan.positions_nominal, scan.positions)
    np.testing.assert_array_equal(scan.diffraction, arrays["diff3d"])
    assert scan.diffraction.dtype == np.uint16
    assert (scan.n_frames, scan.N, scan.n_modes) == (6, 16, 1)


def test_nominal_positions_are_read(arrays, write):
    start = {"xcoords_start": arrays["xcoords"] + 1, "ycoords_start": arrays["ycoords"] - 2}
    scan = load_scan(write(arrays | start))
    np.testing.assert_allclose(scan.positions_nominal - scan.positions, np.tile([-2.0, 1.0], (6, 1)))


@pytest.mark.rule("DATA-002")
def test_the_other_name_of_the_frames(arrays, write):
    expected = arrays.pop("diff3d")
    np.testing.assert_array_equal(load_scan(write(arrays | {"diffraction": expected})).diffraction, expected)


@pytest.mark.rule("DATA-002")
def test_diff3d_is_preferred_and_said_so(arrays, write, caplog):
    scan = load_scan(write(arrays | {"diffraction": arrays["diff3d"] + 1}))
    np.testing.assert_array_equal(scan.diffraction, arrays["diff3d"])
    assert "diff3d is read" in caplog.text


@pytest.mark.rule("DATA-005")
def test_frames_last_are_recognised_and_transposed(arrays, write):
    expected = arrays["diff3d"]
    scan = load_scan(write(arrays | {"diff3d": np.moveaxis(expected, 0, 2)}))
    np.testing.assert_array_equal(scan.diffraction, expected)


@pytest.mark.rule("DATA-005")
@pytest.mark.parametrize("axis", ["first", "last"])
def test_a_cube_needs_a_statement(arrays, write, axis):
    cube = np.random.default_rng(3).poisson(9.0, (16, 16, 16)).astype(np.int32)
    rng = np.random.default_rng(4)
    arrays |= {"diff3d": cube, "xcoords": rng.uniform(0, 50, 16), "ycoords": rng.uniform(0, 50, 16)}
    with pytest.raises(DataError, check=lambda error: error.names == ("diff3d",)):
        load_scan(write(arrays))
    expected = cube if axis == "first" else np.moveaxis(cube, 2, 0)
    np.testing.assert_array_equal(load_scan(write(arrays, {"frame_axis": axis})).diffraction, expected)


@pytest.mark.rule("DATA-006")
def test_probe_forms_become_modes_first(arrays, write):
    probe = arrays["probeGuess"]
    for stored in (probe, probe[None], probe[:, :, None], probe.astype(np.complex128)):
        path = write(arrays | {"probeGuess": stored})
        scan = load_scan(path)
        assert scan.probe.dtype == np.complex64
        np.testing.assert_array_equal(scan.probe, probe[None])
        assert infer_probe_size(path) == 16
    modes = np.stack([probe, 2 * probe, 3 * probe])
    np.testing.assert_array_equal(load_scan(write(arrays | {"probeGuess": modes})).probe, modes)


def test_as_many_modes_as_pixels_are_modes_first(arrays, write):
    modes = np.random.default_rng(1).normal(size=(16, 16, 16)).astype(np.complex64)
    np.testing.assert_array_equal(load_scan(write(arrays | {"probeGuess": modes})).probe, modes)


def test_amplitudes_become_the_same_counts(arrays, write):
    amplitude = np.sqrt(arrays["diff3d"]).astype(np.float32)
    scan = load_scan(write(arrays | {"diff3d": amplitude}))
    assert (scan.domain.domain, scan.domain.stated) == ("amplitude", False)
    np.testing.assert_array_equal(scan.diffraction, arrays["diff3d"])


@pytest.mark.parametrize("where", ["metadata", "key", "caller"])
def test_domain_stated_anywhere_is_followed(arrays, write, where):
    frames = np.random.default_rng(5).gamma(2.0, 4.0, arrays["diff3d"].shape)
    arrays["diff3d"] = frames
    if where == "key":
        arrays["measurement_domain"] = np.array("counts")
    path = write(arrays, {"measurement_domain": "counts"} if where == "metadata" else None)
    scan = load_scan(path, measurement_domain="counts" if where == "caller" else "auto")
    assert scan.domain.stated
    np.testing.assert_array_equal(scan.diffraction, frames.astype(np.float32))


def test_metadata_are_kept_and_unknown_keys_ignored(arrays, write):
    metadata = {"nphotons": 1e6, "energy_eV": 8000, "anything": [1, 2]}
    assert load_scan(write(arrays | {"probe_initial": np.ones(3)}, metadata)).metadata == metadata


@pytest.mark.rule("DATA-031")
def test_bad_pixels_are_zero_and_may_hold_anything(arrays, write):
    bad = np.zeros((16, 16), dtype=np.uint8)
    bad[2, 3] = bad[9, 9] = 1
    frames = arrays["diff3d"].astype(np.float32)
    frames[:, 2, 3] = np.nan
    frames[:, 9, 9] = -1
    scan = load_scan(write(arrays | {"diff3d": frames, "bad_pixels": bad}))
    assert scan.domain.domain == "counts"
    assert scan.bad_pixels.dtype == np.bool_
    assert (scan.diffraction[:, bad == 1] == 0).all()
    np.testing.assert_array_equal(scan.diffraction[:, bad == 0], arrays["diff3d"][:, bad == 0])


def test_a_missing_path_is_a_missing_file(tmp_path):
    for function in (load_scan, infer_probe_size, read_npz_headers):
        with pytest.raises(FileNotFoundError, match="no such file"):
            function(tmp_path / "no.npz")


@pytest.mark.rule("DATA-004")
def test_headers_are_read_without_the_data(arrays, write):
    path = write(arrays, {"a": 1})
    headers = read_npz_headers(path)
    assert headers["diff3d"] == ((6, 16, 16), np.dtype(np.uint16))
    assert headers["probeGuess"] == ((16, 16), np.dtype(np.complex64))
    assert list(headers) == ["diff3d", "xcoords", "ycoords", "probeGuess", "_metadata"]
    # Damage far behind the header: only a reader of the data can notice.
    np.savez(path, **arrays | {"diff3d": np.ones((6, 64, 64))})
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("diff3d.npy")
    content = bytearray(path.read_bytes())
    content[info.header_offset + 100_000] ^= 0xFF
    path.write_bytes(content)
    assert infer_probe_size(path) == 16
    assert read_npz_headers(path)["diff3d"][0] == (6, 64, 64)
    with pytest.raises(DataError, check=lambda error: error.names == ("diff3d",)):
        load_scan(path)


def test_probe_size_of_a_file_without_probe(arrays, write):
    del arrays["probeGuess"]
    with pytest.raises(DataError, check=lambda error: error.names == ("probeGuess",)):
        infer_probe_size(write(arrays))
    with pytest.raises(DataError, check=lambda error: error.names == ("probeGuess",)):
        infer_probe_size(write(arrays | {"probeGuess": np.ones((4, 5), complex)}))


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.rule("DATA-003")
@pytest.mark.parametrize("key", ["probeGuess", "_metadata", "anything"])
def test_objects_are_refused_and_never_unpickled(arrays, tmp_path, key):
    path = tmp_path / "scan.npz"
    bomb = np.empty(1, dtype=object)
    bomb[0] = _Bomb()
    np.savez(path, **(arrays | {key: bomb}))
    with pytest.raises(DataError, check=lambda error: error.names == (key,)):
        load_scan(path)


def test_json_in_bytes_is_read(arrays, write):
    arrays["_metadata"] = np.array([json.dumps({"a": "ü"}).encode()])
    assert load_scan(write(arrays)).metadata == {"a": "ü"}


def _too_large(*names):
    return lambda error: set(error.kinds) == {"too large"} and set(error.names) >= set(names)


def test_arrays_that_claim_more_than_there_is_memory_are_not_loaded(tmp_path):
    path = tmp_path / "scan.npz"
    save_scan(path, replace(_random_scan(3), object_truth=None))
    with zipfile.ZipFile(path, "a") as archive:
        header = {"descr": "<c8", "fortran_order": False, "shape": (20_000, 20_000)}
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, header)
        archive.writestr("objectGuess.npy", stream.getvalue())
    # A table of contents can say what it likes about the size of a member.
    claimed = 20_000 * 20_000 * 8 + len(stream.getvalue())
    content = path.read_bytes()
    place = content.rindex(b"PK\x01\x02")
    patched = content[: place + 24] + claimed.to_bytes(4, "little") + content[place + 28 :]
    path.write_bytes(patched)
    with larger_arrays(1), pytest.raises(DataError, check=_too_large("objectGuess")):
        load_scan(path)
    save_scan(path, _random_scan(3))
    with larger_arrays(1e-8), pytest.raises(DataError, check=_too_large("probeGuess", "objectGuess")):
        load_scan(path)


@pytest.mark.rule("DATA-018")
def test_photons_that_ptychopinn_writes_one_level_down_are_those_of_a_frame(arrays, write):
    stated = {"schema_version": "1.0.0", "physics_parameters": {"nphotons": 2e5, "N": 16}}
    path = write(arrays, stated)
    assert load_scan(path).metadata == {**stated, "nphotons": 2e5}
    assert read_scan_header(path).metadata["nphotons"] == 2e5
    both = write(arrays, {**stated, "nphotons": 7.0})
    assert load_scan(both).metadata["nphotons"] == 7.0


def test_metadata_nested_without_end_are_a_problem_of_the_file(arrays, tmp_path):
    path = tmp_path / "scan.npz"
    np.savez_compressed(path, **arrays, _metadata=np.array("[" * 200_000))
    with pytest.raises(DataError) as caught:
        load_scan(path)
    assert caught.value.names == ("_metadata",)


@pytest.mark.rule("DATA-111")
def test_frames_are_not_left_out_without_a_word(write, arrays):
    arrays["diff3d"][2] = 0
    path = write(arrays)
    with pytest.warns(ScanWarning, match="scan.npz: .*left out") as told:
        scan = load_scan(path)
    assert scan.frame_index.tolist() == [0, 1, 3, 4, 5]
    assert told[0].filename == __file__
