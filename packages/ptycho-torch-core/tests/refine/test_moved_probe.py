"""A probe that moves by fractions of a pixel over an object that stays on its grid."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ptycho_torch.data import Scan
from ptycho_torch.physics import predicted_counts
from ptycho_torch.physics.placement_bilinear import BilinearRows
from ptycho_torch.physics.placement_moved_probe import MovedProbe
from ptycho_torch.refine import forward_residual, refine
from ptycho_torch.refine.frames import FrameSource
from ptycho_torch.refine.likelihood import Misfit
from ptycho_torch.refine.step import Batching, batch_gradient, detector_ramp
from ptycho_torch.refine.unknowns import ObjectUnknown, PositionsUnknown, ProbeUnknown, Unknowns

N, SHAPE = 8, (24, 27)
ORIGIN = torch.tensor([1.0, 2.0], dtype=torch.float64)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(3)


@pytest.fixture
def positions(generator):
    return 6 + 9 * torch.rand(5, 2, dtype=torch.float64, generator=generator)


@pytest.fixture
def placement(positions):
    return MovedProbe(positions, N, SHAPE, origin=ORIGIN, dtype=torch.float64)


def test_the_probe_lies_on_the_position():
    """A Gaussian moved by Fourier transforms is the Gaussian evaluated elsewhere."""
    n, at = 32, torch.tensor([[20.3, 21.8]], dtype=torch.float64)
    axis = torch.arange(n, dtype=torch.float64) - n // 2

    def gaussian(y, x):
        return torch.exp(-((axis[:, None] - y) ** 2 + (axis[None, :] - x) ** 2) / 18).to(torch.complex128)

    moved = MovedProbe(at, n, (50, 50), dtype=torch.float64)
    ramp = detector_ramp(n)
    light = moved.light(gaussian(0, 0)[None] * ramp)[0, 0] * ramp.conj()
    torch.testing.assert_close(light, gaussian(0.3, -0.2), atol=1e-6, rtol=0)
    image = torch.zeros(50, 50, dtype=torch.complex128)
    image[20, 22] = 1
    assert moved.cut(image)[0, n // 2, n // 2] == 1


@pytest.mark.rule("REF-002")
def test_at_whole_pixels_both_models_are_one(generator):
    whole = torch.tensor([[7.0, 9.0], [12.0, 8.0]], dtype=torch.float64)
    moved = MovedProbe(whole, N, SHAPE, origin=ORIGIN, dtype=torch.float64)
    image = torch.randn(SHAPE, dtype=torch.complex128, generator=generator)
    probe = torch.randn(1, N, N, dtype=torch.complex128, generator=generator)
    object_moves = BilinearRows(whole, N, SHAPE, origin=ORIGIN, dtype=torch.float64)
    torch.testing.assert_close(moved.cut(image), object_moves.cut(image))
    torch.testing.assert_close(moved.light(probe), probe.expand(2, 1, N, N))


@pytest.mark.rule("REF-001")
def test_gradients_agree_with_automatic_differentiation(placement, positions, generator):
    image = torch.randn(SHAPE, dtype=torch.complex128, generator=generator)
    probe = torch.randn(2, N, N, dtype=torch.complex128, generator=generator)
    ramp = detector_ramp(N)

    def intensity(image, probe):
        # The physics shifts the frames; the ramp in the probe does the same here.
        light = placement.light(probe * ramp) * ramp.conj()
        waves = [
            predicted_counts(patch, light[j], 1.0) for j, patch in enumerate(placement.cut(image)[:, None])
        ]
        return torch.cat(waves)

    measured = intensity(image, probe) * (0.7 + 0.6 * torch.rand(5, N, N, generator=generator).double())
    scan = Scan(
        diffraction=measured.numpy(),
        positions=positions.numpy(),
        probe=probe.to(torch.complex64).numpy(),
    )
    frames = FrameSource(scan, 1.0, torch.device("cpu"), torch.float64)
    found = Unknowns(
        object=ObjectUnknown(image),
        probe=ProbeUnknown(probe * ramp, ramp, fitted=True, moved=True),
        positions=PositionsUnknown(positions, fitted=True),
    )
    for unknown in found:
        unknown.begin(0)
    batching = Batching(likelihood="amplitude", chunk=2)
    batch_gradient(found, np.arange(5), placement, frames, batching, Misfit())
    unknowns = image.clone().requires_grad_(), probe.clone().requires_grad_()
    (intensity(*unknowns).sqrt() - measured.sqrt()).square().sum().backward()
    torch.testing.assert_close(found.object.gradient, unknowns[0].grad / 2)
    torch.testing.assert_close(found.probe.gradient * ramp.conj(), unknowns[1].grad / 2)


@pytest.fixture
def moved_scan(scan_of):
    """Noise-free frames of a probe that moves, in NumPy."""
    scan = scan_of("natural", noise=False)
    n, frequency = scan.N, np.fft.fftfreq(scan.N)
    spectrum = np.fft.fft2(scan.probe[0].astype(np.complex128))
    frames = []
    for position in scan.positions:
        corner = np.floor(position + 0.5).astype(int)
        y, x = position - corner
        shift = np.exp(-2j * np.pi * (frequency[:, None] * y + frequency[None, :] * x))
        rows, columns = (slice(start - n // 2, start - n // 2 + n) for start in corner)
        wave = np.fft.ifft2(spectrum * shift) * scan.object_truth[rows, columns]
        frames.append(np.abs(np.fft.fftshift(np.fft.fft2(wave, norm="ortho"))) ** 2)
    counts = np.stack(frames)
    return replace(scan, diffraction=(counts * (1e5 / counts.sum(axis=(1, 2)).mean())).astype(np.float32))


def test_frames_of_a_moved_probe_need_a_moved_probe(moved_scan, error_of):
    errors = {
        name: error_of(moved_scan, refine(moved_scan, epochs=80, sub_pixel=name))
        for name in ("object", "probe")
    }
    assert errors["probe"] < 0.03
    assert errors["probe"] < errors["object"] / 3


def test_residual_tells_the_models_apart(moved_scan):
    from ptycho_torch.reassembly import StitchedObject

    truth = StitchedObject(
        object=moved_scan.object_truth,
        weight=np.ones(moved_scan.object_truth.shape, np.float32),
        origin=moved_scan.object_truth_origin,
    )
    assert forward_residual(moved_scan, truth, sub_pixel="probe") < 1e-4
    assert forward_residual(moved_scan, truth, sub_pixel="object") > 1e-2


def test_positions_are_corrected_with_a_moved_probe(moved_scan, rng):
    wrong = moved_scan.positions + rng.normal(0, 0.7, moved_scan.positions.shape)
    result = refine(replace(moved_scan, positions=wrong), epochs=60, refine_positions=True, sub_pixel="probe")

    def rms(positions):
        error = positions - moved_scan.positions
        return np.sqrt((((error - error.mean(axis=0)) ** 2).sum(axis=1)).mean())

    assert rms(result.positions) < 0.5 * rms(wrong)
