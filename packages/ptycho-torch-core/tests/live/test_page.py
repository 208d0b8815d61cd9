"""The page of a live scan: over real sockets, and closed to everybody else."""

from __future__ import annotations

import http.client
import io
import json

import numpy as np
import pytest

from ptycho_config import ConfigError
from ptycho_torch.live.page.server import PageServer
from ptycho_torch.live.scan import LiveScan
from ptycho_torch.live.session import Session


@pytest.fixture
def session(tiny_scan):
    live = LiveScan(probe=tiny_scan.probe, position_unit="px")
    live.add_frames(range(20), tiny_scan.diffraction[:20], tiny_scan.positions[:20])
    made = Session(live, end_after_s=0.05)
    made.run()
    return made


@pytest.fixture
def serve():
    opened = []

    def make(session, address="127.0.0.1:0", token=None):
        opened.append(PageServer(session, address, token))
        return opened[-1]

    yield make
    for page in opened:
        page.close()


def ask(page, path, **headers):
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(page.url.rsplit(":", 1)[1].strip("/")), timeout=10
    )
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read(4096) if path.startswith("/events") else answer.read()
    connection.close()
    return found


@pytest.mark.rule("LIVE-010")
def test_the_page_shows_what_the_session_has(session, serve):
    page = serve(session)
    status, headers, html = ask(page, "/")
    assert (status, headers.get_content_type()) == (200, "text/html")
    # Self-contained: nothing is loaded from anywhere else.
    assert b"http:" not in html
    assert b"https:" not in html
    assert b"src=" not in html
    state = json.loads(ask(page, "/state")[2])
    assert state["counters"]["joined"] == 20
    assert state["ended"] == "nothing more came"
    made = np.load(io.BytesIO(ask(page, "/object.npy")[2]), allow_pickle=False)
    assert np.array_equal(made, session.picture.object.object)
    for name in ("phase", "amplitude", "coverage", "frame"):
        status, headers, levels = ask(page, f"/view/{name}")
        about = json.loads(headers["X-About"])
        assert status == 200
        assert len(levels) == about["width"] * about["height"]
        assert about["low"] < about["high"]
        assert max(levels) == 255
    assert ask(page, "/etc/passwd")[0] == 404
    assert ask(page, "/view/../state")[0] == 404


def test_before_the_first_frame_there_is_nothing_to_show(serve):
    page = serve(Session(LiveScan(position_unit="px")))
    for path in ("/object.npy", "/view/phase", "/view/frame"):
        assert ask(page, path)[::2] == (204, b"")
    assert json.loads(ask(page, "/state")[2])["picture"] == 0


@pytest.mark.rule("LIVE-010")
def test_every_new_picture_is_an_event(session, serve):
    page = serve(session)
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(page.url.rsplit(":", 1)[1].strip("/")), timeout=10
    )
    connection.request("GET", "/events")
    answer = connection.getresponse()
    assert answer.headers.get_content_type() == "text/event-stream"
    first = json.loads(answer.readline().removeprefix(b"data: "))
    assert answer.readline() == b"\n"
    session._take_picture()
    second = json.loads(answer.readline().removeprefix(b"data: "))
    assert second["picture"] == first["picture"] + 1
    connection.close()


@pytest.mark.rule("LIVE-010")
def test_a_page_for_other_machines_needs_a_token(session, serve):
    for address, token in (
        ("0.0.0.0:0", None),
        ("0.0.0.0:0", "short"),
        ("localhost", None),
        ("a:99999", None),
    ):
        with pytest.raises(ConfigError) as caught:
            PageServer(session, address, token)
        assert [problem.field for problem in caught.value.problems] == ["serve"]
    page = serve(session, "0.0.0.0:0", "a-long-word")
    for path, headers in (
        ("/state", {}),
        ("/state?token=another-word", {}),
        ("/state?token=", {}),
        ("/events", {}),
        ("/object.npy", {"Authorization": "Bearer a-long-wor"}),
    ):
        assert ask(page, path, **headers)[0] == 401
    assert ask(page, "/state?token=a-long-word")[0] == 200
    assert ask(page, "/object.npy", Authorization="Bearer a-long-word")[0] == 200


@pytest.mark.rule("LIVE-010")
def test_a_page_of_this_machine_answers_under_its_own_name_alone(session, serve):
    page = serve(session)
    assert ask(page, "/state", Host="localhost:80")[0] == 200
    assert ask(page, "/state", Host="somewhere.example:80")[0] == 403
    assert ask(page, "/state", Host="")[0] == 403


def test_an_address_that_is_taken_is_refused(session, serve):
    page = serve(session)
    with pytest.raises(ConfigError):
        PageServer(session, page.url.removeprefix("http://").strip("/"))
