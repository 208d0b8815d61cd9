"""What is left of a training that fails before it has begun."""

from __future__ import annotations

import pytest
from lightning.pytorch.callbacks import Callback

from ptycho_torch.workflows import train


class _NeverBegins(Callback):
    """What a port that is taken, or a machine that never comes, does to a training."""

    def setup(self, trainer, pl_module, stage):
        raise RuntimeError("the others did not come")


@pytest.mark.rule("RUN-079")
def test_a_training_that_never_began_is_in_nobodys_way(payload, tmp_path):
    made = payload(n_groups=8)
    with pytest.raises(RuntimeError, match="the others did not come"):
        train(made, callbacks=[_NeverBegins()])
    assert not list(tmp_path.rglob("run/*"))
    assert train(made).bundle.is_file()
    before = {path.name for path in (tmp_path / "run").iterdir()}
    with pytest.raises(RuntimeError):
        train(made, callbacks=[_NeverBegins()], overwrite=True)
    assert {path.name for path in (tmp_path / "run").iterdir()} == before
    # Of a run that is continued, the settings stay as they are, and it is as complete as it was.
    said = {name: (tmp_path / "run" / name).read_bytes() for name in before if name.endswith(".json")}
    assert {"resolved_config.json", ".run-train.json"} <= set(said)
    with pytest.raises(RuntimeError):
        train(payload(n_groups=8, nepochs=9), callbacks=[_NeverBegins()], resume=True)
    assert {name: (tmp_path / "run" / name).read_bytes() for name in said} == said
