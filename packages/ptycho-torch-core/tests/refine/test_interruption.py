"""What is left when somebody ends a refinement, and the scale of a start."""

from dataclasses import replace

import numpy as np
import pytest

from ptycho_torch.refine import RefinementInterrupted, forward_residual, refine
from ptycho_torch.refine.iteration import Iteration


def stop_after(epochs):
    def progress(done, total, residual):
        if done == epochs:
            raise KeyboardInterrupt

    return progress


@pytest.mark.rule("REF-007")
def test_the_last_complete_epoch_is_handed_over(scan_of):
    scan = scan_of()
    with pytest.raises(RefinementInterrupted, match="after 3 epochs") as stop:
        refine(scan, epochs=20, progress=stop_after(3))
    result = stop.value.result
    assert result.n_epochs == 3
    assert result.stopped_early
    assert forward_residual(scan, result.object) < result.residuals[0]


def test_before_the_first_epoch_there_is_nothing_to_keep(scan_of, monkeypatch):
    from ptycho_torch.refine import iteration

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(iteration.Iteration, "run_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt) as stop:
        refine(scan_of(), epochs=2)
    assert not isinstance(stop.value, RefinementInterrupted)


@pytest.mark.rule("REF-005")
def test_the_scale_of_a_start_does_not_matter(scan_of):
    scan = scan_of()
    start = refine(scan, epochs=5).object
    once, other = (
        refine(scan, replace(start, object=start.object * np.float32(factor)), epochs=2)
        for factor in (1.0, 7.0)
    )
    np.testing.assert_allclose(other.object.object, once.object.object, atol=2e-3)


def test_held_out_frames_are_scored(scan_of):
    scan = scan_of(photons=1e7)
    held = np.arange(0, scan.n_frames, 10)
    result = refine(scan.take(np.setdiff1d(np.arange(scan.n_frames), held)), epochs=30)
    flat = replace(result.object, object=np.ones_like(result.object.object))
    assert forward_residual(scan.take(held), result.object) < 0.5 * forward_residual(scan.take(held), flat)


@pytest.mark.rule("REF-053")
def test_a_run_that_leads_away_from_the_frames_says_so(scan_of, monkeypatch):
    scan = scan_of()
    begun = refine(scan, epochs=20, error_bars="none")
    assert begun.worse is None
    monkeypatch.setattr(Iteration, "_share_of_step", lambda _: -0.5)
    told = {"refine_batch_size": scan.n_frames, "tolerance": 0, "error_bars": "none"}
    led_away = refine(scan, begun.object, epochs=20, **told)
    first, last = led_away.residuals[0], led_away.residuals[-1]
    assert last > 1.05 * first
    for said in (f"{last:.3g} in the last epoch", f"{first:.3g} in the first", "do not use this object"):
        assert said in led_away.worse
    with pytest.raises(RefinementInterrupted) as stop:
        refine(scan, begun.object, epochs=25, progress=stop_after(20), **told)
    assert stop.value.result.worse is not None


@pytest.mark.rule("REF-053")
def test_a_residual_that_a_constraint_costs_is_no_fault(scan_of):
    scan = scan_of(photons=1e6)
    begun = refine(scan, epochs=30, error_bars="none").object
    told = {"refine_batch_size": scan.n_frames, "error_bars": "none"}
    smoothed = refine(scan, begun, epochs=20, smoothness=0.3, **told)
    assert smoothed.residuals[-1] > 1.05 * smoothed.residuals[0]
    assert smoothed.worse is None
