import http.client
import io
import json
import re
import struct
import threading
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from latent_map.comparison.access import TOKEN_HEADER, Access, access_for
from latent_map.comparison.bare_png import SIGNATURE, bare_png
from latent_map.comparison.server import FILES, LARGEST_BODY, PAGE, SessionServer
from latent_map.comparison.session import Session
from latent_map.comparison.votes import read_votes
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .tiny_study import ENTRANTS, SETTINGS, make_study

ALL = 17


@contextmanager
def running(session, access=Access()):  # noqa: B008
    with SessionServer(session, access, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def session(tmp_path):
    return Session(make_study(tmp_path / "study"), "main", SETTINGS)


@pytest.fixture
def server(session):
    with running(session) as server:
        yield server


def request(server, path, body=None, headers=None, method=None):
    """(status, headers, content) of an answer."""
    port = server.server_address[1]
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": "application/json"} if data is not None else {}
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {**given, **(headers or {})}, method=method
    )
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def post(server, path, body, status=200, **more):
    found, _, content = request(server, path, body, **more)
    assert found == status, content
    return json.loads(content)


def begin(server, name="Anna"):
    return post(server, "/begin", {"observer": name, "viewing": {}})["question"]


def test_the_page_comes_whole_and_with_nothing_from_elsewhere(server):
    for path, (name, kind) in FILES.items():
        status, headers, content = request(server, path)
        assert status == 200
        assert content == (PAGE / name).read_bytes()
        assert headers["Content-Type"].startswith(kind)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert not re.search(rb"https?://", content)
    assert {name for name, _ in FILES.values()} == {file.name for file in PAGE.iterdir()}


def test_a_session_is_answered_over_http(server, session):
    question, seen = begin(server), set()
    while question["trial"] is not None:
        assert set(question["pictures"]) == {"left", "right"}
        seen |= set(question["pictures"].values())
        body = {"observer": "Anna", "trial": question["trial"], "side": "left", "rt_ms": 700.25}
        question = post(server, "/vote", body)["question"]
        assert len(read_votes(session.votes_file).votes) == question["done"] + (
            0 if question["training"] else SETTINGS.training
        )
    assert len(seen) == 2 * ALL  # another address for each picture of each trial


def test_nothing_that_the_page_hears_names_entrants_pictures_or_kinds(server):
    question = begin(server)
    heard = []
    while question["trial"] is not None:
        for address in question["pictures"].values():
            status, headers, content = request(server, address)
            assert status == 200
            heard += [address, str(headers), content.decode("latin-1")]
        body = {"observer": "Anna", "trial": question["trial"], "side": "right", "rt_ms": 1}
        question = post(server, "/vote", body)["question"]
        heard.append(json.dumps(question))
    heard += [request(server, path)[2].decode() for path in FILES]
    for word in (*ENTRANTS, *(f"picture {number}" for number in range(5)), "made by", '"kind"'):
        assert not any(word in text for text in heard), word


def test_pictures_are_bit_exact(server, session):
    addresses = begin(server)["pictures"]
    for side, address in addresses.items():
        shown = Image.open(io.BytesIO(request(server, address)[2]))
        original = Image.open(session.picture("Anna", 0, side))
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(original))


def test_a_picture_that_was_replaced_is_not_shown(server, session, caplog):
    address = begin(server)["pictures"]["left"]
    file = session.picture("Anna", 0, "left")
    content = file.read_bytes()
    file.write_bytes(content + b" ")
    assert request(server, address)[0] == 500
    assert "has changed since session main began" in caplog.text
    file.write_bytes(content)
    assert request(server, address)[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/../server.py", "/page/../../server.py", "/%2e%2e/server.py", "/picture/../votes/main.csv",
     "/picture/..%2f..%2fpairs.csv", "/index.html", "//etc/passwd", "/picture/", "/votes/main.csv",
     "/picture/" + "0" * 32],
)  # fmt: skip
def test_no_other_file_can_be_had(server, path):
    begin(server)
    status, _, content = request(server, path)
    assert status == 404
    assert json.loads(content)["error"] == "missing"


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("localhost:{port}", 200), ("[::1]:{port}", 200), ("LOCALHOST", 200),
     ("evil.example", 403), ("evil.example:{port}", 403), ("127.0.0.1.evil.example", 403),
     ("192.168.0.7", 403), ("", 403), ("[", 403)],
)  # fmt: skip
def test_a_rebound_name_is_refused(server, host, status):
    host = host.format(port=server.server_address[1])
    assert request(server, "/", headers={"Host": host})[0] == status


def test_another_site_may_not_post(server, session):
    body = {"observer": "Eve", "viewing": {}}
    port = server.server_address[1]
    post(server, "/begin", body, 403, headers={"Origin": "http://evil.example"})
    post(server, "/begin", body, 403, headers={"Origin": "null"})
    post(server, "/begin", body, 403, headers={"Origin": "http://["})
    post(server, "/begin", body, 415, headers={"Content-Type": "text/plain"})
    assert not session.progress()
    post(server, "/begin", body, headers={"Origin": f"http://127.0.0.1:{port}"})


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"x" * (LARGEST_BODY + 1), 413), (b"{", 400), (b"[]", 400), (b'"x"', 400), (b"\xff", 400),
     (b"[" * 9000, 400), ({}, 400), ({"observer": 3}, 400), ({"observer": "x" * 201}, 400),
     ({"observer": "Anna", "viewing": []}, 400), ({"observer": "=cmd", "viewing": {}}, 400),
     ({"simulate": ""}, 400), ({"simulate": "../x"}, 400), ({"simulate": 7}, 400)],
)  # fmt: skip
def test_what_is_no_request_is_refused(server, session, body, status):
    assert request(server, "/begin", body)[0] == status
    assert not session.progress()
    begin(server)  # and it goes on


@pytest.mark.parametrize(
    ("change", "status"),
    [({"trial": "0"}, 400), ({"trial": True}, 400), ({"trial": None}, 400), ({"side": "up"}, 400),
     ({"trial": 1}, 409), ({"trial": -1}, 409), ({"trial": 1e9}, 400), ({"observer": "Eve"}, 410)],
)  # fmt: skip
def test_what_is_no_vote_is_refused(server, session, change, status):
    begin(server)
    vote = {"observer": "Anna", "trial": 0, "side": "left", "rt_ms": 5, **change}
    post(server, "/vote", vote, status)
    assert not session.votes_file.exists()


@pytest.mark.parametrize(
    "rt_ms", [None, "fast", -1, 10**400, 1e300, float("nan"), float("inf"), True]
)
def test_a_strange_clock_loses_no_vote(server, session, rt_ms):
    begin(server)
    post(server, "/vote", {"observer": "Anna", "trial": 0, "side": "left", "rt_ms": rt_ms})
    found = read_votes(session.votes_file)
    assert [vote.rt_ms for vote in found.votes] == [None]
    assert not found.flaws


def test_half_a_character_in_what_a_browser_says_keeps_nobody_out(server, session):
    body = b'{"observer": "Anna", "viewing": {"browser": "a \\ud800 b"}}'
    assert request(server, "/begin", body)[0] == 200
    assert "a ? b" in (session.place / "viewing.json").read_text()


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[3]", '[{"time": ""}]', "7"])
def test_a_damaged_list_of_screens_is_told_to_the_experimenter(server, session, caplog, content):
    begin(server)
    (session.place / "viewing.json").write_text(content)
    viewing = {"observer": "Anna", "viewing": {"lux": 5}}
    post(server, "/viewing", viewing, 500)
    assert "viewing.json is damaged" in caplog.text


def test_lengths_that_lie_are_refused(server):
    for length, status in (("-1", 411), ("x", 411), ("9" * 5000, 413), (None, 411)):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        connection.putrequest("POST", "/begin")
        connection.putheader("Content-Type", "application/json")
        if length is not None:
            connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()


def test_observers_do_not_wait_for_each_other(server, session):
    def go_through(name):
        question = begin(server, name)
        while question["trial"] is not None:
            body = {"observer": name, "trial": question["trial"], "side": "left", "rt_ms": 1}
            question = post(server, "/vote", body)["question"]
            post(server, "/vote", body)  # a resend

    names = [f"observer {number}" for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(go_through, names))
    found = read_votes(session.votes_file)
    assert not found.flaws
    assert sorted((vote.observer, vote.trial or 0) for vote in found.votes) == [
        (name, trial) for name in names for trial in range(ALL)
    ]


def test_a_full_disk_loses_nothing_and_says_no_names(server, session, monkeypatch):
    def full(path, vote):
        raise OSError(28, "No space left on device", str(path))

    begin(server)
    vote = {"observer": "Anna", "trial": 0, "side": "left", "rt_ms": 1}
    with monkeypatch.context() as patch:
        patch.setattr("latent_map.comparison.session.append_vote", full)
        failed = post(server, "/vote", vote, 500)
    assert str(session.folder) not in json.dumps(failed)
    assert post(server, "/vote", vote)["question"]["trial"] == 1
    assert len(read_votes(session.votes_file).votes) == 1


def test_other_addresses_need_the_token(session):
    access = access_for("0.0.0.0")
    assert len(access.token) >= 20
    assert access.token not in repr(access)
    with running(session, access) as server:
        assert f"?token={access.token}" in server.url
        assert request(server, "/")[0] == 200  # the page itself says nothing
        body, right = {"observer": "Anna", "viewing": {}}, {TOKEN_HEADER: access.token}
        for headers in ({}, {TOKEN_HEADER: ""}, {TOKEN_HEADER: access.token[:-1]}):
            assert post(server, "/begin", body, 403, headers=headers)["error"] == "token"
        question = post(server, "/begin", body, headers=right)["question"]
        address = question["pictures"]["left"]
        assert request(server, address)[0] == 403
        assert request(server, address, headers=right)[0] == 200
        assert request(server, "/", headers={"Host": "evil.example"})[0] == 403
        assert request(server, "/", headers={"Host": "192.168.0.7:80"})[0] == 200


def test_this_machine_alone_needs_none():
    assert access_for("127.0.0.1").token == access_for("localhost").token == ""
    with pytest.raises(ValueError, match=r"no address of this machine"):
        access_for("not an address")


def chunk(kind, data=b""):
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_bare_png_keeps_the_picture_alone():
    texts, buffer = PngInfo(), io.BytesIO()
    texts.add_text("parameters", "secret prior")
    texts.add_itxt("model", "secret prior", zip=True)
    picture = Image.effect_noise((33, 20), 90).convert("RGB")
    picture.save(buffer, "PNG", pnginfo=texts, exif=b"Exif\0\0MM\0*secret prior")
    content = bare_png(buffer.getvalue() + b"secret prior")
    assert b"secret" not in content
    assert list(Image.open(io.BytesIO(content)).getdata()) == list(picture.getdata())


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a", SIGNATURE, SIGNATURE + chunk(b"IHDR"), SIGNATURE + chunk(b"IEND")[:-1]],
)
def test_what_is_no_png_is_refused(content):
    with pytest.raises(ValueError, match="PNG"):
        bare_png(content)
