"""The page of a session in Chromium, by keys and by clicks."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from latent_map.comparison.access import Access
from latent_map.comparison.server import SessionServer
from latent_map.comparison.session import Session
from latent_map.comparison.votes import read_votes
from PIL import Image

from .tiny_study import ENTRANTS, SETTINGS, make_study

HERE = Path(__file__).parent
PLAYWRIGHT = os.environ.get("PLAYWRIGHT_CORE", "~/canvas/node_modules/playwright-core")
NEEDED = [
    shutil.which("node"),
    shutil.which(os.environ.get("CHROMIUM", "/usr/bin/chromium")),
    Path(PLAYWRIGHT).expanduser().exists(),
]
if not all(NEEDED):
    pytest.skip(
        "session page: NOT RUN (node, chromium or playwright-core is missing)",
        allow_module_level=True,
    )
ALL = 11  # trials of two pictures: 2 to practise, 6 pairs, 2 traps, 1 repeat
SECONDS = 120


@contextmanager
def running(session, access=Access()):  # noqa: B008
    with SessionServer(session, access, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def session(tmp_path):
    return Session(make_study(tmp_path / "study", pictures=2), "main", SETTINGS)


@pytest.fixture
def browse(session):
    with running(session) as server:
        yield lambda scenario, *file: go_through(server.url, scenario, *file)


def go_through(url, scenario, *file):
    command = ["node", HERE / "session_page.mjs", url, scenario, *map(str, file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def served_apart(session, port):
    """A server in a process of its own, which can be killed."""
    code = (
        "import sys; from pathlib import Path; from latent_map.comparison.access import Access\n"
        "from latent_map.comparison.server import SessionServer\n"
        "from latent_map.comparison.session import Session\n"
        "from latent_map.comparison.session_settings import SessionSettings\n"
        f"settings = SessionSettings(**{asdict(session.settings)})\n"
        f"session = Session(Path({str(session.folder)!r}), {session.name!r}, settings)\n"
        f"server = SessionServer(session, Access(), {port})\n"
        "print('serving', flush=True); server.serve_forever()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == "serving\n"
        yield process
    finally:
        process.kill()
        process.wait()


def votes_of(session):
    found = read_votes(session.votes_file)
    assert not found.flaws
    return found.votes


def trials_answered(session, observer):
    return [vote.trial for vote in votes_of(session) if vote.observer == observer]


def sides_chosen(session):
    other = {"left": "right", "right": "left"}
    return [vote.side if vote.is_a_selected else other[vote.side] for vote in votes_of(session)]


def test_a_session_by_keys(browse, session):
    found = browse("keys")
    assert found["errors"] == []
    assert found["screen"] == "end"
    assert "Thank you" in found["end"]
    assert found["headings"] == [
        "First, some to practise on",
        "Now for the study",
        "Time for a break",
    ]
    assert trials_answered(session, "Kay") == list(range(ALL))
    assert sides_chosen(session) == [("left", "right")[number % 2] for number in range(ALL)]
    assert all(0 < (vote.rt_ms or 0) < 60_000 for vote in votes_of(session))
    for word in (*ENTRANTS, "picture 0", "picture 1", "trap"):
        assert word not in found["html"]
        assert not any(word.replace(" ", "%20") in address for address in found["asked"])
    assert len({address.split("/")[2] for address in found["asked"]}) == 1  # it works offline


def test_a_session_by_double_clicks(browse, session):
    found = browse("clicks")
    assert found["errors"] == []
    assert found["screen"] == "end"
    assert trials_answered(session, "Cleo") == list(range(ALL))
    assert sides_chosen(session) == [("left", "right")[number % 2] for number in range(ALL)]


def test_a_reload_in_the_middle(browse, session):
    found = browse("reload")
    assert found["errors"] == []
    assert found["back"]["headings"][0] == "Welcome back, Rae"
    assert found["screen"] == "end"
    assert trials_answered(session, "Rae") == list(range(ALL))


def test_two_observers_at_once(browse, session):
    found = browse("together")
    assert found == {"screens": ["end", "end"], "errors": []}
    assert trials_answered(session, "Ada") == list(range(ALL))
    assert trials_answered(session, "Bob") == list(range(ALL))


def test_one_observer_in_two_windows(browse, session):
    found = browse("twice")
    assert "Twin has begun here already" in found["question"] or "twin" in found["question"]
    assert found["screen"] == "end"
    assert trials_answered(session, "Twin") == list(range(ALL))


@pytest.mark.parametrize("ratio", [1, 2])
def test_pictures_are_shown_pixel_by_pixel(browse, session, tmp_path, ratio):
    found = browse(f"pixels{ratio}", tmp_path / "shot.png")
    assert "refused" not in found
    screen = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB"))
    for side, place in found["places"].items():
        x, y, width, height = (round(value) for value in place)
        assert place == pytest.approx([x, y, width, height], abs=1e-3)
        file = session.picture(f"observer at {ratio}", found["trial"], side)
        original = np.asarray(Image.open(file).convert("RGB"))
        assert (height, width) == original.shape[:2]
        np.testing.assert_array_equal(screen[y : y + height, x : x + width], original)
        around = screen[y - 20 : y + height + 20, x - 10 : x]
        assert (around == 127).all()  # neutral grey beside the pictures


def test_a_ratio_that_cannot_be_undone_is_refused(browse, session):
    found = browse("ratio")
    assert found["errors"] == []
    assert "1.25" in found["refused"]
    assert "Ctrl" in found["refused"]
    assert "80\u00a0%" in found["refused"]  # 1.25 times 80 % is 1
    assert found["blank"] == "blank"
    assert trials_answered(session, "Zoe") == [0, 1]


def test_a_system_that_scales_is_refused(browse):
    refused = browse("scaled")["refused"]
    assert "1.5;" in refused
    assert "67\u00a0%" in refused


def test_a_picture_that_is_drawn_in_another_size_is_refused(browse, session):
    assert "48 × 48 pixels on 24 × 24" in browse("emulated")["refused"]  # noqa: RUF001
    assert not session.votes_file.exists()


def test_a_window_that_is_too_small_is_refused(browse, session):
    found = browse("room")
    assert found["errors"] == []
    assert "need 128 " in found["refused"]  # twice 48 and the gap
    assert "has 120 " in found["refused"]
    assert trials_answered(session, "Roo") == [0, 1, 2]


def test_a_pause_hides_the_pictures_and_takes_no_answer(browse, session):
    found = browse("pause")
    assert found["heading"] == "Paused"
    assert trials_answered(session, "Paul") == [0, 1, 2, 3]


def test_a_chinese_browser_is_addressed_in_chinese(browse, session):
    found = browse("chinese")
    assert found["errors"] == []
    language, text = found["chinese"]
    assert language == "zh-CN"
    assert "哪一张图片更好" in text
    assert found["english"][0] == "en"
    assert "Which picture looks better?" in found["english"][1]
    assert list(session.progress()) == ["观察者 7"]


def test_everything_has_a_name_for_screen_readers_and_is_reached_by_keys(browse, session):
    found = browse("labels")
    assert found.pop("spoken").startswith("Training, pair 2 of 2")
    assert found.pop("reached") == "right"
    assert set(found.values()) == {1}
    assert sides_chosen(session) == ["left", "right"]


def test_a_robot_answers_through_the_page(session, tmp_path, browse):
    assert browse("robot")["errors"] == []
    votes = votes_of(session)
    assert [vote.trial for vote in votes] == list(range(ALL))
    assert {vote.observer for vote in votes} == {"robot-7"}
    # a worsened copy has less contrast
    assert all(vote.is_a_selected for vote in votes if vote.kind == "trap")
    other = Session(make_study(tmp_path / "again", pictures=2), "main", SETTINGS)
    with running(other) as server:
        go_through(server.url, "robot")
    assert [vote.is_a_selected for vote in votes_of(other)] == [v.is_a_selected for v in votes]


def test_a_server_that_comes_back_gets_the_answer(session):
    port = free_port()
    with served_apart(session, port) as server:
        process = subprocess.Popen(
            ["node", HERE / "session_page.mjs", f"http://127.0.0.1:{port}/", "restart"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        server.kill()
    process.stdin.write("killed\n")
    process.stdin.flush()
    assert process.stdout.readline() == "refused\n"
    with served_apart(session, port):
        found = json.loads(process.communicate(timeout=SECONDS)[0])
    assert "not saved yet" in found["told"]
    assert found["screen"] == "end"
    assert trials_answered(session, "Stan") == list(range(ALL))


def test_a_picture_that_cannot_be_had_is_told_and_tried_again(session):
    session.begin("Mia", resume=False, viewing={})
    file = session.picture("Mia", 0, "right")
    away = file.rename(file.with_suffix(".away"))
    with running(session) as server:
        command = ["node", HERE / "session_page.mjs", server.url, "missing"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline() == "told\n"
        away.rename(file)
        found = json.loads(process.communicate(timeout=SECONDS)[0])
    assert "cannot be loaded" in found["told"]
    assert found["hidden"]
    assert trials_answered(session, "Mia") == [0]


def test_with_a_token_the_page_works_and_without_it_does_not(session):
    access = Access("localhost", "a token of twenty signs")
    with running(session, access) as server:
        found = go_through(server.url.replace(" ", "%20"), "token")
    assert found["errors"] == []
    assert "token" not in found["address"]  # it has left the address bar
    assert trials_answered(session, "Tom") == [0, 1]
    assert "whole link" in found["refused"]
    assert list(session.progress()) == ["Tom"]
