import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from latent_map.__main__ import main
from latent_map.command_line import enhance_jobs
from latent_map.edict import backbones, inversion
from latent_map.edict.backbones import load_backbone
from latent_map.files import state_file
from latent_map.files.state_file import save_state
from latent_map.iqa_priors import pocket as pocket_prior
from latent_map.map_estimation import enhance as map_enhance
from latent_map.map_estimation.enhance import enhance as enhance_picture
from latent_map.map_estimation.result import MapResult, NonFiniteError, Status, TraceRow
from PIL import Image

QUICK = ("--prior", "niqe", "--steps", "2", "--iterations", "1")
loaded_once = functools.cache(load_backbone)


@pytest.fixture(autouse=True)
def one_backbone(monkeypatch):
    monkeypatch.setattr(backbones, "load_backbone", loaded_once)


def photograph(height=96, width=192):
    """Noise with the falling spectrum of photographs."""
    generator = np.random.default_rng(0)
    y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    falling = 1 / np.maximum(np.hypot(y, x), 0.01)
    noise = np.fft.fft2(generator.standard_normal((3, height, width)))
    texture = np.fft.ifft2(noise * falling).real
    array = 128 + 40 * texture / texture.std()
    return array.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Usable and unusable files."""
    folder = tmp_path_factory.mktemp("samples")
    array = photograph()
    Image.fromarray(array).save(folder / "good.png")
    Image.fromarray(array).convert("RGBA").save(folder / "alpha.png")
    Image.fromarray(array[:1, :1]).save(folder / "1x1.png")
    Image.fromarray(np.zeros((5, 20000, 3), np.uint8)).save(folder / "strip.png")
    Image.fromarray(array[:96, :96]).save(folder / "square.png")
    Image.fromarray(array).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.zeros((96, 192), np.uint16)).save(folder / "deep.png")
    Image.fromarray(np.full((96, 192), np.nan, np.float32)).save(folder / "nan.tif")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:20000])
    (folder / "damaged.state").write_bytes(os.urandom(500))
    save_state(folder / "other.state", "something else", {"x": torch.zeros(1)}, {})
    (folder / "old.png").write_bytes(b"an older picture")
    (folder / "void").mkdir()
    return folder


@pytest.fixture
def folder(samples, tmp_path, monkeypatch):
    """The working folder, with the samples in it."""
    shutil.copytree(samples, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command: exit code, stdout, stderr."""

    def call(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def out_of_room(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Bad input: one line, the remedy, nothing loaded, nothing written

BAD_INPUT = [
    ("enhance missing.png -o b.png", "check the name"),
    ("enhance empty.png -o b.png", "empty"),
    ("enhance text.png -o b.png", "no readable picture"),
    ("enhance cut.png -o b.png", "damaged"),
    ("enhance 1x1.png -o b.png", "at least 16 a side"),
    ("enhance strip.png -o b.png", "at least 16 a side"),
    ("enhance good.png -o b.png --prior no_such", "choose from pocket, niqe"),
    ("enhance good.png -o b.png --prior niqe+", "choose from pocket, niqe"),
    ("enhance cmyk.jpg -o b.png", "convert it to RGB"),
    ("enhance deep.png -o b.png", "convert it"),
    ("enhance nan.tif -o b.png", "convert it"),
    ("enhance alpha.png -o b.jpg", "write PNG or WebP"),
    ("enhance good.png -o b.gif", "choose one of"),
    ("enhance good.png -o void", "choose one of"),
    ("enhance good.png -o nowhere/b.png", "no folder nowhere"),
    ("enhance good.png -o good.png", "choose another"),
    ("enhance good.png -o void/../good.png", "choose another"),
    ("enhance good.png -o old.png --report old.png", "choose another"),
    ("enhance good.png -o b.png --report nowhere/r.json", "no folder nowhere"),
    ("enhance good.png -o b.png --report void", "is a folder"),
    ("enhance good.png -o b.png --sheet s.txt", "choose one of"),
    ("enhance good.png -o b.png --sheet good.png", "choose another"),
    ("enhance good.png -o b.png --state nowhere/a", "no folder nowhere"),
    ("enhance good.png -o b.png --state damaged.state", "make it again"),
    ("enhance good.png -o b.png --state old.png", "make it again"),
    ("enhance good.png -o b.png --state other.state", "is needed"),
    ("enhance good.png -o b.png --preset best", "choose from fast, paper"),
    ("enhance good.png -o b.png --fidelity no_such", "choose from low_resolution"),
    ("enhance good.png -o b.png --steps 0", "choose from 1 to 1000"),
    ("enhance good.png -o b.png --lam -0.1", "must be a number, 0 or more"),
    ("enhance good.png -o b.png --lam nan", "must be a number, 0 or more"),
    ("enhance good.png -o b.png --iterations -1", "must be 0 or more"),
    ("enhance good.png -o b.png --iterations many", "--help"),
    ("enhance good.png -o b.png --strength 0", "must lie in (0, 1]"),
    ("enhance good.png -o b.png --memory little", "choose from"),
    ("enhance good.png -o b.png --preset paper --steps 3", "must lie in (0.5, 1]"),
    ("enhance good.png -o b.png --device cuda", "--device cpu"),
    ("enhance good.png -o b.png --device tpu", "choose cpu"),
    ("enhance good.png", "--help"),
    ("enhance void -o out", "no pictures"),
    ("enhance . -o . --prior niqe", "choose another"),
    ("enhance . -o old.png", "choose a folder"),
    ("enhance . -o old.png/out", "choose another"),
    ("enhance . -o out --state a.state", "one picture"),
    ("enhance good.png -o b.png --backbone nowhere", "give a file or folder"),
    ("enhance good.png -o b.png --backbone void --controlnet nowhere", "give a file or folder"),
    ("enhance good.png -o b.png --backbone diffusers:nowhere", "give a file or folder"),
    ("enhance good.png -o b.png --controlnet void", "choose another backbone"),
    ("enhance good.png -o b.png --control-strength 0.5", "choose another backbone"),
    ("enhance good.png -o b.png --backbone seesr:void --controlnet void", "choose another"),
    ("enhance good.png -o b.png --dtype int8", "choose from"),
    ("invert good.png -o a.state --prompt cat", "choose another backbone"),
    ("invert good.png -o a.state --backbone nowhere", "give a file or folder"),
    ("score missing.png", "check the name"),
    ("score 1x1.png", "enlarge"),
    ("score square.png --prior niqe", "enlarge"),
    ("score good.png --prior no_such", "choose from"),
    ("score good.png --device cuda", "--device cpu"),
    ("score void", "no pictures"),
    ("invert empty.png -o a.state", "empty"),
    ("invert 1x1.png -o a.state", "at least 16 a side"),
    ("invert good.png -o a.state --steps 0", "choose from 1 to 1000"),
    ("invert good.png -o a.state --steps 1001", "choose from 1 to 1000"),
    ("invert good.png -o a.state --mixing 0.5", "must lie in (0.5, 1]"),
    ("invert good.png -o a.state --mixing nan", "must lie in (0.5, 1]"),
    ("invert good.png -o a.state --strength 1.5", "must lie in (0, 1]"),
    ("invert good.png -o good.png", "choose another"),
    ("invert good.png -o nowhere/a.state", "make it first"),
    ("invert good.png -o void", "give a file name"),
    ("invert good.png -o a.state --device cuda", "--device cpu"),
    ("reconstruct missing.state -o b.png", "no state file"),
    ("reconstruct damaged.state -o b.png", "make it again"),
    ("reconstruct good.png -o b.png", "make it again"),
    ("reconstruct other.state -o b.png", "is needed"),
    ("reconstruct other.state -o b.txt", "choose one of"),
    ("reconstruct other.state -o other.state", "choose another"),
    ("polish good.png", "--help"),
    ("", "--help"),
]


@pytest.mark.parametrize(("command", "remedy"), BAD_INPUT, ids=[c for c, _ in BAD_INPUT])
def test_bad_input_ends_with_one_line_before_any_work(folder, run, monkeypatch, command, remedy):
    def too_early(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(backbones, "load_backbone", too_early)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    before = contents(folder)
    arguments = command.split()
    if arguments and arguments[0] == "enhance" and "--prior" not in arguments:
        arguments += ["--prior", "niqe"]
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("latent-map: ")
    assert err.count("\n") == 1
    assert remedy in err
    assert contents(folder) == before


def test_a_full_disk_is_noticed_before_any_work(folder, run, monkeypatch):
    monkeypatch.setattr(backbones, "load_backbone", None)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    for command in ("enhance good.png -o old.png --prior niqe", "invert good.png -o old.png"):
        code, _, err = run(*command.split())
        assert code == 2
        assert err.count("\n") == 1
        assert "free some space" in err
    assert (folder / "old.png").read_bytes() == b"an older picture"


def test_a_picture_the_prior_cannot_score_is_refused_before_the_inversion(folder, run, monkeypatch):
    def too_early(*_):
        raise AssertionError("an inversion was begun")

    monkeypatch.setattr(enhance_jobs, "enhance", too_early)
    Image.new("RGB", (192, 96)).save("even.png")
    for name in ("even.png", "square.png"):
        code, _, err = run("enhance", name, "-o", "b.png", *QUICK)
        assert code == 2
        assert "NIQE" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("content", [None, b"", b"damaged" * 20])
@pytest.mark.parametrize("which", ["backbone", "prior"])
def test_unusable_weights_are_named(folder, run, monkeypatch, which, content):
    weights = folder / "weights.safetensors"
    if content is not None:
        weights.write_bytes(content)
    if which == "backbone":
        monkeypatch.setattr(
            backbones, "load_backbone", functools.partial(load_backbone, weights=weights)
        )
    else:
        monkeypatch.setattr(pocket_prior, "WEIGHTS", weights)
    prior = "niqe" if which == "backbone" else "pocket"
    code, _, err = run("enhance", "good.png", "-o", "old.png", "--prior", prior)
    assert code in (2, 3)
    assert err.count("\n") == 1
    assert str(weights) in err
    assert "install" in err or "restore" in err
    assert (folder / "old.png").read_bytes() == b"an older picture"


def test_no_traceback_in_a_process_of_its_own(folder):
    command = [sys.executable, "-m", "latent_map", "score", "missing.png", "--prior", "niqe"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "latent-map: missing.png is no picture file: check the name"
    ]


# Failures while working


def torch_out_of_memory(*_):
    torch.empty(10**16)  # raises what torch raises here


def cuda_out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nSee the manual")


def python_out_of_memory(*_):
    raise MemoryError


@pytest.mark.parametrize("fail", [torch_out_of_memory, cuda_out_of_memory, python_out_of_memory])
@pytest.mark.parametrize("command", ["enhance", "invert", "score"])
def test_out_of_memory_names_the_remedy(folder, run, monkeypatch, fail, command):
    module, name = {
        "enhance": (enhance_jobs, "enhance"),
        "invert": (inversion, "invert_picture"),
        "score": (map_enhance, "check_prior"),
    }[command]
    monkeypatch.setattr(module, name, fail)
    output = [] if command == "score" else ["-o", "old.png"]
    prior = [] if command == "invert" else ["--prior", "niqe"]
    code, out, err = run(command, "good.png", *output, *prior)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1
    assert "out of memory" in err
    assert "smaller picture" in err
    assert (folder / "old.png").read_bytes() == b"an older picture"


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
    "command", [f"enhance good.png -o old.png {' '.join(QUICK)}", "invert good.png -o old.png"]
)
def test_a_full_disk_everywhere_is_named_and_the_old_file_stays(folder, run, monkeypatch, command):
    monkeypatch.setattr(os, "fsync", out_of_room)
    code, _, err = run(*command.split(), *("--steps", "6"))
    assert code == 3
    assert err.count("\n") == 1
    assert "old.png" in err
    assert "free some space" in err
    assert (folder / "old.png").read_bytes() == b"an older picture"
    assert not list(folder.glob(".latent-map-*"))


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


def test_a_report_that_cannot_be_written_costs_no_picture(folder, run, monkeypatch):
    monkeypatch.setattr(state_file, "write_atomically", out_of_room)
    code, _, err = run("enhance", "good.png", "-o", "b.png", *QUICK, "--report", "r.json")
    assert code == 3
    assert "No space" in err
    assert pixels("b.png").shape == (96, 192, 3)


@pytest.mark.parametrize("improved", [True, False])
def test_the_best_before_a_breakdown_is_written(folder, run, monkeypatch, improved):
    def fail(image, *_):
        best = MapResult(Status.CANCELLED, image * 0, image * 0, int(improved), ())
        raise NonFiniteError("quality is not finite: lower the learning rate", best)

    monkeypatch.setattr(enhance_jobs, "enhance", fail)
    code, _, err = run("enhance", "good.png", "-o", "b.png", *QUICK)
    assert code == 3
    assert "learning rate" in err
    assert (folder / "b.png").exists() == improved


# Enhancing


def test_enhancing_writes_the_picture_a_report_and_a_sheet(folder, run):
    extras = ("--report", "r.json", "--sheet", "s.png")
    code, out, err = run("enhance", "good.png", "-o", "b.png", *QUICK, *extras)
    assert (code, err) == (0, "")  # no progress bar without a terminal
    assert out.startswith("b.png: quality 0.")
    assert out.count("\n") == 1
    assert pixels("b.png").shape == (96, 192, 3)
    assert pixels("s.png").shape[1] > 2 * 192
    (described,) = json.loads((folder / "r.json").read_text()).values()
    expected = [
        "status",
        "improved",
        "best_iteration",
        "size",
        "prior",
        "scores",
        "pair_difference",
        "trace",
        "settings",
    ]
    assert list(described) == expected
    assert described["prior"] == "niqe"
    assert described["size"] == [192, 96]
    assert [row["iteration"] for row in described["trace"]] == [0, 1]
    assert described["settings"]["inversion"]["steps"] == 2
    energies = [TraceRow(**row).energy for row in described["trace"]]
    assert described["best_iteration"] == energies.index(min(energies))


def test_the_default_prior_is_the_embedded_one(folder, run):
    code, _, err = run("enhance", "good.png", "-o", "b.png", "--steps", "2", "--iterations", "1")
    assert (code, err) == (0, "")
    code, out, _ = run("score", "good.png", "b.png")
    assert code == 0
    before, after = (float(line.split()[2]) for line in out.splitlines())
    assert after >= before - 1e-3  # b.png is rounded to 8 bits


@pytest.mark.parametrize("nothing", [("--iterations", "0"), ("--lam", "0")])
def test_nothing_to_do_returns_the_picture_exactly(folder, run, nothing):
    code, out, _ = run("enhance", "alpha.png", "-o", "b.png", "--prior", "niqe", *nothing)
    assert code == 0
    assert "nothing to do" in out
    assert np.array_equal(pixels("b.png"), pixels("alpha.png"))


def test_a_folder_goes_on_after_pictures_that_fail(folder, run, monkeypatch):
    (folder / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (folder / "in" / name).write_bytes((folder / "good.png").read_bytes())
    for name in ("empty.png", "1x1.png"):
        (folder / name).rename(folder / "in" / name)
    calls = []

    def fail_once(*arguments):
        calls.append(arguments)
        return cuda_out_of_memory() if len(calls) == 1 else enhance_picture(*arguments)

    monkeypatch.setattr(enhance_jobs, "enhance", fail_once)
    code, out, err = run("enhance", "in", "-o", "new/out", *QUICK, "--report", "r.json")
    assert code == 3
    assert len(out.splitlines()) == 2
    told = err.splitlines()
    assert [next(n for n in ("1x1", "empty", "a.png") if n in line) for line in told] == [
        "1x1",
        "empty",
        "a.png",
    ]
    assert sorted(path.name for path in (folder / "new/out").iterdir()) == ["b.png", "c.png"]
    reports = json.loads((folder / "r.json").read_text())
    assert {name for name, report in reports.items() if "error" in report} == {
        "1x1.png",
        "empty.png",
        "a.png",
    }
    assert "trace" in reports["c.png"]


def test_a_folder_without_a_usable_picture_ends_before_any_work(folder, run, monkeypatch):
    monkeypatch.setattr(backbones, "load_backbone", None)
    (folder / "empty.png").rename(folder / "void" / "empty.png")
    code, _, err = run("enhance", "void", "-o", "out", *QUICK)
    assert code == 2
    assert "none of the pictures" in err.splitlines()[-1]


@pytest.mark.parametrize("names", [("a.png", "a.jpg"), ("a.png", "A.webp")])
def test_pictures_of_one_name_do_not_overwrite_each_other(folder, run, names):
    for name in names:
        Image.fromarray(photograph()).save(folder / "void" / name)
    code, _, err = run("enhance", "void", "-o", "out", *QUICK)
    assert code == 2
    assert err.count("\n") == 1
    assert "rename" in err
    assert all(name in err for name in names)


# Ctrl-C


def interrupted_at(iteration, times=1):
    def call(image, backbone, prior, fidelity, settings, show, *rest):
        def step(found):
            if found.row.iteration == iteration:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            show(found)

        return enhance_picture(image, backbone, prior, fidelity, settings, step, *rest)

    return call


@pytest.fixture
def own_handler():
    """A handler of the caller's own, which a command must put back."""

    def handler(*_):
        raise AssertionError("the interruption did not reach the command")

    previous = signal.signal(signal.SIGINT, handler)
    yield handler
    signal.signal(signal.SIGINT, previous)


LONGER = ("--prior", "niqe", "--steps", "2", "--iterations", "3")


def test_an_interrupted_run_writes_its_best_and_goes_on_bit_for_bit(
    folder, run, monkeypatch, own_handler
):
    assert run("enhance", "good.png", "-o", "whole.png", *LONGER, "--report", "whole.json")[0] == 0
    resumable = ("enhance", "good.png", "-o", "b.png", *LONGER, "--state", "a.state")
    monkeypatch.setattr(enhance_jobs, "enhance", interrupted_at(2))
    code, out, _ = run(*resumable, "--report", "part.json")
    assert code == 130
    assert out.endswith("cancelled\n")
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


# The other commands


def test_scores_go_on_after_pictures_that_fail(folder, run):
    code, out, err = run("score", "empty.png", "good.png", "1x1.png", "--prior", "niqe")
    assert code == 3
    assert [line.split()[:2] for line in out.splitlines()] == [["good.png", "quality"]]
    assert len(err.splitlines()) == 2


def test_combined_priors_print_every_score(folder, run):
    code, out, _ = run("score", "good.png", "--prior", "niqe, pocket")
    assert code == 0
    name, _, quality, first, _, second, _ = out.split()
    assert (name, first, second) == ("good.png", "niqe", "pocket")
    assert 0 <= float(quality) <= 1


@pytest.mark.parametrize("size", [(96, 192), (37, 50)])
def test_inverting_and_reconstructing_gives_the_identical_picture(folder, run, size):
    Image.fromarray(photograph(*size)).save("a.png")
    code, out, err = run("invert", "a.png", "-o", "a.state", "--steps", "6")
    assert (code, err) == (0, "")
    assert float(out.split()[-1]) < 1e-6
    code, _, err = run("reconstruct", "a.state", "-o", "b.png")
    assert (code, err) == (0, "")
    assert np.array_equal(pixels("b.png"), pixels("a.png"))


def test_inverting_warns_of_what_the_state_does_not_keep(folder, run, caplog):
    assert run("invert", "alpha.png", "-o", "a.state", "--steps", "6")[0] == 0
    assert "no alpha channel" in caplog.text


def test_the_version_is_told(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("latent-map ")
    assert out.split()[1][0].isdigit()


def test_a_mask_file_keeps_the_rest_of_the_picture(folder, run):
    with Image.open(folder / "good.png") as picture:
        size = picture.size
        before = np.asarray(picture.convert("RGB"))
    mask = np.zeros(size[::-1], dtype=np.uint8)
    mask[:, : size[0] // 2] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    arguments = ("enhance", folder / "good.png", "-o", folder / "b.png", "--mask")
    assert run(*arguments, folder / "mask.png", "--preset", "pixel_ascent")[0] == 0
    after = np.asarray(Image.open(folder / "b.png").convert("RGB"))
    assert np.array_equal(after[:, size[0] // 2 :], before[:, size[0] // 2 :])
    assert not np.array_equal(after, before)


def test_a_mask_of_another_size_is_refused(folder, run):
    Image.new("L", (7, 9)).save(folder / "mask.png")
    code, _, err = run(
        "enhance",
        folder / "good.png",
        "-o",
        folder / "b.png",
        "--iterations",
        "1",
        "--guard",
        folder / "mask.png",
    )
    assert code == 2
    assert "7x9" in err
    assert not (folder / "b.png").exists()


def test_priors_are_separated_by_commas(folder, run):
    code, out, _ = run("score", folder / "good.png", "--prior", "pocket,niqe")
    assert code == 0
    assert "pocket " in out
    assert "niqe " in out


def test_a_calibration_of_ones_own_moves_the_quality(folder, run):
    own = {"prior": "niqe", "xi3": 100.0, "xi4": 1.0, "lower_better": True}
    (folder / "own.json").write_text(json.dumps(own))
    arguments = ("score", folder / "good.png", "--prior", "niqe", "--calibration")
    code, out, _ = run(*arguments, folder / "own.json")
    assert code == 0
    assert "quality 1.0000" in out
    code, _, err = run("score", folder / "good.png", "--calibration", folder / "own.json")
    assert code == 2
    assert "choose that prior" in err


def test_a_prior_without_files_has_none_to_download(run):
    code, _, err = run("download-prior", "niqe")
    assert code == 2
    assert "choose from" in err


def test_the_tile_is_part_of_the_settings_reported(folder, run):
    arguments = ("enhance", folder / "good.png", "-o", folder / "b.png", "--iterations", "1")
    code, _, _ = run(*arguments, "--tile", "64", "--no-check-gradient", "--report", folder / "r")
    assert code == 0
    settings = json.loads((folder / "r").read_text())["good.png"]["settings"]
    assert settings["inversion"]["tile"] == 64
    assert settings["check_gradient"] is False
