"""A live scan as a run: real sockets, real files, a real kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest

from ptycho_config import ConfigError, PyTorchExecutionConfig
from ptycho_torch.config_factory import create_inference_payload, create_refinement_payload
from ptycho_torch.data.formats.npz import load_scan
from ptycho_torch.errors import DataError, ScanWarning
from ptycho_torch.live.keeping import KeptFrames
from ptycho_torch.live.messages import End, Frames, Positions, Start
from ptycho_torch.refine import RefinementInterrupted
from ptycho_torch.workflows import check_sources, infer, refine_scan, run_live


def arrays(folder):
    with np.load(folder / "reconstruction.npz", allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


@pytest.fixture
def probe_file(tmp_path, tiny_scan):
    np.save(tmp_path / "probe.npy", tiny_scan.probe)
    return tmp_path / "probe.npy"


@pytest.fixture(scope="module")
def offline(tmp_path_factory, tiny_scan_file):
    """Arrays of a refinement of the same frames."""
    folder = tmp_path_factory.mktemp("offline") / "refined"
    how = PyTorchExecutionConfig(accelerator="cpu")
    refine_scan(create_refinement_payload(tiny_scan_file, folder, {"refine_epochs": 4}, how), pictures=False)
    return arrays(folder)


@pytest.mark.rule("LIVE-001", "LIVE-003", "LIVE-008")
def test_a_replayed_scan_becomes_the_object_of_refine(sender, messages, live, tiny_scan, offline, probe_file):
    rng = np.random.default_rng(4)
    rows = [*rng.permutation(30), 3, 7]
    rubbish = [[b"no message"], [b"\x80\x04N."]]
    sender.begin([Start(n_frames=32), *messages(tiny_scan, rows), *rubbish, End()])
    outcome = run_live(live(sender.address, probe=probe_file), command=["live"])
    expected = {"reconstruction.npz", "phase.png", "report.html", "resolved_config.json", "live.json"}
    assert {path.name for path in outcome.files} >= expected
    found = arrays(outcome.output_dir)
    for name in ("object", "probe", "positions", "weight", "origin"):
        assert np.array_equal(found[name], offline[name]), name
    record = json.loads((outcome.output_dir / "live.json").read_text())
    assert record["counters"]["received"] == 32
    assert record["counters"]["joined"] == 30
    assert record["counters"]["duplicate"] == 2
    assert record["counters"]["lost"] == 2
    assert sum(record["counters"]["refused"].values()) == 2
    assert record["ended"] == "end message"
    assert record["sources"]["frames"]["messages"] == 36
    assert 0 < record["delay_s"]["p50"] <= record["delay_s"]["p95"]
    assert record["mean_rate_hz"] > 0


def test_with_a_network_the_result_is_that_of_infer(
    sender, messages, live, trained, tiny_scan, tiny_scan_file, tmp_path, cpu
):
    sender.begin([*messages(tiny_scan, range(29, -1, -1)), End()])
    outcome = run_live(live(sender.address, model_path=trained.output_dir, refine_epochs="auto"))
    made = create_inference_payload(
        trained.output_dir, tiny_scan_file, tmp_path / "off", execution_config=cpu()
    )
    offline = infer(made)
    assert np.array_equal(outcome.reconstruction.object, offline.reconstruction.object)
    assert outcome.forward_residual == pytest.approx(offline.forward_residual, rel=1e-6)
    assert np.array_equal(arrays(outcome.output_dir)["probe"], arrays(tmp_path / "off")["probe"])


@pytest.mark.rule("LIVE-002")
def test_positions_come_from_a_table_beside_the_frames(sender, messages, live, tiny_scan, tmp_path):
    table = tmp_path / "stage.csv"
    lines = [f"{row},{x!r},{y!r}\n" for row, (y, x) in enumerate(tiny_scan.positions.tolist())]
    table.write_text("number,x,y\n" + "".join(lines[:10]))

    def slow():
        yield from messages(tiny_scan, placed=False)
        with table.open("a") as stream:
            stream.write("".join(lines[10:20]) + "not,a,line\n" + lines[20][:7])
            stream.flush()
            time.sleep(0.3)
            stream.write(lines[20][7:] + "".join(lines[21:]))
        yield End()

    sender.begin(slow())
    outcome = run_live(live(sender.address, f"csv:{table}", position_unit="px"), pictures=False)
    assert outcome.counters.joined == 30
    assert outcome.counters.refused == {"a line of positions that cannot be read": 1}
    assert np.array_equal(arrays(outcome.output_dir)["positions"], tiny_scan.positions)


def test_a_scan_that_falls_silent_is_over(sender, messages, live, tiny_scan):
    sender.begin(messages(tiny_scan))
    outcome = run_live(live(sender.address, end_after=0.5), pictures=False)
    assert outcome.state["ended"] == "nothing more came"
    assert outcome.counters.joined == 30


def test_a_scan_is_over_when_all_announced_frames_have_come(sender, messages, live, tiny_scan):
    sender.begin([Start(n_frames=30), *messages(tiny_scan)])
    assert run_live(live(sender.address), pictures=False).state["ended"] == "all frames came"


def test_frames_are_cut_around_their_centre(sender, live, tiny_scan, offline, probe_file):
    large = np.zeros((30, 50, 44), dtype=tiny_scan.diffraction.dtype)
    large[:, 9 : 9 + 32, 7 : 7 + 32] = tiny_scan.diffraction[:]
    places = tiny_scan.positions[:, None]
    sent = [Frames(numbers=[row], frames=large[row][None], positions=places[row]) for row in range(30)]
    sender.begin([*sent, End()])
    made = run_live(live(sender.address, crop=32, centre=(25, 23), probe=probe_file), pictures=False)
    assert np.array_equal(made.reconstruction.object, offline["object"])


def test_live_cleans_what_it_is_told_to(sender, messages, live, tiny_scan):
    frames = np.array(tiny_scan.diffraction[:])
    frames[13] = 0
    spoiled = replace(tiny_scan, diffraction=frames, statistics=None)
    sender.begin([*messages(spoiled), End()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScanWarning)
        outcome = run_live(live(sender.address), pictures=False)
    assert len(arrays(outcome.output_dir)["positions"]) == 29
    sender.thread.join()
    sender.begin([*messages(spoiled), End()])
    with pytest.raises(DataError):
        run_live(live(sender.address, name="off", clean="off"), pictures=False)


def test_without_any_frame_nothing_is_left(sender, live, tmp_path):
    sender.begin([Positions(numbers=[1], positions=[[0, 0]]), End()])
    with pytest.raises(DataError):
        run_live(live(sender.address))
    assert not (tmp_path / "live").exists()


_KILLED = """
import sys
from ptycho_config import PyTorchExecutionConfig
from ptycho_torch.config_factory import create_live_payload
from ptycho_torch.workflows import run_live
frames, out, keep, probe = sys.argv[1:]
settings = {"keep_frames": keep, "probe": probe, "refine_epochs": 4}
run_live(create_live_payload(frames, out, settings, PyTorchExecutionConfig(accelerator="cpu")))
"""


@pytest.mark.rule("LIVE-006", "LIVE-009")
def test_a_killed_run_takes_up_what_it_kept(sender, messages, live, tiny_scan, offline, probe_file, tmp_path):
    keep = tmp_path / "kept"
    parted = sender.socket.get_monitor_socket(sender.zmq.EVENT_DISCONNECTED)
    script = [
        sys.executable,
        "-c",
        _KILLED,
        sender.address,
        str(tmp_path / "live"),
        str(keep),
        str(probe_file),
    ]
    with subprocess.Popen(script) as killed:
        sender.begin([Start(n_frames=30), *messages(tiny_scan, range(20))])
        until = time.monotonic() + 180
        numbers = keep / "numbers.i8"
        while time.monotonic() < until and not (numbers.exists() and numbers.stat().st_size == 160):
            time.sleep(0.02)
        assert numbers.stat().st_size == 160
        killed.send_signal(signal.SIGKILL)
    # What is sent to a receiver that has just died is lost, as over every PUSH socket.
    assert parted.poll(10_000)
    # Half a frame, as a killed process may leave it.
    with (keep / "frames.npy").open("ab") as stream:
        stream.write(b"half a frame")
    sender.thread.join()
    sender.begin(messages(tiny_scan, range(20, 30)))
    outcome = run_live(live(sender.address, keep_frames=keep, probe=probe_file, end_after=60), pictures=False)
    assert outcome.state["ended"] == "all frames came"
    assert outcome.counters.received == outcome.counters.joined == 30
    assert np.array_equal(arrays(outcome.output_dir)["object"], offline["object"])
    assert sorted(path.name for path in keep.iterdir()) == ["scan.npz"]
    assert np.array_equal(load_scan(keep / "scan.npz").diffraction, tiny_scan.diffraction)
    with pytest.raises(ConfigError) as caught:
        KeptFrames(keep)
    assert [problem.field for problem in caught.value.problems] == ["keep_frames"]


def test_kept_frames_of_another_size_are_refused(tmp_path, live, sender):
    kept = KeptFrames(tmp_path / "kept")
    kept.make_store(16, np.dtype("u2")).append(np.zeros((16, 16), dtype=np.uint16))
    kept.frame(0)
    kept.close()
    with pytest.raises(DataError):
        run_live(live(sender.address, keep_frames=tmp_path / "kept", crop=32))


# The second one is what nobody has thought of: it is no end of the scan that was meant either.
@pytest.mark.parametrize("error", [OSError("the connection broke"), KeyError("the connection broke")])
def test_a_source_that_fails_ends_the_scan_with_what_came(
    sender, messages, live, tiny_scan, monkeypatch, error
):
    from ptycho_torch.live.sources import own_message

    receive = own_message._OwnMessages.receive

    def fail_in_the_end(self, timeout_s):
        found = receive(self, timeout_s)
        if any(isinstance(message, End) for message in found):
            raise error
        return found

    monkeypatch.setattr(own_message._OwnMessages, "receive", fail_in_the_end)

    def spaced():
        yield from messages(tiny_scan)
        time.sleep(0.3)
        yield End()

    sender.begin(spaced())
    with pytest.warns(ScanWarning, match="the connection broke"):
        outcome = run_live(live(sender.address), pictures=False)
    assert outcome.state["ended"] == "a source failed"
    assert outcome.counters.joined == 30


@pytest.mark.rule("RUN-024", "LIVE-008")
def test_what_the_last_refinement_reached_is_kept_when_it_is_ended(
    sender, messages, live, tiny_scan, tmp_path
):
    def stop(done, total, residual):
        if done == 2:
            raise KeyboardInterrupt

    sender.begin([*messages(tiny_scan), End()])
    keep = tmp_path / "kept"
    with pytest.raises(RefinementInterrupted) as stopped:
        run_live(live(sender.address, keep_frames=keep), pictures=False, progress=stop)
    assert stopped.value.result.n_epochs == 2
    kept = stopped.value.checkpoint
    assert kept == tmp_path / "live" / "reconstruction.npz"
    assert np.array_equal(arrays(kept.parent)["object"], stopped.value.result.object.object)
    assert [path.name for path in keep.iterdir()] == ["scan.npz"]


def test_check_says_who_is_silent(sender, messages, live, tiny_scan, tmp_path):
    sender.begin(messages(tiny_scan, range(3)))
    heard = check_sources(live(sender.address, f"csv:{tmp_path / 'none.csv'}"), wait_s=0.6)
    assert [(one.gives, one.n_messages > 0) for one in heard] == [("frames", True), ("positions", False)]
    assert "none.csv" in heard[1].sentence
    assert "32 x 32 px uint16" in heard[0].sentence
