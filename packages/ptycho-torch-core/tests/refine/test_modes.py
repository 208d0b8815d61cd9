"""Modes that are added to a probe."""

from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.refine import forward_residual, refine
from ptycho_torch.refine.modes import with_modes


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
def test_power_stays_and_modes_are_orthogonal(scan_of, count):
    probe = scan_of().probe
    modes = with_modes(probe, count).astype(np.complex128)
    assert modes.shape == (count, *probe.shape[1:])
    gram = np.einsum("aij,bij->ab", modes.conj(), modes)
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-5 * abs(gram).max())
    assert np.trace(gram).real == pytest.approx((np.abs(probe) ** 2).sum(), rel=1e-5)


@pytest.mark.rule("REF-004")
def test_modes_that_are_missing_are_found(scan_of):
    scan = scan_of("natural", modes=(0.7, 0.2, 0.1), photons=1e6)
    single = replace(scan, probe=scan.probe[:1])
    one = refine(single, epochs=30, refine_probe=True)
    three = refine(single, epochs=30, refine_probe=True, probe_modes=3)
    residuals = [forward_residual(scan, result.object, result.probe) for result in (one, three)]
    assert residuals[1] < 0.6 * residuals[0]


@pytest.mark.rule("REF-003")
@pytest.mark.parametrize(("count", "fits"), [(2, True), (4, False)])
def test_modes_that_cannot_be_fitted_are_refused(scan_of, count, fits):
    scan = scan_of("natural", modes=(0.7, 0.2, 0.1), photons=1e6)
    with pytest.raises(ConfigError, check=lambda error: error.fields == ("probe_modes",)):
        refine(scan, probe_modes=count, refine_probe=fits)


def test_fewer_modes_than_there_are_are_refused(scan_of):
    with pytest.raises(ValueError, match="expected at least 3, the modes of the probe, got 2"):
        with_modes(np.repeat(scan_of().probe, 3, axis=0), 2)
