"""Ctrl-C while pictures are enhanced."""

import json
import signal

import pytest
from latent_map.command_line import enhance_jobs
from latent_map.map_estimation.enhance import enhance as enhance_picture

from .sample_files import pixels

LONGER = ("--prior", "niqe", "--steps", "2", "--iterations", "3")


def interrupted_at(iteration, times=1):
    def call(image, backbone, prior, fidelity, settings, show, *rest):
        def interrupt(step):
            if step.row.iteration == iteration:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            show(step)

        return enhance_picture(image, backbone, prior, fidelity, settings, interrupt, *rest)

    return call


@pytest.fixture
def own_handler():
    """A handler of the caller's own, which a command must put back."""

    def handler(*_):
        raise AssertionError("the interruption did not reach the command")

    previous = signal.signal(signal.SIGINT, handler)
    yield handler
    signal.signal(signal.SIGINT, previous)


def test_an_interrupted_run_writes_its_best_and_goes_on_bit_for_bit(
    folder, run, monkeypatch, own_handler
):
    assert run("enhance", "good.png", "-o", "whole.png", *LONGER, "--report", "whole.json")[0] == 0
    resumable = ("enhance", "good.png", "-o", "b.png", *LONGER, "--state", "a.state")
    monkeypatch.setattr(enhance_jobs, "enhance", interrupted_at(2))
    code, out, _ = run(*resumable, "--report", "part.json")
    assert code == 130
    picture, state, report = out.splitlines()
    assert picture.endswith("cancelled")
    assert state == "a.state: the run so far; the same command goes on with it"
    assert report == "part.json: report of good.png"
    assert signal.getsignal(signal.SIGINT) is own_handler
    assert pixels("b.png").shape == (96, 192, 3)
    assert (folder / "a.state").exists()
    monkeypatch.setattr(enhance_jobs, "enhance", enhance_picture)
    assert run(*resumable, "--report", "rest.json")[0] == 0
    assert not (folder / "a.state").exists()
    assert (folder / "b.png").read_bytes() == (folder / "whole.png").read_bytes()
    whole, part, rest = (
        json.loads((folder / f"{name}.json").read_text())["good.png"]
        for name in ("whole", "part", "rest")
    )
    assert rest == whole
    assert part["trace"] == whole["trace"][:3]


def test_a_second_interruption_stops_at_once_and_keeps_the_state(
    folder, run, monkeypatch, own_handler
):
    monkeypatch.setattr(enhance_jobs, "enhance", interrupted_at(1, times=2))
    command = ("enhance", "good.png", "-o", "old.png", *LONGER, "--state", "a.state")
    code, _, err = run(*command)
    assert code == 130
    assert err.endswith("latent-map: stopped\n")
    assert "Traceback" not in err
    assert signal.getsignal(signal.SIGINT) is own_handler
    assert (folder / "old.png").read_bytes() == b"an older picture"
    assert (folder / "a.state").exists()


def test_an_interrupted_folder_keeps_what_is_done(folder, run, monkeypatch):
    for name in ("a.png", "b.png"):
        (folder / "void" / name).write_bytes((folder / "good.png").read_bytes())
    monkeypatch.setattr(enhance_jobs, "enhance", interrupted_at(1))
    code, _, _ = run("enhance", "void", "-o", "out", *LONGER, "--report", "r.json")
    assert code == 130
    assert [path.name for path in (folder / "out").iterdir()] == ["a.png"]
    assert list(json.loads((folder / "r.json").read_text())) == ["a.png"]
