"""What cannot be used: one line, the remedy, nothing loaded, nothing written."""

import functools
import subprocess
import sys

import pytest
import torch
from latent_map.command_line import enhance_jobs
from latent_map.edict import backbones
from latent_map.edict.backbones import load_backbone
from latent_map.iqa_priors import pocket as pocket_prior
from PIL import Image

from .sample_files import QUICK, contents

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
    ("enhance good.png -o void", "is a folder: give a file name"),
    ("enhance good.png -o b", "name without a suffix: choose one of"),
    ("enhance . -o b.png", "choose a folder's name"),
    ("enhance good.png -o b.png --state a.png", "as in a.state"),
    ("enhance good.png -o b.png --report r.jpg", "as in r.json"),
    ("enhance good.png -o b.png --mask void", "is a folder and no picture file"),
    ("invert good.png -o a.png", "as in a.state"),
    ("calibrate --prior niqe --folder . -o f.webp", "as in f.json"),
    ("enhance good.png -o nowhere/b.png", "no folder nowhere"),
    ("enhance good.png -o good.png", "choose another"),
    ("enhance good.png -o void/../good.png", "choose another"),
    ("enhance good.png -o old.png --report old.png", "choose another"),
    ("enhance good.png -o b.png --report nowhere/r.json", "no folder nowhere"),
    ("enhance good.png -o b.png --report void", "is a folder"),
    ("enhance good.png -o b.png --sheet s.txt", "choose one of"),
    ("enhance good.png -o b.png --sheet good.png", "choose another"),
    ("enhance good.png -o b.png --compare s.txt", "choose one of"),
    ("enhance good.png -o b.png --compare good.png", "choose another"),
    ("enhance good.png -o b.png --compare b.png", "choose another"),
    ("enhance good.png -o b.png --compare nowhere/c.png", "no folder nowhere"),
    ("enhance . -o out --compare c.png", "one picture"),
    ("enhance good.png -o b.png --state nowhere/a", "no folder nowhere"),
    ("enhance good.png -o b.png --state damaged.state", "make it again"),
    ("enhance good.png -o b.png --state other.state", "is needed"),
    ("enhance good.png -o b.png --preset best", "choose from fast, gentle, strong, turbo, paper"),
    ("enhance good.png -o b.png --fidelity no_such", "choose from low_resolution"),
    ("enhance good.png -o b.png --steps 0", "choose from 1 to 1000"),
    ("enhance good.png -o b.png --lam -0.1", "must be a number, 0 or more"),
    ("enhance good.png -o b.png --lam nan", "must be a number, 0 or more"),
    ("enhance good.png -o b.png --lam 1e39", "up to 1e+06"),
    ("enhance good.png -o b.png --lam 1e300", "up to 1e+06"),
    ("enhance good.png -o b.png --iterations -1", "must be 0 or more"),
    ("enhance good.png -o b.png --iterations many", "--help"),
    ("enhance good.png -o b.png --strength 0", "must lie in (0, 1]"),
    ("enhance good.png -o b.png --memory little", "choose from"),
    ("enhance good.png -o b.png --preset paper --mixing 0.4", "0.93 works"),
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
    ("enhance good.png old.png -o b.png", "several pictures as a folder"),
    ("enhance good.png -o b.png --learning-rate 3", "latent-map enhance --help"),
    ("study prepare a.toml --what", "latent-map study prepare --help"),
    ("enhance good.png -o b.png --tile large", "pixels, auto or none"),
    ("enhance good.png -o b.png --tile 0", "pixels, auto or none"),
    ("enhance good.png -o b.png --prior niqe,", "several as in A,B"),
    ("enhance good.png -o b.png --typicality 1e7", "up to 1e+06"),
    ("enhance good.png -o b.png --expectation inf", "up to 1e+06"),
    ("enhance good.png -o b.png --preset paper --seed 3", "--seed changes nothing"),
    ("enhance good.png -o b.png --preset paper --draws 3", "--draws changes nothing"),
    ("enhance good.png -o b.png --start input --blend 0.5", "--blend changes nothing"),
    ("enhance good.png -o b.png --preset pixel_map --steps 3", "--steps changes nothing"),
    ("enhance good.png -o b.png --preset pixel_map --mixing 0.9", "--mixing changes nothing"),
    ("enhance good.png -o b.png --preset pixel_map --bijection bdia", "changes nothing"),
    ("enhance good.png -o b.png --preset no_fidelity --fidelity mse", "--fidelity changes"),
    ("enhance good.png -o b.png --preset no_fidelity --guard good.png", "--guard changes"),
    ("enhance good.png -o b.png --backbone void --negative a", "changes nothing without --cfg"),
    ("invert good.png -o a.state --backbone void --negative a --cfg 1", "without --cfg"),
    ("invert good.png -o a.state --backbone void --control-strength 2", "without --controlnet"),
    ("recover good.png -o b.png --seed 99999999999999999999", "below 2^63"),
    ("recover good.png -o b.png --from jpeg --seed 3", "--seed changes nothing with --from jpeg"),
    ("recover good.png -o b.png --iterations 0", "iterations 0 must be 1 or more"),
    ("recover good.png -o b.png --learning-rate 0", "learning rate 0.0 must be above 0"),
    ("recover good.png -o b.png --weights old.png", "needs no weights"),
    ("recover void -o b.png", "is a folder"),
    ("calibrate --prior niqe --scores nowhere.csv -o f.json", "no table of scores"),
    ("calibrate --prior niqe --scores void -o f.json", "is a folder and no table of scores"),
    ("calibrate --prior niqe --folder nowhere -o f.json", "there is no folder nowhere"),
    ("calibrate --prior niqe --folder good.png -o f.json", "there is no folder good.png"),
    ("calibrate --prior niqe --folder . --scale 0 1 -o f.json", "goes with --scores"),
    ("download sd-2-base --endpoint example.com -o m", "begins with https://"),
    ("download-prior no_such", "unknown name 'no_such'"),
    ("download-prior niqe", "it works as it is"),
    ("train-ms-liqe void", "is a folder and no configuration"),
    ("study run void", "is a folder and no study"),
    ("study demo good.png", "is a file: choose a folder"),
    ("study demo new --workers 0", "give 1 to 1024"),
    ("study analyse void", "give a file of votes"),
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
    for command in ("enhance good.png -o old.png --prior niqe", "invert good.png -o old.state"):
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


@pytest.mark.parametrize(
    "arguments",
    [
        "--mask read.png --compare read.png",
        "--guard read.png --sheet read.png",
        "--mask read.png --report read.png",
        "--calibration read.png --report read.png",
        "--backbone read.png --state read.png",
        "--backbone read.png --controlnet other.png --report other.png",
    ],
)
def test_nothing_that_is_read_is_written(folder, run, arguments):
    for name in ("read.png", "other.png"):
        (folder / name).write_bytes((folder / "good.png").read_bytes())
    before = (folder / "read.png").read_bytes(), (folder / "other.png").read_bytes()
    code, _, err = run("enhance", "good.png", "-o", "b.png", "--prior", "niqe", *arguments.split())
    assert code == 2
    assert len(err.splitlines()) == 1
    assert before == ((folder / "read.png").read_bytes(), (folder / "other.png").read_bytes())
    assert not (folder / "b.png").exists()
