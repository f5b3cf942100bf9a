"""The server of a session: the page, the pictures under addresses that say nothing, the votes."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from ..files.json_files import parse_text
from ..files.windows_names import WINDOWS
from .access import TOKEN_HEADER, Access
from .bare_png import bare_png
from .session import Question, RefusedError, Session

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("page")
# A dictionary, not a folder: what is not in it cannot be asked for.
FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/texts.js": ("texts.js", "text/javascript"),
    "/pixels.js": ("pixels.js", "text/javascript"),
    "/pictures.js": ("pictures.js", "text/javascript"),
    "/requests.js": ("requests.js", "text/javascript"),
    "/robot.js": ("robot.js", "text/javascript"),
}
PICTURE = "/picture/"
LARGEST_BODY = 16_384  # bytes; a vote has 100
IDLE_SECONDS = 60
STATUS = {"unknown": HTTPStatus.GONE, "taken": HTTPStatus.CONFLICT, "order": HTTPStatus.CONFLICT}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Side = Literal["left", "right"]
Body = Mapping[str, Any]


class _Shown(NamedTuple):
    observer: str
    number: int
    side: Side


class _Rejection(Exception):  # noqa: N818 - it is an answer
    """An answer other than what was asked for."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class SessionServer(ThreadingHTTPServer):
    """Serves one session until it is shut down."""

    daemon_threads = True
    # On Windows it would let a second server listen at the same port.
    allow_reuse_address = not WINDOWS

    def __init__(self, session: Session, access: Access, port: int) -> None:
        """Listen; requests are answered once `serve_forever` runs.

        Args:
            port: 0 takes any that is free.
        Raises: OSError if the port is taken or the address is not this machine's.
        """
        self.session, self.access = session, access
        self._key = secrets.token_bytes(32)
        self._shown: dict[str, _Shown] = {}
        if ":" in access.address:
            self.address_family = socket.AF_INET6
        super().__init__((access.address, port), _Handler)

    @property
    def url(self) -> str:
        """What to open in a browser, with the token if one is needed."""
        host = self.access.address
        if host in ("0.0.0.0", "::"):
            host = socket.gethostname()
        host = f"[{host}]" if ":" in host else host
        query = f"?token={self.access.token}" if self.access.token else ""
        return f"http://{host}:{self.server_address[1]}/{query}"

    def address_of(self, observer: str, number: int, side: Side) -> str:
        """The address of a picture: it names nothing, and is another one in every trial."""
        text = json.dumps([observer, number, side]).encode()
        token = hmac.new(self._key, text, hashlib.sha256).hexdigest()[:32]
        self._shown[token] = _Shown(observer, number, side)
        return f"{PICTURE}{token}"

    def picture(self, token: str) -> bytes:
        """The picture of an address that was given out, without texts that might name its maker.

        Raises: KeyError if there is no such address; ValueError, OSError if its file has changed.
        """
        return bare_png(self.session.content(*self._shown[token]))


def _begin(server: SessionServer, body: Body) -> dict[str, Any]:
    viewing = body.get("viewing", {})
    if not isinstance(viewing, dict):
        raise _bad("viewing is no object")
    if (seed := body.get("simulate")) is not None:
        observer = server.session.begin_robot(_text(body, "simulate") if seed else "", viewing)
    else:
        name, resume = _text(body, "observer"), body.get("resume") is True
        observer = server.session.begin(name, resume, viewing)
    return {"observer": observer, **_asked(server, observer, server.session.question(observer))}


def _vote(server: SessionServer, body: Body) -> dict[str, Any]:
    observer, number, side = _text(body, "observer"), body.get("trial"), body.get("side")
    if not isinstance(number, int) or isinstance(number, bool) or side not in ("left", "right"):
        raise _bad("a vote has a trial, which is a number, and a side, left or right")
    return _asked(server, observer, server.session.vote(observer, number, side, body.get("rt_ms")))


def _viewing(server: SessionServer, body: Body) -> dict[str, Any]:
    if not isinstance(body.get("viewing"), dict):
        raise _bad("viewing is no object")
    server.session.look_again(_text(body, "observer"), body["viewing"])
    return {}


ACTIONS: dict[str, Callable[[SessionServer, Body], dict[str, Any]]] = {
    "/begin": _begin,
    "/vote": _vote,
    "/viewing": _viewing,
}


def _asked(server: SessionServer, observer: str, question: Question) -> dict[str, Any]:
    """A question as the page hears it: it cannot tell a trap or a repeat from any other."""

    def addresses(number: int | None) -> dict[str, str] | None:
        if number is None:
            return None
        sides: tuple[Side, Side] = ("left", "right")
        return {side: server.address_of(observer, number, side) for side in sides}

    told = {**asdict(question), "pictures": addresses(question.trial)}
    return {"question": {**told, "next_pictures": addresses(question.ahead)}}


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or len(value) > 200:
        raise _bad(f"{name} is no short text")
    return value


def _bad(message: str) -> _Rejection:
    return _Rejection(HTTPStatus.BAD_REQUEST, "bad", message)


class _Handler(BaseHTTPRequestHandler):
    server: SessionServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "latent-map", ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def _get(self) -> None:
        path = urlsplit(self.path).path
        if path in FILES:
            name, kind = FILES[path]
            self._send((PAGE / name).read_bytes(), f"{kind}; charset=utf-8")
            return
        self._check_token()
        try:
            picture = self.server.picture(path.removeprefix(PICTURE))
        except KeyError:
            raise _Rejection(HTTPStatus.NOT_FOUND, "missing", "there is no such page") from None
        self._send(picture, "image/png")

    def _post(self) -> None:
        self._check_token()
        action = ACTIONS.get(self.path)
        if action is None:
            raise _Rejection(HTTPStatus.NOT_FOUND, "missing", "there is no such page")
        self._send_json(action(self.server, self._body()))

    def _answered(self, work: Callable[[], None]) -> None:
        try:
            self._check_sender()
            work()
        except _Rejection as error:
            self._fail(error.status, error.code, str(error))
        except RefusedError as error:
            self._fail(STATUS.get(error.code, HTTPStatus.BAD_REQUEST), error.code, str(error))
        except ConnectionError:
            self.close_connection = True
        except (OSError, ValueError) as error:
            # It names files and so entrants: for the experimenter, not for the page.
            log.error("%s", error)
            self._fail(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "server",
                "the server could not do that: see its log",
            )

    def _check_sender(self) -> None:
        host = self.headers.get("Host", "")
        if not self.server.access.knows_host(host):
            raise _Rejection(HTTPStatus.FORBIDDEN, "host", "this server does not go by that name")
        if not self.server.access.knows_origin(self.headers.get("Origin"), host):
            raise _Rejection(HTTPStatus.FORBIDDEN, "origin", "another site may not ask this server")

    def _check_token(self) -> None:
        if not self.server.access.knows_token(self.headers.get(TOKEN_HEADER)):
            raise _Rejection(HTTPStatus.FORBIDDEN, "token", "the token is missing or wrong")

    def _body(self) -> Body:
        # Other sites can send a form here unasked, but not JSON.
        if self.headers.get_content_type() != "application/json":
            raise _Rejection(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "bad", "send application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _Rejection(HTTPStatus.LENGTH_REQUIRED, "bad", "say how long it is")
        if int(length[:12]) > LARGEST_BODY:
            raise _Rejection(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "bad", f"at most {LARGEST_BODY} bytes"
            )
        try:
            body = parse_text(self.rfile.read(int(length)), "the body")
        except ValueError:
            raise _bad("it is not JSON") from None
        if not isinstance(body, dict):
            raise _bad("it is no JSON object")
        return body

    def _send_json(self, content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _fail(self, status: HTTPStatus, code: str, message: str) -> None:
        # What is left of a body that was not read would be taken for the next request.
        self.close_connection = True
        self._send_json({"error": code, "message": message}, status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
