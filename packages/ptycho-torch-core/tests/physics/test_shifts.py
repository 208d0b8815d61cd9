"""Sub-pixel shifts: what is exact about them, and what happens at the Nyquist frequency."""

from __future__ import annotations

import math

import pytest
import torch

from ptycho_torch.errors import ShapeError
from ptycho_torch.physics.shifts import fourier_shift
from ptycho_torch.testing import assert_adjoint, assert_close

SHAPES = [(8, 8), (7, 7), (8, 7), (5, 6)]
every_shape = pytest.mark.parametrize("shape", SHAPES)
SHIFTS = torch.tensor([[0.0, 0.0], [0.5, -0.5], [1.25, -3.7], [9.1, 0.3]], dtype=torch.float64)


def without_nyquist(images):
    """The same images, with the unpaired frequency of each even axis taken out."""
    spectrum = torch.fft.fft2(images)
    height, width = images.shape[-2:]
    if height % 2 == 0:
        spectrum[..., height // 2, :] = 0
    if width % 2 == 0:
        spectrum[..., :, width // 2] = 0
    return torch.fft.ifft2(spectrum)


@every_shape
def test_adjoint_is_the_shift_back(shape, generator):
    like = torch.empty(4, *shape)
    assert_adjoint(
        lambda x: fourier_shift(x, SHIFTS), lambda y: fourier_shift(y, -SHIFTS), like, like, generator
    )


@every_shape
@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, -1), (3, 2), (-11, 25)])
def test_whole_shifts_are_rolls(shape, shift, complex_noise, real_noise):
    by = torch.tensor(shift, dtype=torch.float64)
    for image in (complex_noise(*shape), real_noise(*shape)):
        assert_close(fourier_shift(image, by), image.roll(shift, (0, 1)))


@every_shape
def test_every_plane_wave_below_nyquist_gets_its_phase(shape):
    height, width = shape
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    for ky in range(-((height - 1) // 2), (height - 1) // 2 + 1):
        for kx in range(-((width - 1) // 2), (width - 1) // 2 + 1):

            def wave(dy, dx, fy=ky / height, fx=kx / width):
                return torch.exp(2j * math.pi * (fy * (y - dy) + fx * (x - dx)))

            assert_close(fourier_shift(wave(0, 0), SHIFTS[2]), wave(*SHIFTS[2].tolist()))


@every_shape
def test_a_real_image_is_shifted_as_the_real_part_of_a_complex_one(shape, complex_noise):
    image = complex_noise(4, *shape)
    shifted = fourier_shift(image, SHIFTS)
    real, imaginary = fourier_shift(image.real, SHIFTS), fourier_shift(image.imag, SHIFTS)
    assert real.dtype == torch.float64
    assert_close(torch.complex(real, imaginary), shifted)


@every_shape
def test_unitary_and_composed_away_from_nyquist(shape, complex_noise):
    image = without_nyquist(complex_noise(4, *shape))
    once = fourier_shift(image, SHIFTS)
    assert_close(torch.linalg.vector_norm(once, dim=(1, 2)), torch.linalg.vector_norm(image, dim=(1, 2)))
    assert_close(fourier_shift(once, -SHIFTS), image)
    other = SHIFTS.flip(0)
    assert_close(fourier_shift(once, other), fourier_shift(image, SHIFTS + other))


def test_at_nyquist_the_factor_is_the_cosine():
    checkers = (-1.0) ** torch.arange(8, dtype=torch.float64)[:, None] * torch.ones(8, dtype=torch.float64)
    for by in (0.0, 0.3, 0.5, 1.0, 2.2):
        shifted = fourier_shift(checkers, torch.tensor([by, 0.4], dtype=torch.float64))
        assert (shifted - math.cos(math.pi * by) * checkers).abs().max() < 1e-12


@every_shape
def test_never_longer_than_what_came(shape, complex_noise):
    image = complex_noise(4, *shape)
    before, after = (torch.linalg.vector_norm(i, dim=(1, 2)) for i in (image, fourier_shift(image, SHIFTS)))
    assert (after <= before * (1 + 1e-12)).all()


@every_shape
def test_gradients(shape, complex_noise, real_noise):
    shifts = SHIFTS[1:3].clone().requires_grad_()
    for image in (complex_noise(2, *shape), real_noise(2, *shape)):
        assert torch.autograd.gradcheck(fourier_shift, (image.requires_grad_(), shifts), fast_mode=True)


def test_each_image_has_its_own_shift(complex_noise):
    images, shifts = complex_noise(2, 3, 6, 6), torch.rand(2, 3, 2, dtype=torch.float64)
    together = fourier_shift(images, shifts)
    for b in range(2):
        for c in range(3):
            assert_close(together[b, c], fourier_shift(images[b, c], shifts[b, c]))
    assert_close(fourier_shift(images, shifts[0, 0])[1, 2], fourier_shift(images[1, 2], shifts[0, 0]))


def test_precision_is_that_of_the_image(complex_noise):
    image = complex_noise(16, 16)
    far = torch.tensor([1600.25, -800.5], dtype=torch.float64)
    single = fourier_shift(image.to(torch.complex64), far)
    assert single.dtype == torch.complex64
    assert_close(single, fourier_shift(image, far))
    assert fourier_shift(image.real.float(), far).dtype == torch.float32
    assert fourier_shift(image, far.float()).dtype == torch.complex128


def test_shapes_that_do_not_fit_are_refused(complex_noise):
    image = complex_noise(3, 4, 4)
    with pytest.raises(ShapeError, check=lambda error: error.name == "shift"):
        fourier_shift(image, torch.zeros(1, 2))
    with pytest.raises(ShapeError, check=lambda error: error.name == "shift"):
        fourier_shift(image, torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ShapeError, check=lambda error: error.name == "patches"):
        fourier_shift(image[0, 0], torch.zeros(2))
