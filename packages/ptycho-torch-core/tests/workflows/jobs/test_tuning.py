"""A search of settings as a run: its record, its command, interruption, resuming, refusals."""

from __future__ import annotations

import json
import logging
import shlex

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.config_factory import create_tuning_payload
from ptycho_torch.data.formats.npz import save_scan
from ptycho_torch.data.simulation import Faults, simulate_scene
from ptycho_torch.trials import TuningInterrupted
from ptycho_torch.trials.hidden import Split
from ptycho_torch.workflows import TuningFailed, tune_scan
from ptycho_torch.workflows.jobs.tuning import repeating_words

SIZE = {"N": 32, "grid": (6, 6), "step_px": 4.0, "jitter_px": 1.0, "photons": 1e5}
QUICK = {"refine_epochs": 3, "refine_warm_up": 0}


@pytest.fixture(scope="module")
def faulty_file(tmp_path_factory):
    """A scan whose dose varies."""
    path = tmp_path_factory.mktemp("faulty") / "scan.npz"
    save_scan(path, simulate_scene("random_field", seed=1, faults=Faults(dose_rms=0.4), **SIZE))
    return path


@pytest.fixture
def search(tmp_path, faulty_file, cpu):
    """Payload of a search: ``search("name", **overrides)``."""

    def make(name="tuned", *, scan=faulty_file, **overrides):
        overrides = {"trials": 3, "choose": "likelihood,dose", **QUICK, **overrides}
        return create_tuning_payload(scan, tmp_path / name, overrides, execution_config=cpu())

    return make


def recorded(folder):
    return json.loads((folder / "trials.json").read_text())


def settings_of(folder):
    return [trial["settings"] for trial in recorded(folder)["trials"]]


@pytest.mark.rule("REF-061", "RUN-092")
def test_a_search_leaves_every_trial_and_the_command_of_the_best(search, faulty_file):
    outcome = tune_scan(search(), command=["tune", "it"])
    folder = outcome.output_dir
    assert {path.name for path in outcome.files} == {"trials.json", "resolved_config.json"}
    assert json.loads((folder / "resolved_config.json").read_text())["command"] == ["tune", "it"]
    found = recorded(folder)
    assert found["settings"] == {"refine_dose": True}
    assert found["versions"]["ptycho-torch-core"]
    assert found["ended"] == "trials"
    assert found["best"] == 2
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3
    assert all(trial["seconds"] > 0 and len(trial["deviances"]) == 4 for trial in found["trials"])
    words = [*("ptycho-torch", "refine", "--data"), str(faulty_file), "--output-dir", str(folder / "best")]
    assert list(outcome.words) == [
        *words, "--refine-epochs", "3", "--refine-dose", "--refine-warm-up", "0", "--accelerator", "cpu",
    ]  # fmt: skip
    assert shlex.split(found["command"]) == found["words"] == list(outcome.words)


def test_only_what_was_chosen_is_searched(search):
    tuning = tune_scan(search(choose="likelihood", trials=None)).tuning
    assert [dict(trial.settings) for trial in tuning.trials] == [{}, {"likelihood": "amplitude"}]
    assert tuning.ended == "nothing new"


def test_so_many_trials_are_tried(search):
    assert len(tune_scan(search(trials=2)).tuning.trials) == 2
    assert len(tune_scan(search("other", trials=1)).tuning.trials) == 1


def test_another_seed_hides_other_pixels(search):
    one, same, other = (
        tune_scan(search(f"{number}", trials=1, tune_seed=seed)).tuning.trials[0].deviance
        for number, seed in enumerate((0, 0, 1))
    )
    assert one == same
    assert one != other
    assert one == pytest.approx(other, rel=0.2)


@pytest.mark.rule("REF-064")
def test_reading_the_scan_counts_for_the_budget(search, monkeypatch):
    """Time passes by a second whenever somebody looks: a few looks come before the first trial."""
    ticks = iter(range(10**6))
    payload = search(budget_s=3.0)
    with pytest.raises(TuningFailed, match=r"within 3 s; --resume with a larger --budget-s goes on"):
        tune_scan(payload, clock=lambda: float(next(ticks)))
    assert recorded(payload.data_config.output_dir)["trials"][0]["state"] == "out of time"
    with pytest.raises(TuningFailed, match="no trial came to its end within 600 s"):
        tune_scan(search("late", budget_s=600.0), clock=lambda: 1000.0, began=399.0)


@pytest.mark.rule("RUN-092")
def test_stated_settings_are_in_the_command_and_not_searched(search, faulty_file):
    payload = search(choose="all", likelihood="poisson", refine_probe=True, swap_axes=False, strict=True)
    assert set(payload.fixed) == {"likelihood", "refine_probe", "refine_epochs", "refine_warm_up"}
    words = repeating_words(payload, {"refine_dose": True, "smoothness": 0.00088, "probe_modes": 2})
    typed = " ".join(words)
    for flags in ("--strict", "--refine-probe", "--refine-dose", "--smoothness 0.00088", "--probe-modes 2"):
        assert flags in typed
    assert "--likelihood" not in typed


def test_settings_of_a_file_count_where_they_differ(search, tmp_path, faulty_file):
    path = tmp_path / "settings.yaml"
    path.write_text("refine: {refine_probe: true, refine_dose: false}\n")
    payload = create_tuning_payload(faulty_file, tmp_path / "x", config_file=path)
    assert payload.fixed == {"refine_probe": True}


@pytest.mark.rule("RUN-093")
def test_an_interrupted_search_goes_on_as_one_that_was_not(search, monkeypatch, caplog):
    whole = tune_scan(search("whole")).output_dir
    fit, count = Split.fit, []

    def stopped(split, *rest, **more):
        count.append(split)
        if len(count) == 6:
            raise KeyboardInterrupt
        return fit(split, *rest, **more)

    monkeypatch.setattr(Split, "fit", stopped)
    payload = search("cut")
    folder = payload.data_config.output_dir
    with pytest.raises(TuningInterrupted) as stop:
        tune_scan(payload)
    assert stop.value.checkpoint == folder / "trials.json"
    assert [trial["state"] for trial in recorded(folder)["trials"]] == ["complete", "interrupted"]
    with caplog.at_level(logging.INFO):
        again = tune_scan(search("cut"), resume=True)
    assert "continuing after 2 trials" in caplog.text
    assert again.output_dir == folder
    kept = [trial for trial in recorded(folder)["trials"] if trial["state"] != "interrupted"]
    for one, other in zip(kept, recorded(whole)["trials"], strict=True):
        assert (one["settings"], one["deviances"]) == (other["settings"], other["deviances"])
    assert recorded(folder)["settings"] == recorded(whole)["settings"]


@pytest.mark.rule("RUN-093")
def test_more_trials_extend_a_search_that_is_complete(search):
    tune_scan(search(trials=1))
    outcome = tune_scan(search(trials=3), resume=True)
    assert len(outcome.tuning.trials) == 3
    assert outcome.tuning.settings == {"refine_dose": True}
    same = tune_scan(search(trials=3), resume=True)
    assert [one.deviance for one in same.tuning.trials] == [one.deviance for one in outcome.tuning.trials]


@pytest.mark.rule("RUN-093")
def test_what_was_stated_stays_so_on_resuming(search, tmp_path):
    tune_scan(search(choose="all", trials=1, likelihood="poisson"))
    folder = tmp_path / "tuned"
    payload = create_tuning_payload(
        None, None, {"trials": 2, "output_dir": folder}, config_file=folder / "resolved_config.json"
    )
    # In the file, everything is stated.
    tuning = tune_scan(payload, resume=True).tuning
    assert "likelihood" not in tuning.space.axes
    assert {"dose", "positions"} <= set(tuning.space.axes)


@pytest.mark.rule("RUN-094")
def test_another_scan_and_another_space_are_refused_on_resuming(search, tmp_path):
    tune_scan(search(trials=1))
    before = (tmp_path / "tuned" / "trials.json").read_bytes()
    other = tmp_path / "other.npz"
    save_scan(other, simulate_scene("random_field", seed=2, **SIZE))
    with pytest.raises(ConfigError, match=r"the scan that the search was started with.*search anew"):
        tune_scan(search(scan=other), resume=True)
    with pytest.raises(ConfigError, match=r"choose.*'likelihood,dose', as the run in"):
        tune_scan(search(choose="likelihood"), resume=True)
    with pytest.raises(ConfigError, match="refine_probe"):
        tune_scan(search(refine_probe=True), resume=True)
    with pytest.raises(ConfigError, match="to resume"):
        tune_scan(search("nothing"), resume=True)
    found = json.loads(before)
    found["space"] = found["space"][:1]
    (tmp_path / "tuned" / "trials.json").write_text(json.dumps(found))
    with pytest.raises(ConfigError, match="the same choice as before"):
        tune_scan(search(), resume=True)


@pytest.mark.rule("RUN-094")
@pytest.mark.parametrize("content", ["", "[]", '{"format": "else", "version": 1}', '{"format": 3}'])
def test_a_record_that_cannot_be_used_is_refused(search, tmp_path, content):
    tune_scan(search(trials=1))
    (tmp_path / "tuned" / "trials.json").write_text(content)
    with pytest.raises(ConfigError, match=r"trials\.json cannot be used"):
        tune_scan(search(), resume=True)


def test_older_results_stay_unless_they_are_to_be_replaced(search):
    tune_scan(search(trials=1))
    with pytest.raises(ConfigError, match=r"--overwrite.*--resume \(resume=True\) goes on with the search"):
        tune_scan(search())
    assert len(tune_scan(search(trials=2), overwrite=True).tuning.trials) == 2


@pytest.mark.rule("REF-065")
def test_a_search_in_which_all_fails_says_why(search, monkeypatch):
    def broken(split, *rest, **more):
        raise FloatingPointError("no finite number")

    monkeypatch.setattr(Split, "fit", broken)
    with pytest.raises(TuningFailed, match=r"number 0 failed: no finite number; the trials are in .*trials"):
        tune_scan(search())


def test_several_scans_are_refused(faulty_file, tiny_scan_file, tmp_path):
    with pytest.raises(ConfigError, match="tune one of them"):
        create_tuning_payload([faulty_file, tiny_scan_file], tmp_path / "x")


def test_a_dark_frame_is_used_and_stated(search, tmp_path):
    path = tmp_path / "dark.npy"
    np.save(path, np.full((32, 32), 5.0))
    outcome = tune_scan(search("dark", trials=1, dark_file=path))
    plain = tune_scan(search("none", trials=1))
    assert outcome.tuning.trials[0].deviance > 1.1 * plain.tuning.trials[0].deviance
    assert f"--dark-file {path}" in outcome.command
