"""A checksum inside a checkpoint, over every value that it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

__all__ = ["CHECKSUM_ENTRY", "checksum_of"]

CHECKSUM_ENTRY = "sha256"
"""Entry of a checkpoint with the checksum of all other entries."""


def checksum_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of tensors and plain data, wherever the tensors are; the entry of the checksum does not count.

    PyTorch's archives hold a checksum of every record and its reader does not look at them.

    Raises
    ------
    TypeError
        If a tensor holds no values that could be added up: sparse, quantised, or none at all.
    """
    digest = hashlib.sha256()
    _feed(digest, {name: value for name, value in content.items() if name != CHECKSUM_ENTRY})
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    import torch

    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise TypeError(f"a tensor of {value.dtype} that is sparse, quantised or empty of values")
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        digest.update(f"tensor {tuple(plain.shape)} {plain.dtype}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)}\n".encode())
        for name, item in value.items():
            _feed(digest, name)
            _feed(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(f"sequence {len(value)}\n".encode())
        for item in value:
            _feed(digest, item)
    else:
        digest.update(f"{value!r}\n".encode("utf-8", "surrogatepass"))
