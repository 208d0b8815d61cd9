"""Ways to damage HDF5 files in what they say: kinds, sizes, values, names and links of their parts."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from damage import BYTES, ODD_VALUES, Mutation, odd_array

__all__ = ["HDF5"]

_ABSURD = ((4, 32_768, 32_768), (30_000, 30_000), (1, 30_000, 30_000), (10**9,), (10**6, 64, 64), (0,), ())


def _changed(content: bytes, change: Callable[[h5py.File], None]) -> bytes:
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        change(file)
    return stream.getvalue()


def _parts(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return sorted(found)


def put_an_odd_dataset(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """A dataset replaced by one of a kind that NumPy or HDF5 knows and nobody expects."""

    def change(file: h5py.File) -> None:
        name = rng.choice(_parts(file))
        data = file[name]
        values = data[()] if data.shape is not None else np.zeros(3)
        attributes = dict(data.attrs)
        del file[name]
        rng.choice(_KINDS)(file, name, values, rng)
        if isinstance(file.get(name, getlink=True), h5py.HardLink):
            file[name].attrs.update(attributes)

    return _changed(content, change)


def _odd_numbers(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    odd = odd_array(np.asarray(values), rng)
    file[name] = (
        odd.astype("S") if odd.dtype.kind == "U" else odd.astype("i8") if odd.dtype.kind == "M" else odd
    )


def _texts(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    file[name] = rng.choice(("eleven", ["a", "b", "c"], b"\xff\xfe", "1.0"))


def _references(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    file.create_dataset(name, data=[file.ref] * 3, dtype=h5py.ref_dtype)


def _regions(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    file.create_dataset(name, shape=(3,), dtype=h5py.regionref_dtype)


def _various_lengths(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    data = file.create_dataset(name, shape=np.shape(values) or (2,), dtype=h5py.vlen_dtype(np.float64))
    if rng.random() < 0.5:
        data[(0,) * data.ndim] = np.arange(3.0)


def _enumeration(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    kind = h5py.enum_dtype({"low": 0, "high": 1}, basetype="i4")
    file.create_dataset(name, data=np.ones(np.shape(values), dtype=np.int32), dtype=kind)


def _rows(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    file.create_dataset(name, shape=np.shape(values), dtype=np.dtype((np.float32, (2,))))


def _nothing(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    file.create_dataset(name, data=h5py.Empty(rng.choice(("f4", "S3"))))


def _times(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    space = h5py.h5s.create_simple(np.shape(values) or (1,))
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.UNIX_D32LE, space)


def _group(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    file.create_group(name)


def _link(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    far = h5py.ExternalLink(rng.choice(("none.h5", "/etc/passwd", "../../scan.h5", "/dev/zero")), "/data")
    file[name] = rng.choice((h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{name}"), far))


def _virtual(file: h5py.File, name: str, values: Any, rng: random.Random) -> None:
    layout = h5py.VirtualLayout(shape=np.shape(values) or (1,), dtype="f4")
    source = h5py.VirtualSource(rng.choice(("none.h5", "/dev/zero")), "data", shape=layout.shape)
    layout[:] = source
    file.create_virtual_dataset(name, layout)


_KINDS = (
    *(_odd_numbers,) * 4,
    *(_texts, _references, _regions, _various_lengths, _enumeration, _rows, _nothing, _times, _group),
    *(_link, _virtual),
)


def claim_a_size(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """A dataset that claims to be huge, empty or without axes, with hardly a byte behind it."""

    def change(file: h5py.File) -> None:
        name = rng.choice(_parts(file))
        kind, attributes = file[name].dtype, dict(file[name].attrs)
        del file[name]
        shape = rng.choice(_ABSURD)
        packed = {"chunks": True, "compression": "lzf"} if shape and 0 not in shape else {}
        data = file.create_dataset(name, shape=shape, dtype=kind, **packed)
        data.attrs.update(attributes)
        if shape and 0 not in shape and rng.random() < 0.5:
            data[(0,) * len(shape)] = data.fillvalue

    return _changed(content, change)


def put_a_bomb(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """Frames or another part in one packed piece that unpacks to a gigabyte and more."""

    def change(file: h5py.File) -> None:
        name = rng.choice(_parts(file))
        shape, kind = file[name].shape or (1,), np.dtype("f4")
        size = int(np.prod(shape)) * kind.itemsize
        del file[name]
        piece = (max(1, (3 << 29) // max(1, size)) * (shape or (1,))[0], *shape[1:])
        data = file.create_dataset(
            name, shape, kind, chunks=piece, maxshape=(None, *shape[1:]), compression="gzip"
        )
        data.id.write_direct_chunk((0,) * len(shape), rng.randbytes(200), filter_mask=0)

    return _changed(content, change)


def change_attributes(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """Attributes replaced, removed or added."""

    def change(file: h5py.File) -> None:
        places: list[str] = ["/"]
        file.visit(places.append)
        named = [(place, name) for place in sorted(places) for name in file[place].attrs]
        for _ in range(rng.choice((1, 1, 4))):
            place, name = rng.choice([*named, (rng.choice(places), "units")])
            file[place].attrs[name] = rng.choice((
                "eleven", "", b"\xff", np.arange(4), np.nan, -1.0, 0, 1e300, 1j, h5py.Empty("f4"), True,
                np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]), np.zeros((0, 3)), str(rng.choice(ODD_VALUES)),
            ))  # fmt: skip

    return _changed(content, change)


def spoil_values(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """Some numbers of a dataset that no instrument gives."""

    def change(file: h5py.File) -> None:
        named = [name for name in _parts(file) if file[name].dtype.kind in "iufc" and file[name].size]
        data = file[rng.choice(named)]
        values = np.array(data[()], dtype="f8" if data.dtype.kind != "c" else "c16").reshape(-1)
        odd = rng.choice((np.nan, np.inf, -1.0, 1e300, 0.0))
        values[rng.randrange(len(values)) :: rng.choice((1, 7, 10**6))] = odd
        attributes, name, shape = dict(data.attrs), data.name, data.shape
        del file[name]
        file[name] = values.reshape(shape)
        file[name].attrs.update(attributes)

    return _changed(content, change)


def rename(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """A dataset or group under another name, or gone."""

    def change(file: h5py.File) -> None:
        places: list[str] = []
        file.visit(places.append)
        name = rng.choice(sorted(places))
        if rng.random() < 0.5:
            del file[name]
        else:
            file.move(name, rng.choice((f"{name}_2", "data", f"{name}/../x")))

    return _changed(content, change)


HDF5: tuple[Mutation, ...] = (
    *BYTES,
    *(put_an_odd_dataset,) * 5,
    *(change_attributes,) * 3,
    *(claim_a_size, spoil_values) * 2,
    put_a_bomb,
    rename,
)
