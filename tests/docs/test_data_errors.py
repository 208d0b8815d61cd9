"""The page of errors, scans and bundles: every message in these tables is provoked."""

from __future__ import annotations

import fcntl
import hashlib
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from provoking import rows

from ptycho_torch.bundle import load_bundle, save_bundle
from ptycho_torch.data.convert import convert
from ptycho_torch.data.formats.npz import load_scan
from ptycho_torch.data.opening import open_scan
from ptycho_torch.data.simulation.simulate import simulate_scan, simulate_scene
from ptycho_torch.errors import BundleError, DataError, ShapeError
from ptycho_torch.metrics import compare
from ptycho_torch.physics import Bilinear
from ptycho_torch.prediction.reconstruction import reconstruct


def _load_theirs(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.dill", b"")
    load_bundle(path)


def _frames(bench, change) -> None:
    frames = bench.arrays()["diff3d"].astype(np.float32)
    change(frames)
    bench.read_edited(as_it_is=True, diff3d=frames)


def _with(index, value):
    return lambda frames: frames.__setitem__(index, value)


def _truncated(path: Path) -> str:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path.name


def _damaged(bench) -> None:
    path = bench.folder / bench.edited()
    content = bytearray(path.read_bytes())
    start = content.index(b"probeGuess.npy") + 400
    content[start : start + 200] = bytes(200)
    path.write_bytes(content)
    bench.inspect(path.name)


def _without_known(bench, **changes) -> str:
    return bench.edited(**{"objectGuess": None, "objectGuess_origin": None, "Y": None, **changes})


def _as_many_frames_as_pixels(bench) -> None:
    n = 32
    frames = np.random.default_rng(0).poisson(9.0, (n, n, n))
    axis = np.arange(n) * 3.0 + 40
    np.savez(
        bench.folder / "cube.npz",
        diff3d=frames, xcoords=axis, ycoords=axis, probeGuess=bench.arrays()["probeGuess"],
    )  # fmt: skip
    bench.inspect("cube.npz")


SCANS = {
    "missing … keys found:": lambda b: b.read_edited(probeGuess=None),
    "truncated zip archive": lambda b: b.inspect(_truncated(b.folder / "scan.npz")),
    "expected an NPZ archive as numpy.savez writes it": lambda b: b.inspect(
        b.write("a.npz", "GIF89a-and-more")
    ),
    "damaged array": _damaged,
    "holds Python objects": lambda b: b.read_edited(diff3d=np.array([{}, 1], dtype=object)),
    "NaN, infinity or more than": lambda b: _frames(b, _with((1, 2, 3), np.nan)),
    "expected more than 0, at most": lambda b: b.read_edited(_metadata='{"nphotons": 0}'),
    "negative counts": lambda b: _frames(b, _with((1, 2, 3), -5)),
    "all-zero frames": lambda b: _frames(b, _with(1, 0)),
    "has no frame axis of the length of xcoords": lambda b: b.read_edited(diff3d=b.arrays()["diff3d"][:7]),
    "is ambiguous, the frame axis may be the": _as_many_frames_as_pixels,
    "expected square frames": lambda b: b.read_edited(diff3d=b.arrays()["diff3d"][:, :, :20]),
    "all … positions lie inside one pixel": lambda b: b.read_edited(
        **{name: values * 1e-8 for name, values in b.arrays().items() if name in ("xcoords", "ycoords")}
    ),
    "they reach over … object pixels": lambda b: b.inspect(b.pair(_scaled(1e6))),
    "positions that are not finite": lambda b: b.read_edited(
        as_it_is=True, xcoords=np.where(np.arange(36) == 4, np.nan, b.arrays()["xcoords"])
    ),
    "the probe is zero everywhere": lambda b: b.read_edited(probeGuess=np.zeros((32, 32), complex)),
    "is larger than the frames": lambda b: b.read_edited(probeGuess=np.ones((64, 64), complex)),
    "expected square modes (N, N), (P, N, N) or (N, N, 1)": lambda b: b.read_edited(
        probeGuess=np.ones((32, 32, 3), complex)
    ),
    "are not integers while their": lambda b: b.read_edited(
        diff3d=np.sqrt(b.arrays()["diff3d"]), measurement_domain="counts", _metadata=None
    ),
    "as only counts do": lambda b: b.read_edited(measurement_domain="amplitude", _metadata=None),
    "leave it at 'auto' to follow the file": lambda b: load_scan(
        b.edited(measurement_domain="counts", _metadata=None), measurement_domain="amplitude"
    ),
    "was asked for but the frames are": lambda b: load_scan("scan.npz", N=64),
    "ask for an even N": lambda b: load_scan("scan.npz", N=7),
    "not valid JSON": lambda b: b.read_edited(_metadata="{"),
    "every pixel is marked as not measured": lambda b: b.read_edited(bad_pixels=np.ones((32, 32), bool)),
    "patches of … reach beyond the object": lambda b: simulate_scan(
        np.ones((64, 64), complex),
        np.ones((1, 32, 32), complex),
        np.array([[2.0, 30.0]]),
        photons=1e4,
        seed=0,
    ),
    "do not fit a model of": lambda b: reconstruct(load_bundle("run")[0], _larger_scan()),
    "no labels: supervised training needs the key Y": lambda b: b.train(
        "--model-type supervised", scan=_without_known(b)
    ),
    "does not cover the patches, which reach": lambda b: b.train(
        "--model-type supervised",
        scan=b.edited(objectGuess=np.ones((40, 40), complex), objectGuess_origin=None, Y=None),
    ),
    "the labels transmit no light": lambda b: b.train(
        "--model-type supervised", scan=b.edited(objectGuess=np.zeros_like(b.arrays()["objectGuess"]))
    ),
    "no key object or objectGuess": lambda b: b.cli(
        f"ptycho-torch evaluate {_without_known(b)} {_without_known(b)} --output-dir out"
    ),
    # In HDF5 and CXI files.
    "no scan in this directory": lambda b: b.inspect("."),
    "put both into the directory": lambda b: ((b.pair() / "product.h5").unlink(), b.inspect("pair")),
    "put … beside it": lambda b: (
        (b.pair() / "product.h5").unlink(),
        b.inspect("pair/diffraction.h5"),
    ),
    "no layout that is known": lambda b: (
        h5py.File("other.h5", "w").create_dataset("data", data=1).file.close(),
        b.inspect("other.h5"),
    ),
    "the content is neither NPZ nor HDF5": lambda b: b.inspect(b.write("a.h5", "GIF89a-and-more")),
    "no frame has a position": lambda b: b.inspect(
        b.pair(lambda one, two: one["indexes"].__setitem__(..., np.arange(900, 936)))
    ),
    "turn positions in metres into pixels": lambda b: b.inspect(_cxi_without_distance(b)),
    "expected electronvolts in": lambda b: b.inspect(
        b.pair(lambda one, two: two.attrs.modify("photon_energy_eV", 1.28e-15))
    ),
    "which this installation of HDF5 cannot read": lambda b: (
        b.patch.setattr(h5py.h5z, "filter_avail", lambda code: False),
        b.inspect(b.pair()),
    ),
    "cannot be read (": lambda b: b.inspect(_with_a_broken_block(b)),
    "the file changed while it was in use": lambda b: _changed_meanwhile(b),
    "truncated HDF5 file": lambda b: (_truncated(b.pair() / "diffraction.h5"), b.inspect("pair")),
    "being written by another program": lambda b: _while_it_is_written(b),
    "a link into": lambda b: b.inspect(_cxi_with_frames(b, h5py.ExternalLink("raw.h5", "data"))),
    "which this file does not hold": lambda b: b.inspect(_cxi_with_frames(b, h5py.SoftLink("/raw"))),
    "a virtual dataset over": lambda b: b.inspect(_virtual(b)),
    "contradict each other": lambda b: b.inspect(_cxi_with(b, "instrument_1/source_1/wavelength", 1e-9)),
    "the unit is stated as": lambda b: b.inspect(_cxi_in_stones(b)),
    "the detector is tilted": lambda b: b.inspect(
        _cxi_with(b, "instrument_1/detector_1/basis_vectors", [[0, -1e-4, 0], [-1e-4, 0, 1e-4]])
    ),
    "scans in one file": lambda b: b.inspect(_cxi_with(b, "../entry_2/data_1/data", np.ones((2, 4, 4)))),
    "because this format stores lengths in metres": lambda b: convert("scan.npz", "out"),
    "stands for no format": lambda b: convert("scan.npz", "out.tiff"),
}

ARRAYS = {
    "add a leading mode axis with": lambda b: simulate_scan(
        np.ones((64, 64), complex), np.ones((32, 32), complex), np.array([[32.0, 32.0]]), photons=1e4, seed=0
    ),
    "enlarge the array or correct the origin": lambda b: Bilinear(torch.tensor([[2.0, 20.0]]), 32, (40, 40)),
    "in the order [y, x]": lambda b: Bilinear(torch.tensor([20.0, 20.0, 1.0]), 32, (40, 40)),
    "fields that overlap": lambda b: compare(
        np.ones((40, 40), complex), np.ones((40, 40), complex), origin=(900, 0)
    ),
    "lower probe_diameter or coverage_share": lambda b: compare(
        np.ones((40, 40), complex), np.ones((40, 40), complex), probe_diameter=80.0
    ),
}

BUNDLES = {
    "in this directory (found": lambda b: load_bundle("."),
    "not a complete zip archive": lambda b: load_bundle(
        _truncated(b.folder / "run" / "wts.h5.zip") and "run"
    ),
    "is damaged": lambda b: _flip(b),
    "a bundle of PtychoPINN": lambda b: _load_theirs(b.folder / "run" / "wts.h5.zip"),
    "this is not a model bundle": lambda b: (b.bundle({"manifest.json": b"{"}), load_bundle("run")),
    "does not match its checksum": lambda b: (b.bundle({"weights.pt": b"other"}), load_bundle("run")),
    "holds something other than tensors": lambda b: _foreign_weights(b),
    "expected 'pytorch'": lambda b: (
        b.bundle(manifest=lambda m: m.update(backend="jax")),
        load_bundle("run"),
    ),
    "a name that leads out of it": lambda b: (b.bundle({"../elsewhere": b""}), load_bundle("run")),
    "model settings cannot be used": lambda b: (
        b.bundle(manifest=lambda m: m["configuration"]["model"].update(architecture="of_the_future")),
        load_bundle("run"),
    ),
    "install the version of ptycho-torch-core that wrote it": lambda b: (
        b.bundle(manifest=lambda m: m.update(format_version=99)),
        load_bundle("run"),
    ),
    "does not fit the model settings of the manifest": lambda b: (
        b.bundle(manifest=lambda m: m["configuration"]["model"].update(n_filters_scale=1)),
        load_bundle("run"),
    ),
    "weights that are NaN or infinite": lambda b: _save_broken_weights(),
}


def _save_broken_weights():
    model, manifest = load_bundle("run")
    next(model.parameters()).data.fill_(np.inf)
    save_bundle("out", model, manifest.configuration, {})


def _larger_scan():
    return simulate_scene("lines", N=64, grid=(3, 3), seed=0)


def _scaled(factor):
    def edit(one, two):
        for axis in "xy":
            values = two[f"probe_position_{axis}_m"]
            values[...] = values[...] * factor

    return edit


def _cxi_without_distance(bench) -> str:
    with h5py.File("bare.cxi", "w") as file:
        file["cxi_version"] = 160
        arrays = bench.arrays()
        file["entry_1/data_1/data"] = arrays["diff3d"]
        file["entry_1/instrument_1/source_1/illumination"] = arrays["probeGuess"]
        file["entry_1/sample_1/geometry_1/translation"] = np.zeros((36, 3))
    return "bare.cxi"


def _cxi_with(bench, name, value, units=None) -> str:
    """The bare file with one thing more below its entry."""
    path = _cxi_without_distance(bench)
    with h5py.File(path, "a") as file:
        file["entry_1/instrument_1/source_1/energy"] = 1.4e-15
        name = name.removeprefix("../") if name.startswith("../") else f"entry_1/{name}"
        file[name] = np.asarray(value) if isinstance(value, (list, float)) else value
        if units is not None:
            file[name].attrs["units"] = units
    return path


def _cxi_in_stones(bench) -> str:
    return _cxi_with(bench, "instrument_1/detector_1/distance", 1.0, "stone")


def _cxi_with_frames(bench, link) -> str:
    path = _cxi_without_distance(bench)
    with h5py.File(path, "a") as file:
        del file["entry_1/data_1/data"]
        file["entry_1/data_1/data"] = link
    return path


def _virtual(bench) -> str:
    layout = h5py.VirtualLayout((36, 64, 64), np.uint16)
    layout[:] = h5py.VirtualSource("raw.h5", "data", (36, 64, 64))
    path = _cxi_without_distance(bench)
    with h5py.File(path, "a") as file:
        del file["entry_1/data_1/data"]
        file.create_virtual_dataset("entry_1/data_1/data", layout)
    return path


def _with_a_broken_block(bench) -> str:
    folder = bench.pair()
    with h5py.File(folder / "diffraction.h5") as file:
        block = file["patterns"].id.get_chunk_info(0)
    with (folder / "diffraction.h5").open("r+b") as stream:
        stream.seek(block.byte_offset)
        stream.write(bytes(block.size))
    return "pair"


def _changed_meanwhile(bench) -> None:
    import pickle

    folder = bench.pair()
    frames = pickle.loads(pickle.dumps(open_scan(folder).diffraction))  # as a loader process gets them
    with h5py.File(folder / "diffraction.h5", "r+") as file:
        del file["patterns"]
        file["patterns"] = np.zeros((3, 32, 32))
    frames[:2]


def _while_it_is_written(bench) -> None:
    bench.pair()
    with open("pair/diffraction.h5", "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # as HDF5 does for a program that writes
        bench.inspect("pair")


def _flip(bench) -> None:
    path = bench.folder / "run" / "wts.h5.zip"
    content = bytearray(path.read_bytes())
    for start in range(2000, len(content) - 2000, 1000):
        content[start : start + 20] = bytes(20)
    path.write_bytes(content)
    load_bundle(path)


def _foreign_weights(bench) -> None:
    weights = b"neither zip nor pickle"
    digest = hashlib.sha256(weights).hexdigest()
    bench.bundle({"weights.pt": weights}, lambda m: m["checksums"].update({"weights.pt": digest}))
    load_bundle("run")


TABLES = {
    "Scans: `DataError`": (SCANS, DataError),
    "Arrays in memory: `ShapeError`": (ARRAYS, ShapeError),
    "Bundles: `BundleError`": (BUNDLES, BundleError),
}


@pytest.mark.parametrize(
    ("section", "message"), [(name, message) for name, (table, _) in TABLES.items() for message in table]
)
def test_message_is_said(bench, section, message):
    table, kind = TABLES[section]
    heard = bench.provoke(table[message])
    assert heard.says(message), heard.text
    if heard.error is None:
        assert heard.code == 1
    else:
        assert isinstance(heard.error, kind)
    assert not (bench.folder / "out").exists()


@pytest.mark.parametrize("section", TABLES)
def test_page_and_provocations_agree(section):
    assert rows(section) == list(TABLES[section][0])
