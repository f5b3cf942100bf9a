"""A study from its pictures to the page, by the command line."""

import json
import signal
import subprocess
import sys
import urllib.request

import pytest
from latent_map.__main__ import main
from latent_map.comparison.votes import read_votes

from .study_files import write_ready_study

SECONDS = 60  # a process that imports torch, on a busy machine


@pytest.fixture
def study(tmp_path):
    file = write_ready_study(tmp_path)
    file.write_text(file.read_text() + "\n[session]\ntraining = 1\ntraps = 1\n")
    for command in ("run", "select"):
        assert main(["study", command, str(file)]) == 0
    return file


def serve(study, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "latent_map", "study", "serve", str(study), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def address(process):
    """What the server says is to be opened."""
    assert process.stdout
    _, line = process.stdout.readline(), process.stdout.readline()
    assert line.startswith("open http://127.0.0.1:")
    return line.split()[1]


def post(url, path, **body):
    asked = urllib.request.Request(
        url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
        return json.loads(answer.read())["question"]


def test_a_study_is_served_once_and_goes_on(study):
    first = serve(study, "--port", "0", "--session", "monday")
    try:
        url = address(first)
        question = post(url, "begin", observer="Anna", viewing={})
        post(url, "vote", observer="Anna", trial=question["trial"], side="left", rt_ms=800)

        second = serve(study, "--port", "0", "--session", "tuesday")
        out, err = second.communicate(timeout=SECONDS)
        assert (second.returncode, out) == (2, "")
        assert "is served already" in err
        assert url in err
        assert len(err.splitlines()) == 1
    finally:
        first.kill()  # as hard as can be: the lock must not stay
        first.communicate()

    again = serve(study, "--port", "0", "--session", "monday")
    url = address(again)
    question = post(url, "begin", observer="Anna", resume=True, viewing={})
    while question["trial"] is not None:
        body = {"observer": "Anna", "trial": question["trial"], "side": "right", "rt_ms": 500}
        question = post(url, "vote", **body)
    again.send_signal(signal.SIGINT)
    out, err = again.communicate(timeout=SECONDS)
    assert (again.returncode, err) == (0, "")
    assert "1 observers, 1 of them to the end" in out
    found = read_votes(study.parent / "study" / "votes", entrants=("input", "other"))
    assert not found.flaws
    kinds = [vote.kind for vote in found.votes]
    # three pictures of one pair; of so few none is repeated
    assert (kinds.count("training"), kinds.count("study"), kinds.count("trap")) == (1, 3, 1)
    assert [vote.trial for vote in found.votes] == list(range(5))


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--port", "99999"], "from 0 to 65535"),
        (["--address", "no such machine"], "no address of this machine"),
        (["--session", "../x"], "ASCII letters"),
        ([], "study select first"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(tmp_path, capsys, more, complaint):
    file = write_ready_study(tmp_path)
    (tmp_path / "study").mkdir()
    assert main(["study", "serve", str(file), *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_a_study_without_results_is_refused(tmp_path, capsys):
    assert main(["study", "serve", str(write_ready_study(tmp_path))]) == 2
    assert "study run first" in capsys.readouterr().err
