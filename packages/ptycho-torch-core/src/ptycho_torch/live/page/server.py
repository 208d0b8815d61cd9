"""Serves the page of a live scan: one HTML file, its state as JSON, and the object as an array.

``/`` the page, ``/state`` JSON, ``/events`` the same whenever there is a new picture (server-sent events),
``/object.npy`` complex64, ``/view/NAME`` a picture; both are empty (204) before there is an object. Reached
from this machine alone unless a token is given, which every request then states, as ``?token=...`` or in a
header ``Authorization: Bearer ...``.
"""

from __future__ import annotations

import hmac
import io
import ipaddress
import json
import logging
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from ptycho_config import ConfigError, Problem
from ptycho_torch.live.page.views import VIEWS, view_of
from ptycho_torch.live.session import Session

__all__ = ["PageServer"]

logger = logging.getLogger(__name__)

_TIMEOUT_S = 30
_BEAT_S = 1.0
_POLL_S = 0.05
_MOST_LISTENERS = 32
_SHORTEST_TOKEN = 8


class PageServer:
    """Shows a session at an address until it is closed.

    Parameters
    ----------
    session
        What is shown.
    address
        ``HOST:PORT``; port 0 takes a free one.
    token
        Word that every request has to state; None: none, which only this machine is trusted with.

    Attributes
    ----------
    url
        Where the page is.

    Raises
    ------
    ConfigError
        The address is none or taken, or other machines could reach it and there is no token.
    """

    def __init__(self, session: Session, address: str, token: str | None = None) -> None:
        host, _, port = address.rpartition(":")
        host = host.strip("[]") or "localhost"
        if not port.isdigit() or int(port) > 65535:
            raise ConfigError(Problem("serve", address, "HOST:PORT, such as localhost:8000"))
        if token is not None and len(token) < _SHORTEST_TOKEN:
            expected = f"a token of at least {_SHORTEST_TOKEN} characters in PTYCHO_LIVE_TOKEN"
            raise ConfigError(Problem("serve", address, expected))
        self.is_local = _is_loopback(host)
        if not self.is_local and token is None:
            hint = "set PTYCHO_LIVE_TOKEN to a word of at least 8 characters, or serve at localhost"
            raise ConfigError(Problem("serve", address, "a token, because other machines can reach it", hint))
        self.session, self.token = session, token
        self.closing = threading.Event()
        self.listeners = threading.BoundedSemaphore(_MOST_LISTENERS)
        try:
            self._server = _Server((host, int(port)), self)
        except OSError as error:
            raise ConfigError(Problem("serve", address, "an address that is free", str(error))) from error
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="page", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, place: tuple[str, int], page: PageServer) -> None:
        self.page = page
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        super().__init__(place, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is nothing to tell."""
        logger.debug("a request of %s ended", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_S
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if not self._is_welcome(asked.query):
            return
        page, path = self.server.page, asked.path
        if path == "/":
            html = files("ptycho_torch.live.page").joinpath("page.html").read_bytes()
            self._answer(html, "text/html; charset=utf-8")
        elif path == "/state":
            self._answer(_json(page.session.state()), "application/json")
        elif path == "/events":
            self._events()
        elif path == "/object.npy":
            self._object()
        elif path.removeprefix("/view/") in VIEWS:
            self._view(path.removeprefix("/view/"))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there are /, /state, /events, /object.npy and /view/NAME")

    def _is_welcome(self, query: str) -> bool:
        """Whether the request states the token, or needs none; answers it if not."""
        page = self.server.page
        if page.token is None:
            # A page elsewhere could make a browser here ask under another name.
            host = (self.headers.get("Host") or "").rpartition(":")[0].strip("[]")
            if _is_loopback(host):
                return True
            self._refuse(HTTPStatus.FORBIDDEN, "ask under the name localhost")
            return False
        stated = parse_qs(query).get("token", [""])[0]
        stated = stated or (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if hmac.compare_digest(stated.encode(), page.token.encode()):
            return True
        self._refuse(HTTPStatus.UNAUTHORIZED, "state the token: /?token=...")
        return False

    def _answer(self, data: bytes, kind: str, **headers: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        data = f"{why}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _nothing_yet(self) -> None:
        self.send_response(HTTPStatus.NO_CONTENT)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()

    def _object(self) -> None:
        picture = self.server.page.session.picture
        if picture is None:
            self._nothing_yet()
            return
        stream = io.BytesIO()
        np.save(stream, picture.object.object, allow_pickle=False)
        origin = json.dumps([float(value) for value in picture.object.origin])
        self._answer(stream.getvalue(), "application/octet-stream", X_Origin=origin)

    def _view(self, name: str) -> None:
        view = view_of(self.server.page.session, name)
        if view is None:
            self._nothing_yet()
            return
        height, width = view.levels.shape
        about = {"width": width, "height": height, "low": view.low, "high": view.high, "title": view.title}
        self._answer(view.levels.tobytes(), "application/octet-stream", X_About=json.dumps(about))

    def _events(self) -> None:
        page = self.server.page
        if not page.listeners.acquire(blocking=False):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"{_MOST_LISTENERS} pages are open already")
            return
        try:
            self.close_connection = True
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            while not page.closing.is_set():
                self.wfile.write(b"data: " + _json(page.session.state()) + b"\n\n")
                self.wfile.flush()
                page.session.wait(_BEAT_S)
        except OSError:
            pass  # the browser went away
        finally:
            page.listeners.release()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are of no interest, and would show the token."""


def _json(state: dict[str, Any]) -> bytes:
    return json.dumps(state, separators=(",", ":")).encode()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
