"""Tensors that hold no plain values, in a checkpoint that somebody made."""

from __future__ import annotations

import pytest
import torch

from ptycho_torch.bundle.checkpoint import CHECKPOINT_ENTRY, checkpoint_content
from ptycho_torch.bundle.checksum import CHECKSUM_ENTRY
from ptycho_torch.errors import BundleError


@pytest.mark.parametrize(
    "value", [torch.zeros(3).to_sparse(), torch.zeros(3, device="meta")], ids=["sparse", "meta"]
)
def test_a_checkpoint_of_tensors_without_plain_values_is_refused(tmp_path, value):
    path = tmp_path / "last.ckpt"
    content = {CHECKPOINT_ENTRY: "{}", "state_dict": {"model.weight": value}, CHECKSUM_ENTRY: "0" * 64}
    torch.save(content, path)
    with pytest.raises(BundleError) as caught:
        checkpoint_content(path)
    assert [problem.name for problem in caught.value.problems] == [CHECKSUM_ENTRY]
