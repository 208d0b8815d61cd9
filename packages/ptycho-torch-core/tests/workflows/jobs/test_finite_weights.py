"""A training whose weights are no longer numbers: nothing of them is kept."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from ptycho_torch.workflows import TrainingFailed, train

pytestmark = pytest.mark.usefixtures("undrawn")


class _NanGradient(Callback):
    """Makes a gradient NaN in the last step of an epoch, when its loss is known already."""

    def __init__(self, epoch):
        self.epoch, self.batch = epoch, 0

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batch = batch_idx

    def on_before_optimizer_step(self, trainer, module, optimizer):
        if trainer.current_epoch == self.epoch and self.batch == trainer.num_training_batches - 1:
            next(iter(module.model.generator.parameters())).grad.fill_(float("nan"))


@pytest.mark.rule("RUN-015")
@pytest.mark.parametrize(
    "execution",
    [
        {"val_fraction": 0.0},
        {"val_fraction": 0.2, "check_val_every_n_epoch": 2},
        {"val_fraction": 0.0, "checkpoint_save_top_k": 0},
        {"val_fraction": 0.2},
    ],
)
def test_weights_that_are_no_numbers_are_never_kept(payload, tmp_path, execution):
    with pytest.raises(TrainingFailed) as caught:
        train(payload(nepochs=3, execution=execution), callbacks=[_NanGradient(2)])
    folder = tmp_path / "run"
    assert "in epoch 3" in str(caught.value)
    assert not (folder / "wts.h5.zip").exists()
    kept = sorted((folder / "checkpoints").glob("*.ckpt")) if (folder / "checkpoints").is_dir() else []
    assert bool(kept) == ("checkpoint_save_top_k" not in execution)
    for path in kept:
        state = torch.load(path, weights_only=False)["state_dict"]
        assert all(value.isfinite().all() for value in state.values()), path
    if kept:
        assert str(folder / "checkpoints" / "last.ckpt") in str(caught.value)
