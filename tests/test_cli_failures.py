"""What fails while a command works: one line, and nothing that was done is lost."""

import json
import os
import tempfile

import pytest
import torch
from latent_map.command_line import enhance_jobs
from latent_map.edict import inversion
from latent_map.iqa_priors import prior as prior_module
from latent_map.map_estimation.result import MapResult, NonFiniteError, Status

from .sample_files import QUICK, cuda_out_of_memory, out_of_room, pixels


def torch_out_of_memory(*_):
    torch.empty(10**16)  # raises what torch raises here


def python_out_of_memory(*_):
    raise MemoryError


@pytest.mark.parametrize("fail", [torch_out_of_memory, cuda_out_of_memory, python_out_of_memory])
@pytest.mark.parametrize("command", ["enhance", "invert", "score"])
def test_out_of_memory_names_the_remedy(folder, run, monkeypatch, fail, command):
    module, name = {
        "enhance": (enhance_jobs, "enhance"),
        "invert": (inversion, "invert_picture"),
        "score": (prior_module, "check_prior"),
    }[command]
    monkeypatch.setattr(module, name, fail)
    old = folder / ("old.state" if command == "invert" else "old.png")
    old.write_bytes(b"an older picture")
    output = [] if command == "score" else ["-o", old.name]
    prior = [] if command == "invert" else ["--prior", "niqe"]
    code, out, err = run(command, "good.png", *output, *prior)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert "out of memory" in err
    assert "smaller picture" in err
    assert old.read_bytes() == b"an older picture"


def test_other_errors_about_memory_are_told_as_they_are(folder, run, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nand more")

    monkeypatch.setattr(enhance_jobs, "enhance", fail)
    code, _, err = run("enhance", "good.png", "-o", "b.png", *QUICK)
    assert code == 3
    assert err.count("\n") == 1
    assert "illegal memory access" in err


def test_a_result_that_cannot_be_written_is_kept_elsewhere(folder, run, monkeypatch):
    (folder / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    calls, fsync = [], os.fsync

    def full_once(handle):
        calls.append(handle)
        return out_of_room() if len(calls) == 1 else fsync(handle)

    monkeypatch.setattr(os, "fsync", full_once)
    code, _, err = run("enhance", "good.png", "-o", "old.png", *QUICK)
    assert code == 3
    assert err.count("\n") == 1
    assert "free some space" in err
    (kept,) = (folder / "temporary").rglob("old.png")
    assert str(kept) in err
    assert pixels(kept).shape == (96, 192, 3)
    assert (folder / "old.png").read_bytes() == b"an older picture"


@pytest.mark.parametrize(
    ("command", "old"), [(f"enhance {' '.join(QUICK)}", "old.png"), ("invert", "old.state")]
)
def test_a_full_disk_everywhere_is_named_and_the_old_file_stays(
    folder, run, monkeypatch, command, old
):
    (folder / old).write_bytes(b"an older picture")
    (folder / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    monkeypatch.setattr(os, "fsync", out_of_room)
    code, _, err = run(*command.split(), "good.png", "-o", old, "--steps", "6")
    assert code == 3
    assert err.count("\n") == 1
    assert old in err
    assert "free some space" in err
    assert (folder / old).read_bytes() == b"an older picture"
    assert not list(folder.glob(".latent-map-*"))
    assert not list((folder / "temporary").iterdir())


def test_a_sheet_that_cannot_be_written_costs_neither_picture_nor_report(folder, run, monkeypatch):
    monkeypatch.setattr(enhance_jobs, "write_image", out_of_room)
    extras = ("--sheet", "s.png", "--report", "r.json")
    code, _, err = run("enhance", "good.png", "-o", "b.png", *QUICK, *extras)
    assert code == 3
    assert err.count("\n") == 1
    assert pixels("b.png").shape == (96, 192, 3)
    described = json.loads((folder / "r.json").read_text())["good.png"]
    assert "No space" in described["error"]
    assert len(described["trace"]) == 2


def test_a_comparison_that_fails_costs_neither_picture_nor_report(folder, run, monkeypatch):
    monkeypatch.setattr(enhance_jobs, "comparison_sheet", torch_out_of_memory)
    extras = ("--compare", "c.png", "--report", "r.json")
    code, _, err = run("enhance", "good.png", "-o", "b.png", *QUICK, *extras)
    assert code == 3
    assert "out of memory" in err
    assert pixels("b.png").shape == (96, 192, 3)
    assert len(json.loads((folder / "r.json").read_text())["good.png"]["trace"]) == 2


def test_a_report_that_cannot_be_written_costs_no_picture(folder, run, monkeypatch):
    monkeypatch.setattr(enhance_jobs, "write_atomically", out_of_room)
    code, _, err = run("enhance", "good.png", "-o", "b.png", *QUICK, "--report", "r.json")
    assert code == 3
    assert "No space" in err
    assert pixels("b.png").shape == (96, 192, 3)


@pytest.mark.parametrize("improved", [True, False])
def test_the_best_before_a_breakdown_is_written(folder, run, monkeypatch, improved):
    def fail(image, *_):
        best = MapResult(Status.CANCELLED, image * 0, image * 0, 0, (), improved=improved)
        raise NonFiniteError("quality is not finite: lower the learning rate", best)

    monkeypatch.setattr(enhance_jobs, "enhance", fail)
    code, _, err = run("enhance", "good.png", "-o", "b.png", *QUICK)
    assert code == 3
    assert "learning rate" in err
    assert (folder / "b.png").exists() == improved
