"""Ways to change a checkpoint, with a checksum that fits as somebody would make it who knows of it."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from damage import BYTES, ODD_VALUES, Mutation, Trap

from ptycho_torch.bundle.checksum import CHECKSUM_ENTRY, checksum_of

__all__ = ["CHECKPOINT"]

_NAMES = (
    "../../outside",
    "/etc/passwd",
    "sub/../../../outside",
    "best-epoch=000.ckpt",
    "",
    "C:\\out",
    "a\0b",
)


def _saved(content: Any, rng: random.Random, *, signed: bool = True) -> bytes:
    if signed and isinstance(content, dict):
        content = {**content, CHECKSUM_ENTRY: checksum_of(content)}
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(data) if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield data, key
        yield from _places(data[key])


def change_entries(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """Entries replaced by values of other kinds, renamed or removed."""
    data = torch.load(io.BytesIO(content), weights_only=True)
    weights = data["state_dict"]
    for _ in range(rng.choice((1, 1, 3))):
        places = [(owner, key) for owner, key in _places(data) if owner is not weights]
        owner, key = rng.choice(places)
        how = rng.random()
        if how < 0.2 and isinstance(owner, dict):
            owner[rng.choice(("x", 3, ""))] = owner.pop(key)
        elif how < 0.4 and isinstance(owner, dict):
            del owner[key]
        else:
            owner[key] = rng.choice((*ODD_VALUES, *_NAMES))
    return _saved(data, rng)


def point_outside(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """The best checkpoints named somewhere else."""
    data = torch.load(io.BytesIO(content), weights_only=True)
    for key, state in data["callbacks"].items():
        if key.startswith("BestCheckpoints"):
            state["best_model_path"] = rng.choice(_NAMES)
            state["best_k_models"] = {rng.choice(_NAMES): rng.choice((1e9, float("nan"), None, "x"))}
            state["kth_best_model_path"] = rng.choice(_NAMES)
    return _saved(data, rng)


def change_tensors(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """Weights or the state of the optimiser of another shape, type or value."""
    data = torch.load(io.BytesIO(content), weights_only=True)
    where = rng.choice((data["state_dict"], *data["optimizer_states"][0]["state"].values()))
    name = rng.choice(sorted(name for name, value in where.items() if isinstance(value, torch.Tensor)))
    value = where[name]
    where[name] = rng.choice((
        lambda: torch.full_like(value, float("nan")) if value.is_floating_point() else value,
        lambda: value.reshape(-1)[:0],
        lambda: value[None],
        lambda: torch.zeros(3),
        lambda: value.to(torch.complex64),
        lambda: value.to(torch.int8),
        lambda: torch.zeros(1).expand(20_000, 20_000),
        lambda: torch.zeros(3).to_sparse(),
        lambda: value.to("meta"),
        lambda: 3,
        lambda: "weights",
    ))()  # fmt: skip
    if rng.random() < 0.2:
        where[f"{name}.more"] = where.pop(name)
    try:
        return _saved(data, rng)
    except (RuntimeError, NotImplementedError, TypeError):
        # No checksum can be made of it.
        return _saved(data, rng, signed=False)


def other_content(content: bytes, rng: random.Random, trap: Path) -> bytes:
    """A file of torch that is no checkpoint, or would run something."""
    data = torch.load(io.BytesIO(content), weights_only=True)
    other = rng.choice((
        data["state_dict"], [data], {}, torch.zeros(3), None, "text", Trap(trap), {**data, "x": Trap(trap)},
        {"state_dict": Trap(trap)},
    ))  # fmt: skip
    return _saved(other, rng, signed=False)


CHECKPOINT: tuple[Mutation, ...] = (
    *BYTES,
    *(change_entries,) * 6,
    *(change_tensors,) * 2,
    point_outside,
    other_content,
)
