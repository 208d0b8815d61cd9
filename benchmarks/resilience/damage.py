"""Ways to damage bundles, archives and texts; each takes and returns the bytes of a file."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["ARCHIVE", "BUNDLE", "BYTES", "JSON", "TOML", "YAML", "Mutation", "Trap"]

Mutation = Callable[[bytes, random.Random, Path], bytes]

DTYPES = (b"|O", b"<U4", b">f8", b"<c16", b"|V8", b"<i1", b"|b1", b"<m8", b"<f2", b"garbage")
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3,
    10**18,
    1e308,
    float("nan"),
    "",
    "x",
    "é" * 40,
    [],
    [1, [2]],
    {},
    {"a": 1},
)
ODD_TEXT = (
    "1e400",
    "-1",
    "9" * 5000,
    "~",
    "!!",
    "[",
    "{",
    "'",
    "\t",
    "\x00",
    "&a *a",
    ": :",
    "nan",
    "=" * 300,
)


class Trap:
    """Creates a file when it is unpickled by a loader that calls what a pickle names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def flip_bytes(content: bytes, rng: random.Random, trap: Path) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_near_an_end(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """Archives keep their structure there."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 2, 4))):
        place = rng.randrange(min(600, len(changed)))
        changed[place if rng.random() < 0.3 else -1 - place] = rng.randrange(256)
    return bytes(changed)


def truncate(content: bytes, rng: random.Random, trap: Path) -> bytes:
    return content[: int(len(content) * rng.choice((0.0, rng.random(), 0.999)))]


def move_a_piece(content: bytes, rng: random.Random, trap: Path) -> bytes:
    first, second = sorted(rng.randrange(len(content)) for _ in range(2))
    piece = content[first:second]
    return rng.choice((
        content[:first] + content[second:],
        content[:second] + piece[:5000] + content[second:],
        content[:first] + bytes(min(len(piece), 500)) + content[first + min(len(piece), 500) :],
        piece,
        rng.randbytes(rng.randrange(200)) + content,
    ))  # fmt: skip


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _archive(members: Any) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # a name twice is meant
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def swap_members(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """Members exchanged, left out, there twice, renamed, or with names that lead elsewhere."""
    members = list(_members(content).items())
    first, second = rng.sample(range(len(members)), 2)
    how = rng.randrange(5)
    if how == 0:
        names = [name for name, _ in members]
        names[first], names[second] = names[second], names[first]
        members = list(zip(names, [data for _, data in members], strict=True))
    elif how == 1:
        del members[first]
    elif how == 2:
        members.append((members[first][0], members[second][1]))
    elif how == 3:
        members[first] = (members[first][0].swapcase(), members[first][1])
    else:
        members.append((rng.choice(("../out.npy", "/out.npy", "a/../../out.npy", "C:\\out.npy")), b"out"))
    return _archive(members)


def change_array_header(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """An .npy member that promises another shape or type than its data have, with a valid checksum."""
    members = _members(content)
    name = rng.choice(list(members))
    data = members[name]
    head = data[:128]
    if rng.random() < 0.5:
        lengths = re.findall(rb"\d+(?=[,)])", head) or [b"1"]
        other = rng.choice((b"0", b"-1", b"1", b"999999999999", b"2", b"33", b"x", b"1.5"))
        head = head.replace(rng.choice(lengths), other, 1)
    else:
        kind = rng.choice(
            (b"|O", b"<U4", b">f8", b"<c16", b"|V8", b"<i1", b"|b1", b"<m8", b"<f2", b"garbage")
        )
        head = re.sub(rb"'descr': '[^']*'", b"'descr': '" + kind + b"'", head)
    body = data[128:]
    members[name] = head[:127].rstrip(b"\n ").ljust(127) + b"\n" + body
    return _archive(members.items())


def pickle_an_array(content: bytes, rng: random.Random, trap: Path) -> bytes:
    import numpy as np

    members = _members(content)
    stream = io.BytesIO()
    if rng.random() < 0.7:
        np.lib.format.write_array(stream, np.array([Trap(trap)] * 4, dtype=object), allow_pickle=True)
    else:
        stream.write(pickle.dumps(Trap(trap)))
    members[rng.choice(list(members))] = stream.getvalue()
    return rng.choice((_archive(members.items()), stream.getvalue()))


def _signed(members: dict[str, bytes]) -> bytes:
    """A bundle whose checksums fit whatever its members hold."""
    manifest = json.loads(members["manifest.json"])
    for name in manifest["checksums"]:
        manifest["checksums"][name] = hashlib.sha256(members[name]).hexdigest()
    return _archive({**members, "manifest.json": json.dumps(manifest).encode()}.items())


def pickle_the_weights(content: bytes, rng: random.Random, trap: Path) -> bytes:
    import torch

    stream = io.BytesIO()
    value = rng.choice(({"generator.weight": Trap(trap)}, Trap(trap), [Trap(trap)]))
    if rng.random() < 0.5:
        torch.save(value, stream, _use_new_zipfile_serialization=rng.random() < 0.7)
    else:
        pickle.dump(value, stream, protocol=rng.choice((2, 4)))
    return _signed({**_members(content), "weights.pt": stream.getvalue()})


def damage_the_weights(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """Weights with damage under a checksum that fits."""
    members = _members(content)
    how = rng.choice((flip_bytes, flip_near_an_end, truncate, move_a_piece))
    return _signed({**members, "weights.pt": how(members["weights.pt"], rng, trap)})


def damage_the_pickle(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """The instructions inside the weights changed, every checksum valid."""
    members = _members(content)
    records = _members(members["weights.pt"])
    name = next(name for name in records if name.endswith("data.pkl"))
    records[name] = flip_bytes(records[name], rng, trap)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for record, data in records.items():
            archive.writestr(record, data)
    return _signed({**members, "weights.pt": stream.getvalue()})


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield data, key
        yield from _places(data[key])


def change_a_value(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """One value of a JSON file, or of the manifest of a bundle, replaced by another kind of value."""
    members = _members(content) if content.startswith(b"PK") else {"": content}
    name = "manifest.json" if "manifest.json" in members else ""
    data = json.loads(members[name])
    for _ in range(rng.choice((1, 1, 3))):
        owner, key = rng.choice(list(_places(data)))
        if rng.random() < 0.2 and isinstance(owner, dict):
            owner[str(rng.choice(ODD_VALUES))] = owner.pop(key)
        else:
            owner[key] = rng.choice(ODD_VALUES)
    members[name] = json.dumps(data).encode()
    return members[""] if name == "" else _archive(members.items())


def change_text(content: bytes, rng: random.Random, trap: Path) -> bytes:
    lines = content.decode().splitlines()
    place = rng.randrange(len(lines))
    key = re.match(r"\s*[\"\w]+\s*[:=]\s*", lines[place])
    how = rng.randrange(4)
    if how == 0 and key is not None:
        lines[place] = key.group() + rng.choice(ODD_TEXT)
    elif how == 1:
        lines.insert(place, rng.choice(lines))
    elif how == 2:
        lines[place] = " " * rng.randrange(9) + rng.choice(ODD_TEXT) + lines[place]
    else:
        deep = rng.choice((200, 20_000))
        lines.insert(
            place, rng.choice(("[" * deep, "a = " + "[" * deep, '{"a":' * deep, "- " * deep, "a." * deep))
        )
    return "\n".join(lines).encode()


def call_from_yaml(content: bytes, rng: random.Random, trap: Path) -> bytes:
    tag = rng.choice(
        ("python/object/apply:pathlib.Path.touch", "python/object/apply:os.mkdir", "python/name:os.x")
    )
    call = f"!!python/{tag} ['{trap}']"
    bomb = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 8)}]\n" for i in range(12)
    )
    return rng.choice((call, f"nepochs: {call}", f"{call}: 3", f"training: {{seed: {call}}}", bomb)).encode()


def put_an_odd_array(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """An array of an archive replaced by one of another type, shape or value."""
    import numpy as np

    members = _members(content)
    name = rng.choice(sorted(members))
    with np.load(io.BytesIO(content)) as archive:
        values = archive[name.removesuffix(".npy")]
    stream = io.BytesIO()
    np.lib.format.write_array(stream, odd_array(values, rng), allow_pickle=False)
    members[name] = stream.getvalue()
    return _archive(members.items())


def odd_array(values: Any, rng: random.Random) -> Any:
    """Something else than these values, of a type that NumPy knows."""
    import numpy as np

    shape, text = values.shape, values.dtype.kind in "USO"
    full = np.zeros(shape) if text else np.asarray(values)
    return rng.choice((
        lambda: np.full(shape, rng.choice((np.nan, np.inf, -1.0, 0.0, 1e300, 1e-300))),
        lambda: np.full(shape, rng.choice(("eleven", "", "1.0"))),
        lambda: np.full(shape, b"1.0"),
        lambda: np.zeros(shape, dtype=[("a", "f4"), ("b", "i4")]),
        lambda: np.zeros(shape, dtype="M8[s]"),
        lambda: np.zeros(shape, dtype="V7"),
        lambda: np.zeros(shape, dtype=bool),
        lambda: full.astype(complex) * 1j,
        lambda: full[..., None],
        lambda: full.reshape(-1)[:1],
        lambda: full.reshape(-1)[:0],
        lambda: full.T,
        lambda: full.astype("f2"),
        lambda: np.float64(rng.choice((0, -3, 1e9, np.nan))),
        lambda: np.concatenate([full.reshape(-1), full.reshape(-1)]),
    ))()  # fmt: skip


def change_metadata(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """Entries of the metadata of an archive replaced by values of other kinds."""
    import numpy as np

    members = _members(content)
    with np.load(io.BytesIO(content)) as archive:
        entries = json.loads(archive["_metadata"].item())
    known = (
        *("photon_energy_eV", "detector_object_distance_m", "detector_pixel_width_m", "nphotons"),
        *("detector_pixel_height_m", "measurement_domain", "frame_axis", "physics_parameters"),
        *("detector_crop", "orientation", "object_is_guess", "normalisation"),
    )
    for _ in range(rng.choice((1, 1, 3))):
        entries[rng.choice((*known, *entries))] = rng.choice(ODD_VALUES)
    text = rng.choice((json.dumps(entries), json.dumps(entries), "[]", "{", json.dumps(ODD_VALUES[-1])))
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array(text), allow_pickle=False)
    members["_metadata.npy"] = stream.getvalue()
    return _archive(members.items())


BYTES: tuple[Mutation, ...] = (flip_bytes, flip_near_an_end, truncate, move_a_piece)
ARCHIVE: tuple[Mutation, ...] = (
    *BYTES,
    swap_members,
    change_array_header,
    pickle_an_array,
    *(put_an_odd_array,) * 4,
)
BUNDLE: tuple[Mutation, ...] = (
    *BYTES,
    swap_members,
    change_a_value,
    change_a_value,
    pickle_the_weights,
    damage_the_weights,
    damage_the_pickle,
)
YAML: tuple[Mutation, ...] = (*BYTES, change_text, change_text, call_from_yaml)
TOML: tuple[Mutation, ...] = (*BYTES, change_text, change_text)
JSON: tuple[Mutation, ...] = (*BYTES, change_text, *(change_a_value,) * 4)
