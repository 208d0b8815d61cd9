"""Gradients are those of the likelihood, and the weights do what their page says."""

import numpy as np
import pytest
import torch

from ptycho_torch.data import Scan
from ptycho_torch.physics import poisson_deviance, predicted_counts
from ptycho_torch.physics.placement_bilinear import BilinearRows
from ptycho_torch.refine.arithmetic import Arithmetic
from ptycho_torch.refine.frames import FrameSource
from ptycho_torch.refine.likelihood import Misfit, field_weight
from ptycho_torch.refine.step import Batching, batch_gradient, detector_ramp, illumination_map
from ptycho_torch.refine.unknowns import ObjectUnknown, PositionsUnknown, ProbeUnknown, Unknowns

N, SHAPE = 8, (20, 20)


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(8)
    probe = torch.randn(2, N, N, dtype=torch.complex128, generator=generator)
    image = torch.randn(SHAPE, dtype=torch.complex128, generator=generator)
    positions = 4 + 7 * torch.rand(5, 2, dtype=torch.float64, generator=generator)
    placement = BilinearRows(positions, N, SHAPE, dtype=torch.float64)
    counts = predicted_counts(placement.cut(image), probe, 3.0)
    # Far enough from the data to have a gradient, near enough to stay under the bound of the weight.
    measured = counts * (0.7 + 0.6 * torch.rand(counts.shape, dtype=torch.float64, generator=generator))
    bad = np.zeros((N, N), dtype=bool)
    bad[2, 3] = True
    scan = Scan(
        diffraction=measured.numpy(),
        positions=positions.numpy(),
        probe=probe.to(torch.complex64).numpy(),
        bad_pixels=bad,
    )
    return image, probe, positions, placement, scan


@pytest.mark.rule("REF-001")
def test_gradients_agree_with_automatic_differentiation(problem):
    image, probe, positions, placement, scan = problem
    frames = FrameSource(scan, 3.0, torch.device("cpu"), torch.float64)
    ramp = detector_ramp(N)
    found = Unknowns(
        object=ObjectUnknown(image),
        probe=ProbeUnknown(probe * ramp, ramp, fitted=True),
        positions=PositionsUnknown(positions, fitted=True),
    )
    for unknown in found:
        unknown.begin(0)
    misfit = Misfit()
    batching = Batching(likelihood="amplitude", chunk=2)
    batch_gradient(found, np.arange(5), placement, frames, batching, misfit)
    unknowns = image.clone().requires_grad_(), probe.clone().requires_grad_()
    amplitude = predicted_counts(placement.cut(unknowns[0]), unknowns[1], 1.0).sqrt()
    distance = (amplitude - (torch.from_numpy(scan.diffraction) / 3.0).sqrt()).square()
    objective = (distance * torch.from_numpy(~scan.bad_pixels)).sum()
    objective.backward()
    # torch returns twice the derivative in the conjugate variable.
    torch.testing.assert_close(found.object.gradient, unknowns[0].grad / 2)
    torch.testing.assert_close(found.probe.gradient * ramp.conj(), unknowns[1].grad / 2)
    assert misfit.objective == pytest.approx(objective.item(), rel=1e-9)


def test_poisson_weight_is_half_the_gradient_up_to_its_bound():
    predicted = torch.tensor([[[4.0, 4.0, 4.0, 0.0]]], dtype=torch.float64)
    measured = torch.tensor([[[4.0, 9.0, 0.0, 1.0]]], dtype=torch.float64)
    weight = field_weight(predicted.clone(), measured.clone(), "poisson", None, Misfit())
    expected = (1 - measured / predicted)[0, 0, :3] / 2
    torch.testing.assert_close(weight[0, 0, :3], expected)
    # A dark pixel: three halves of the amplitude gradient, whose product with the field is finite.
    amplitude = field_weight(predicted.clone(), measured.clone(), "amplitude", None, Misfit())
    torch.testing.assert_close(weight[0, 0, 3], 1.5 * amplitude[0, 0, 3])


def test_misfit_is_the_deviance():
    rng = torch.Generator().manual_seed(1)
    predicted = torch.rand(3, N, N, dtype=torch.float64, generator=rng) + 0.1
    measured = torch.poisson(4 * predicted, generator=rng)
    misfit = Misfit()
    field_weight(predicted.clone(), measured.clone(), "poisson", None, misfit)
    mean_counts = float(measured.sum() / 3)
    expected = poisson_deviance(predicted, measured, mean_counts=mean_counts)
    # The loss for training adds a millionth of the counts where the prediction vanishes.
    assert misfit.per_photon == pytest.approx(float(expected), rel=1e-5)


def test_illumination_bounds_the_curvature(problem):
    image, probe, positions, placement, _ = problem
    unknowns = Unknowns(
        object=ObjectUnknown(image),
        probe=ProbeUnknown(probe, detector_ramp(N), fitted=False),
        positions=PositionsUnknown(positions, fitted=False),
    )
    divisor = illumination_map(unknowns, placement, np.arange(5), Arithmetic())
    curvature = torch.zeros(SHAPE, dtype=torch.complex128)
    placement.add(placement.cut(image) * (probe.abs() ** 2).sum(dim=0), curvature)
    # x^H A x <= x^H D x for the diagonal D of row sums.
    assert float((image.conj() * curvature).real.sum()) <= float((image.abs() ** 2 * divisor).sum())
