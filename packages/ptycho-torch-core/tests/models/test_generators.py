"""What every registered generator has to keep, whatever its architecture."""

from __future__ import annotations

import pickle
from itertools import pairwise

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.models import generator_names
from ptycho_torch.models.group_object import GroupObject
from ptycho_torch.models.heads import AMPLITUDE_ACTIVATIONS, OBJECT_HEADS
from ptycho_torch.physics import Bilinear, poisson_deviance
from ptycho_torch.testing import tiny_scene

EVERY = pytest.mark.parametrize("architecture", generator_names())
HEADS = pytest.mark.parametrize("head", OBJECT_HEADS)


def _loss(model, counts):
    return poisson_deviance(
        model.predict_counts(model(counts)),
        counts,
        mean_counts=float(model.mean_counts),
        measured=model.measured_in(counts),
    )


@pytest.mark.rule("PHY-030")
@EVERY
@pytest.mark.parametrize("n", [32, 48, 64, 96, 128, 256])
def test_patches_have_the_size_of_the_frames(architecture, n, model_of):
    counts = torch.rand(1, 1, n, n, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        patches = model_of(architecture, n)(counts)
    assert patches.shape == (1, 1, n, n)
    assert patches.dtype == torch.complex64
    assert torch.isfinite(torch.view_as_real(patches)).all()


@pytest.mark.rule("PHY-031")
@EVERY
@pytest.mark.parametrize("activation", AMPLITUDE_ACTIVATIONS)
@pytest.mark.parametrize("pad_object", [True, False])
def test_training_starts_from_the_transmitting_object(architecture, activation, pad_object, model_of, frames):
    model = model_of(architecture, amp_activation=activation, pad_object=pad_object)
    with torch.no_grad():
        patches = model(frames())
    torch.testing.assert_close(patches, torch.ones_like(patches), rtol=0, atol=3e-7)


@pytest.mark.rule("PHY-031")
@EVERY
@HEADS
def test_start_predicts_the_mean_counts(architecture, head, model_of, frames):
    model = model_of(architecture, object_head=head)
    with torch.no_grad():
        total = model.predict_counts(model(frames())).sum(dim=(-2, -1))
    torch.testing.assert_close(total, torch.full_like(total, 1e5))


@pytest.mark.rule("PHY-035")
@EVERY
def test_border_that_is_not_decoded_is_zero_and_weighs_nothing(architecture, model_of, frames, shaken):
    model = shaken(model_of(architecture, probe_big=False))
    with torch.no_grad():
        patches = model(frames())
    inner = torch.zeros(32, 32, dtype=torch.bool)
    inner[8:24, 8:24] = True
    assert (patches[..., ~inner] == 0).all()
    assert (patches[..., inner] != 0).all()
    assert (model.patch_weight()[~inner] == 0).all()
    assert (model.patch_weight()[inner] > 0).all()


@EVERY
def test_border_is_decoded_when_asked_for(architecture, model_of, frames, shaken):
    with torch.no_grad():
        patches = shaken(model_of(architecture))(frames())
    assert patches[..., :8, :].std() > 1e-3
    assert patches[..., 8:24, 8:24].std() > 1e-3


@EVERY
def test_a_head_of_parts_is_another_object_of_the_same_features(architecture, model_of, frames, shaken):
    by_polar, by_parts = (
        shaken(model_of(architecture, object_head=head, trainable_scale=False), 0.01) for head in OBJECT_HEADS
    )
    with torch.no_grad():
        polar, parts = by_polar(frames()), by_parts(frames())
    assert [p.shape for p in by_polar.parameters()] == [p.shape for p in by_parts.parameters()]
    assert (polar - parts).abs().max() > 1e-4


@EVERY
@pytest.mark.parametrize("n", [64, 128])
@pytest.mark.parametrize(
    "settings", [{}, {"amp_activation": "silu"}, {"object_head": "real_imaginary"}], ids=str
)
def test_gradient_reaches_every_weight(architecture, n, settings, model_of, frames):
    model = model_of(architecture, n, **settings)
    counts = frames(n, 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    reached = set()
    # Layers that start at zero pass a gradient on only after they have moved, one after another.
    for _ in range(4):
        optimiser.zero_grad()
        _loss(model, counts).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            if bool((parameter.grad != 0).any()):
                reached.add(name)
        optimiser.step()
    assert reached == {name for name, _ in model.named_parameters()}


@pytest.mark.rule("PHY-038")
@EVERY
@HEADS
def test_loss_falls_from_the_first_steps(architecture, head, model_of, frames):
    model, counts = model_of(architecture, object_head=head), frames()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = _loss(model, counts)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]


@EVERY
@pytest.mark.parametrize("kind", ["dark", "one bright pixel", "bright", "one photon"])
def test_extreme_frames_give_finite_patches_and_gradients(architecture, kind, model_of, frames, shaken):
    counts = frames()
    counts[0] = {"dark": 0.0, "one bright pixel": 0.0, "bright": 1e9 / 32**2, "one photon": 0.0}[kind]
    counts[0, 0, 16, 16] += {"one bright pixel": 1e9, "one photon": 1.0}.get(kind, 0.0)
    model = shaken(model_of(architecture), 0.01)
    loss = _loss(model, counts)
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name


@EVERY
def test_batch_size_and_order_do_not_change_a_patch(architecture, model_of, frames, shaken):
    model, counts = shaken(model_of(architecture)), frames(32, 5)
    with torch.no_grad():
        together = model(counts)
        alone = torch.cat([model(frame[None]) for frame in counts])
        order = torch.tensor([3, 0, 4, 2, 1])
        shuffled = model(counts[order])
    assert (together[0] - together[1]).abs().max() > 1e-3
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shuffled, together[order], rtol=1e-4, atol=1e-4)


@EVERY
def test_training_mode_makes_no_difference(architecture, model_of, frames, shaken):
    model = shaken(model_of(architecture))
    with torch.no_grad():
        trained, used = model.train()(frames()), model.eval()(frames())
    torch.testing.assert_close(trained, used)


@EVERY
@pytest.mark.parametrize("junk", [1e9, float("nan")])
def test_what_bad_pixels_report_changes_nothing(architecture, junk, model_of, frames, shaken):
    measured = torch.ones(32, 32, dtype=torch.bool)
    measured[10:14, 20] = False
    model = shaken(model_of(architecture, measured=measured))
    clean, spoiled = frames(), frames()
    clean[..., ~measured], spoiled[..., ~measured] = 0.0, junk
    patches = [model(counts) for counts in (clean, spoiled)]
    torch.testing.assert_close(patches[1], patches[0])
    losses = [_loss(model, counts) for counts in (clean, spoiled)]
    torch.testing.assert_close(losses[1], losses[0])
    gradients = [torch.autograd.grad(loss, list(model.generator.parameters())) for loss in losses]
    torch.testing.assert_close(gradients[1], gradients[0])


@EVERY
def test_values_above_the_ceiling_change_nothing_in_their_frame(architecture, model_of, frames, shaken):
    ceiling = torch.full((32, 32), torch.inf)
    ceiling[10, 20] = 1e6
    model = shaken(model_of(architecture, ceiling=ceiling))
    first, second, low = frames(), frames(), frames()
    first[0, 0, 10, 20], second[0, 0, 10, 20], low[0, 0, 10, 20] = 1e7, 1e9, 5e5
    with torch.no_grad():
        torch.testing.assert_close(model(first), model(second))
        assert not torch.allclose(model(low), model(first))
    torch.testing.assert_close(_loss(model, first), _loss(model, second))
    assert model.measured_in(first).logical_not().sum() == 1


@EVERY
def test_good_pixels_do_change_the_patch(architecture, model_of, frames, shaken):
    model, counts = shaken(model_of(architecture)), frames()
    with torch.no_grad():
        before = model(counts)
        counts[..., 10:14, 20] += 1e5
        assert (model(counts) - before).abs().max() > 1e-3


@EVERY
def test_dose_does_not_change_a_patch(architecture, model_of, frames, shaken):
    model, counts = shaken(model_of(architecture)), frames()
    with torch.no_grad():
        low = model(counts)
        model.intensity_scale.mul_(10)
        high = model(10 * counts)
    torch.testing.assert_close(high, low, rtol=1e-4, atol=1e-4)


@EVERY
def test_several_modes_are_taken(architecture, model_of, frames):
    model = model_of(architecture, modes=3)
    loss = _loss(model, frames(modes=3))
    loss.backward()
    assert torch.isfinite(loss)
    assert model.probe.shape == (3, 32, 32)


@EVERY
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 1, 48, 48), (3, 4, 32, 32), (32, 32)])
def test_frames_of_another_shape_are_refused(architecture, shape, model_of):
    with pytest.raises(ShapeError, check=lambda error: error.name == "counts"):
        model_of(architecture)(torch.ones(shape))


@EVERY
def test_width_makes_the_network_larger(architecture, model_of):
    sizes = [
        sum(p.numel() for p in model_of(architecture, n_filters_scale=width).parameters())
        for width in (1, 2, 3)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


@EVERY
@HEADS
def test_a_model_can_be_sent_to_another_process(architecture, head, model_of, frames, shaken):
    model = shaken(model_of(architecture, object_head=head))
    other = pickle.loads(pickle.dumps(model))
    with torch.no_grad():
        assert torch.equal(other(frames()), model(frames()))


@pytest.mark.rule("PHY-039")
@pytest.mark.parametrize("architecture", ["fno", "unrolled"])
def test_steps_inside_a_network_see_the_blur_of_the_field(architecture, model_of, monkeypatch):
    """What a network is shown is nearer to the object that made the blurred frames than the start is."""
    model, truth, counts = _blurred(model_of, architecture)
    shown = []

    class Seen(GroupObject):
        def features(self, objects):
            shown.append(self.seen(objects))
            return super().features(objects)

    monkeypatch.setattr(f"ptycho_torch.models.{architecture}.GroupObject", Seen)
    with torch.no_grad():
        start = model(counts)
    assert _error(model, shown[0][:, None], truth) < 0.95 * _error(model, start, truth)


@pytest.mark.rule("PHY-039")
@EVERY
def test_steps_after_a_network_see_the_blur_of_the_field(architecture, model_of):
    model, truth, counts = _blurred(model_of, architecture)
    with torch.no_grad():
        start = model(counts)
    errors = [_error(model, model.held_to(counts, start, n_steps=n), truth) for n in (0, 4, 16, 64)]
    assert all(later < earlier for earlier, later in pairwise(errors)), errors
    torch.testing.assert_close(model.held_to(counts, truth, n_steps=8), truth, rtol=0, atol=2e-3)


def _blurred(model_of, architecture):
    """A model whose illuminated field is blurred by 2 px, patches of an object, and the counts they give."""
    model = model_of(architecture, gaussian_smoothing_sigma=2.0)
    scan = tiny_scene("random_field", grid=(2, 2))
    image, positions = (torch.from_numpy(array) for array in (scan.object_truth, scan.positions))
    full = Bilinear(positions, 32, image.shape).cut(image)[:, None]
    # One frame alone settles an object that scatters weakly.
    truth = torch.polar(full.abs() ** 0.3, 0.3 * full.angle())
    with torch.no_grad():
        return model, truth, model.predict_counts(truth)


def _error(model, patches, truth):
    """Distance under the illumination, up to a factor of the object that no frame can tell."""
    light = model.patch_weight()
    factor = (light * patches.conj() * truth).sum() / (light * patches.abs().square()).sum()
    return (
        float(
            (light * (factor * patches - truth).abs().square()).sum() / (light * truth.abs().square()).sum()
        )
        ** 0.5
    )
