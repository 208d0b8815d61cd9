"""What a run leaves to look at."""

import html
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from matplotlib.image import imread

from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_training_payload
from ptycho_torch.data.groups.dataset import GroupDataset
from ptycho_torch.errors import ResultWarning
from ptycho_torch.workflows import ResultsIncomplete, infer, train
from ptycho_torch.workflows.jobs import training_pictures
from ptycho_torch.workflows.jobs.training_pictures import groups_to_draw, sample_patches

pytestmark = pytest.mark.drawn

CPU = PyTorchExecutionConfig(accelerator="cpu")


@pytest.fixture
def groups(tiny_scan):
    return GroupDataset(tiny_scan.diffraction, np.arange(30)[:, None])


@pytest.mark.rule("RUN-070")
def test_samples_are_spread_over_the_data_and_are_what_the_model_says(trained, tiny_scan, groups):
    model = trained.model.train()
    sample = sample_patches(model, groups, 4)
    assert model.training
    np.testing.assert_array_equal(sample.frames, [0, 10, 19, 29])
    np.testing.assert_array_equal(sample.measured, tiny_scan.diffraction[sample.frames])
    model.eval()
    with torch.no_grad():
        patches = model(torch.from_numpy(sample.measured)[:, None])[:, 0]
        counts = model.predict_counts(patches)
    torch.testing.assert_close(torch.from_numpy(sample.patches), patches)
    torch.testing.assert_close(torch.from_numpy(sample.predicted), counts)


def test_few_groups_are_shown_once(trained, tiny_scan):
    few = GroupDataset(tiny_scan.diffraction, np.array([[7], [3]]))
    np.testing.assert_array_equal(sample_patches(trained.model, few).frames, [7, 3])


@pytest.mark.rule("RUN-070")
def test_a_training_leaves_pictures_and_a_page(trained):
    patches = imread(trained.output_dir / "patches.png")
    assert patches.shape[1] == 11 * 160
    assert patches[..., :3].std() > 0.1
    text = (trained.output_dir / "report.html").read_text(encoding="utf-8")
    for words in (
        "Training on scan.npz",
        "30 frames of 32 × 32 px",
        "24 to train on, 6 to validate on",
        "3 of 3",
        "lowest val_loss",
        "train tiny",
        "Frames that were set aside",
    ):
        assert words in text
    assert text.count("<img") == 2


@pytest.mark.rule("RUN-090")
def test_a_training_says_what_it_is_worth(trained, payload):
    written = json.loads((trained.output_dir / "verdict.json").read_text())
    assert written == trained.verdict.to_dict()
    assert written["is_told"]
    assert trained.verdict.n_held_out >= 16
    assert trained.verdict.sentence in html.unescape((trained.output_dir / "report.html").read_text())


@pytest.mark.rule("RUN-090")
def test_a_training_on_a_wrong_scan_says_so_once_its_files_are_there(payload, tiny_scan, tmp_path):
    order = np.random.default_rng(0).permutation(tiny_scan.n_frames)
    wrong = replace(tiny_scan, positions=tiny_scan.positions[order])
    made = create_training_payload(
        wrong, tmp_path / "wrong", overrides={"nepochs": 1, "n_filters_scale": 1}, execution_config=CPU
    )
    with pytest.warns(ResultWarning, match="object"):
        outcome = train(made)
    assert outcome.verdict.is_bad
    again = train(made, resume=True)
    assert again.verdict == outcome.verdict


@pytest.mark.rule("RUN-071")
def test_a_reconstruction_leaves_a_page_with_scores(inference):
    outcome = infer(inference())
    text = (outcome.output_dir / "report.html").read_text(encoding="utf-8")
    assert "Reconstruction of scan.npz" in text
    assert f"{outcome.forward_residual:.4f}" in text
    assert f"{outcome.report.scores.complex_nrmse:.4f}" in text
    # The object, the comparison with the truth, its ring correlation, and where patches disagree.
    assert text.count("<img") == 4


@pytest.mark.rule("RUN-070")
def test_of_a_large_scan_the_middle_is_drawn(tiny_scan, payload, monkeypatch):
    monkeypatch.setattr(training_pictures, "_DRAWN_PATCHES", 9)
    kept = groups_to_draw(tiny_scan, 1, 9)
    middle = (tiny_scan.positions.min(axis=0) + tiny_scan.positions.max(axis=0)) / 2
    distance = np.linalg.norm(tiny_scan.positions - middle, axis=1)
    assert set(kept.frames[:, 0]) == set(np.argsort(distance, kind="stable")[:9])
    assert len(groups_to_draw(tiny_scan, 1, None).frames) == tiny_scan.n_frames
    outcome = train(payload(n_groups=8))
    assert "the 9 frames in the middle" in (outcome.output_dir / "report.html").read_text(encoding="utf-8")


class _InTheWay(Callback):
    """Puts a link to nowhere where a picture should be."""

    def __init__(self, path):
        self.path = path

    def on_train_end(self, trainer, module):
        self.path.symlink_to(self.path.parent / "absent" / self.path.name)


@pytest.mark.rule("RUN-008")
def test_a_picture_that_cannot_be_drawn_loses_nothing_and_is_drawn_on_resuming(payload, tmp_path):
    folder, made = tmp_path / "run", payload(n_groups=8)
    with pytest.raises(ResultsIncomplete) as caught:
        train(made, callbacks=[_InTheWay(folder / "patches.png")])
    assert list(caught.value.failures) == ["patches.png"]
    assert (folder / "wts.h5.zip").is_file()
    assert (folder / "report.html").is_file()
    (folder / "patches.png").unlink()
    assert folder / "patches.png" in train(made, resume=True).files
