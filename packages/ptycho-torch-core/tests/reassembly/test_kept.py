"""Batches of resampled patches in one block."""

from __future__ import annotations

import torch

from ptycho_torch.reassembly.kept import KeptPatches
from ptycho_torch.reassembly.resampling import ResampledPatches


def _batch(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return ResampledPatches(
        torch.randn(count, 5, 5, dtype=torch.complex64, generator=generator),
        torch.randint(0, 9, (count, 2), generator=generator),
        torch.rand(count, 2, generator=generator),
    )


def test_whole_batches_are_kept_until_one_does_not_fit():
    batches = [_batch(count, seed) for seed, count in enumerate((3, 4, 5, 1))]
    kept = KeptPatches(10)
    for batch in batches:
        kept.offer(batch)
    # The last batch would fit, but then the first ones would not be those that are kept.
    assert (len(kept), kept.n_patches) == (2, 7)
    for number in range(2):
        for name in ("values", "corner", "rest"):
            assert torch.equal(getattr(kept[number], name), getattr(batches[number], name))


def test_what_is_kept_lies_in_one_block_and_not_where_it_came_from():
    batches = [_batch(2, seed) for seed in range(3)]
    kept = KeptPatches(6)
    for batch in batches:
        kept.offer(batch)
        batch.values.zero_()
    storages = {kept[number].values.untyped_storage().data_ptr() for number in range(3)}
    assert len(storages) == 1
    assert all(kept[number].values.any() for number in range(3))


def test_without_room_nothing_is_kept():
    kept = KeptPatches(0)
    kept.offer(_batch(1, 0))
    assert (len(kept), kept.n_patches) == (0, 0)
