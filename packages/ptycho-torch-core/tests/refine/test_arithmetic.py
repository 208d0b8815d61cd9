"""Compiled functions do what torch does, and both do what double precision says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from ptycho_torch.data import Scan
from ptycho_torch.native import Counts, frame_kernels
from ptycho_torch.physics.placement_bilinear import BilinearRows
from ptycho_torch.refine import refine
from ptycho_torch.refine.arithmetic import Arithmetic, Batch
from ptycho_torch.refine.compiled import CompiledArithmetic, arithmetic_for
from ptycho_torch.refine.frames import FrameSource
from ptycho_torch.refine.likelihood import Misfit
from ptycho_torch.refine.sub_pixel import placement_of

SHAPE = (40, 37)
ORIGIN = torch.tensor([2.0, 1.0], dtype=torch.float64)
CPU = torch.device("cpu")


def compiled():
    kernels = frame_kernels()
    if kernels is None:
        pytest.skip("no C compiler")
    return CompiledArithmetic(kernels)


@dataclass
class Problem:
    """Five frames, in single and in double precision."""

    image: torch.Tensor
    probe: torch.Tensor
    positions: torch.Tensor
    scan: Scan
    sub_pixel: str

    def batch(self, likelihood: str, dtype: torch.dtype, scan: Scan | None = None) -> Batch:
        real = dtype.to_real()
        n = self.probe.shape[-1]
        where = placement_of(self.sub_pixel, self.positions, n, SHAPE, ORIGIN, real)
        probe = self.probe.to(dtype)
        return Batch(
            image=self.image.to(dtype),
            where=where,
            light=lambda part, _: part.light(probe),
            shares_light=where.shares_light,
            source=FrameSource(scan or self.scan, 2.0, CPU, real),
            indices=np.arange(5),
            likelihood=likelihood,
        )


@pytest.fixture(params=["object", "probe"])
def sub_pixel(request):
    return request.param


@pytest.fixture
def problem_of(sub_pixel):
    """Frames of n x n pixels; n = 9 leaves no power of two, 17 fills one block of 256 pixels and a part."""

    def make(n: int, modes: int, *, masked: bool = False) -> Problem:
        generator = torch.Generator().manual_seed(n + modes)
        image = torch.randn(SHAPE, dtype=torch.complex128, generator=generator)
        probe = torch.randn(modes, n, n, dtype=torch.complex128, generator=generator)
        positions = 10 + 8 * torch.rand(5, 2, dtype=torch.float64, generator=generator)
        positions[0] = 12.0
        counts = torch.poisson(3 * torch.rand(5, n, n, generator=generator), generator=generator)
        bad = np.zeros((n, n), dtype=bool)
        bad[1, 2:5] = masked
        scan = Scan(
            diffraction=counts.numpy().astype(np.uint16),
            positions=positions.numpy(),
            probe=probe.to(torch.complex64).numpy(),
            bad_pixels=bad if masked else None,
        )
        return Problem(image, probe, positions, scan, sub_pixel)

    return make


def gradient_of(arithmetic: Arithmetic, batch: Batch, chunk: int = 2) -> tuple[torch.Tensor, Misfit]:
    gradient, misfit = torch.zeros_like(batch.image), Misfit()
    arithmetic.object_gradient(batch, chunk, misfit, gradient)
    return gradient, misfit


def assert_near(found: torch.Tensor, exact: torch.Tensor) -> None:
    assert found.shape == exact.shape
    assert float((found - exact).abs().max()) < 2e-5 * float(exact.abs().max())


def assert_same_sums(found: Misfit, exact: Misfit) -> None:
    for name in ("difference", "amplitude", "objective", "intensity"):
        assert getattr(found, name) == pytest.approx(getattr(exact, name), rel=1e-5), name


@pytest.mark.parametrize("likelihood", ["poisson", "amplitude"])
@pytest.mark.parametrize(
    ("n", "modes", "masked"), [(8, 1, False), (9, 1, True), (17, 3, False), (16, 2, True)]
)
@pytest.mark.rule("REF-016")
def test_the_gradient_is_that_of_double_precision(problem_of, n, modes, masked, likelihood):
    problem = problem_of(n, modes, masked=masked)
    exact, sums = gradient_of(Arithmetic(), problem.batch(likelihood, torch.complex128))
    for arithmetic in (Arithmetic(), compiled()):
        found, misfit = gradient_of(arithmetic, problem.batch(likelihood, torch.complex64))
        assert_near(found.to(torch.complex128), exact)
        assert_same_sums(misfit, sums)


@pytest.mark.parametrize("modes", [1, 3])
def test_the_illumination_of_a_batch_comes_with_its_gradient(problem_of, modes):
    problem = problem_of(16, modes)
    exact = problem.batch("poisson", torch.complex128)
    expected = torch.zeros(SHAPE, dtype=torch.float64)
    for frame in range(5):
        where = exact.where.part(torch.tensor([frame]))
        power = exact.light(where, exact.indices[[frame]]).abs().square().sum(dim=-3)
        where.add(power.reshape(1, 16, 16), expected)
    for arithmetic in (Arithmetic(), compiled()):
        found = torch.zeros(SHAPE)
        batch = replace(problem.batch("poisson", torch.complex64), illumination=found)
        gradient_of(arithmetic, batch)
        assert_near(found.double(), expected)


@pytest.mark.parametrize("chunk", [1, 3, 5, 8])
def test_chunks_change_nothing(problem_of, chunk):
    batch = problem_of(16, 2).batch("poisson", torch.complex64)
    whole, _ = gradient_of(compiled(), batch, 5)
    parts, _ = gradient_of(compiled(), batch, chunk)
    torch.testing.assert_close(parts, whole)


def test_parts_of_a_step_are_those_of_torch(problem_of):
    """Patches, fields, weights and waves that other unknowns take their gradients from."""
    batch = problem_of(16, 3, masked=True).batch("poisson", torch.complex64)
    light = batch.light(batch.where, batch.indices)
    results = []
    for arithmetic in (Arithmetic(), compiled()):
        misfit = Misfit()
        patches, field = arithmetic.fields(batch.image, batch.where, light)
        weight, wave = arithmetic.residual(field, batch.source, batch.indices, batch.likelihood, misfit)
        power = torch.zeros(SHAPE)
        arithmetic.lay_power(light.abs().square().sum(dim=-3), batch.where, power)
        results.append((patches, field, weight, wave, power))
    for found, expected in zip(results[1], results[0], strict=True):
        assert_near(found, expected)


@pytest.mark.parametrize(("n", "modes"), [(8, 1), (17, 3), (16, 2)])
@pytest.mark.rule("REF-016")
def test_gradients_of_probe_and_places_are_those_of_double_precision(problem_of, n, modes):
    """Chunks add up; they are one frame, a few, or more than a block of pixels."""
    problem = problem_of(n, modes)
    waves = torch.randn(5, modes, n, n, dtype=torch.complex128, generator=torch.Generator().manual_seed(9))
    results = []
    for arithmetic, dtype in (
        (Arithmetic(), torch.complex128),
        (Arithmetic(), torch.complex64),
        (compiled(), torch.complex64),
    ):
        batch, wave = problem.batch("poisson", dtype), waves.to(dtype)
        light = batch.light(batch.where, batch.indices)
        patches, _ = arithmetic.fields(batch.image, batch.where, light)
        gradient, power = torch.zeros_like(wave[0]), torch.zeros_like(patches[0].real)
        for chosen in (slice(0, 1), slice(1, 5)):
            arithmetic.gather_waves(patches[chosen], wave[chosen], gradient, power)
        products = arithmetic.slope_products(batch.image, batch.where, light, wave)
        assert products.dtype == torch.float64
        results.append((gradient, power, products))
    for found in results[1:]:
        for part, exact in zip(found, results[0], strict=True):
            assert_near(part.to(exact.dtype), exact)


def test_slopes_at_the_rim_of_the_canvas_are_those_of_torch():
    """Central differences ask for pixels beside the patch, where the canvas may end."""
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(SHAPE, dtype=torch.complex64, generator=generator)
    light = torch.randn(2, 1, 8, 8, dtype=torch.complex64, generator=generator)
    corners = torch.tensor([[4.0, 4.0], [SHAPE[0] - 4.0, SHAPE[1] - 4.0]], dtype=torch.float64)
    where = placement_of("probe", corners, 8, SHAPE, torch.zeros(2, dtype=torch.float64), torch.float32)
    waves = torch.randn(2, 1, 8, 8, dtype=torch.complex64, generator=generator)
    found, expected = (one.slope_products(image, where, light, waves) for one in (compiled(), Arithmetic()))
    assert_near(found, expected)


def test_laying_is_the_adjoint_of_cutting(problem_of):
    batch = problem_of(16, 2).batch("poisson", torch.complex64)
    arithmetic, light = compiled(), batch.light(batch.where, batch.indices)
    waves = torch.randn(5, 2, 16, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(4))
    _, fields = arithmetic.fields(batch.image, batch.where, light)
    laid = torch.zeros_like(batch.image)
    arithmetic.lay(waves, light, batch.where, laid)
    left = torch.vdot(torch.fft.ifft2(fields, norm="ortho").flatten(), waves.flatten())
    right = torch.vdot(batch.image.flatten(), laid.flatten())
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["f4", "f8", "u1", "u2", "u4", "i1", "i2", "i4", "i8", ">u2"])
@pytest.mark.rule("REF-012")
def test_frames_of_every_kind_are_read_alike(problem_of, kind):
    problem = problem_of(16, 1)
    frames = problem.scan.diffraction
    expected, _ = gradient_of(compiled(), problem.batch("poisson", torch.complex64))
    batch = problem.batch("poisson", torch.complex64)
    batch.source.frames = frames.astype(kind)
    assert Counts.can_hold(batch.source.frames) == (kind not in ("i8", ">u2"))
    found, _ = gradient_of(compiled(), batch)
    assert torch.equal(found, expected)


def test_masks_of_single_frames_are_kept(problem_of):
    """Pixels at their ceiling say nothing in the frames where they are there."""
    problem = problem_of(16, 1)
    scan = replace(problem.scan, ceiling=np.full((16, 16), 3.0))
    assert (scan.diffraction >= 3).any()
    exact, sums = gradient_of(Arithmetic(), problem.batch("poisson", torch.complex128, scan))
    found, misfit = gradient_of(compiled(), problem.batch("poisson", torch.complex64, scan))
    assert_near(found.to(torch.complex128), exact)
    assert_same_sums(misfit, sums)
    free, _ = gradient_of(compiled(), problem.batch("poisson", torch.complex64))
    assert float((found - free).abs().max()) > 1e-2 * float(free.abs().max())


@pytest.mark.parametrize("step", [1, 2])
def test_chosen_frames_are_read_from_where_they_lie(problem_of, step):
    """A step of two: the share that one of two processes takes of a batch."""
    problem = problem_of(16, 1)
    batch = problem.batch("poisson", torch.complex64)
    order = np.repeat([3, 1, 4, 0, 2], step)[::step]
    expected, _ = gradient_of(compiled(), batch, 5)
    batch.source.frames = np.ascontiguousarray(problem.scan.diffraction[np.argsort(order)])
    object.__setattr__(batch, "indices", order)
    found, _ = gradient_of(compiled(), batch, 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("arithmetic", [Arithmetic, compiled])
def test_what_is_no_number_is_not_hidden(problem_of, arithmetic):
    problem = problem_of(8, 1)
    problem.image[14, 12] = complex("nan")
    gradient, misfit = gradient_of(arithmetic(), problem.batch("poisson", torch.complex64))
    assert not torch.isfinite(gradient.abs()).all()
    assert np.isnan(misfit.objective)


@pytest.mark.parametrize("arithmetic", [Arithmetic, compiled])
def test_dark_pixels_and_blind_ones_stay_finite(problem_of, arithmetic):
    problem = problem_of(8, 1)
    problem.scan.diffraction[:2] = 0
    problem.image[:] = 1e-9
    gradient, misfit = gradient_of(arithmetic(), problem.batch("poisson", torch.complex64))
    assert torch.isfinite(gradient.abs()).all()
    assert np.isfinite(misfit.objective)


def test_compiled_functions_serve_single_precision_on_the_processor():
    compiled()
    assert isinstance(arithmetic_for(CPU, torch.complex64, compiled=True), CompiledArithmetic)
    for device, dtype, wanted in (
        (CPU, torch.complex64, False),
        (CPU, torch.complex128, True),
        (torch.device("cuda"), torch.complex64, True),
    ):
        assert not isinstance(arithmetic_for(device, dtype, compiled=wanted), CompiledArithmetic)


@pytest.mark.rule("REF-016")
def test_compiled_steps_are_the_steps_of_torch(scan_of, error_of):
    compiled()
    scan = scan_of("natural")
    fast, plain = (refine(scan, epochs=20, compiled_steps=wanted) for wanted in (True, False))
    lit = fast.object.weight > 0.1 * fast.object.weight.max()
    # Twenty epochs multiply rounding errors of 1e-7.
    assert np.abs(fast.object.object - plain.object.object)[lit].max() < 1e-3
    assert fast.residuals == pytest.approx(plain.residuals, rel=1e-4)
    assert fast.residuals != plain.residuals
    assert error_of(scan, fast) == pytest.approx(error_of(scan, plain), rel=1e-3)


def test_patches_that_lie_between_pixels_have_room(problem_of):
    """Functions that do not look at bounds are only given places that were looked at."""
    from ptycho_torch.errors import ShapeError

    with pytest.raises(ShapeError):
        BilinearRows(torch.tensor([[32.0, 12.0]], dtype=torch.float64), 16, SHAPE, origin=ORIGIN)
