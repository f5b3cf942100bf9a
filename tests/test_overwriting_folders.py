"""What trainings, studies and scripts read is never written by them."""

import json
import os
import sys

import pytest
from latent_map.comparison.study_file import check_rooms, load_study
from latent_map.iqa_priors.training.ms_liqe import CHECKPOINT, LOG, LOGGED, WEIGHTS
from PIL import Image

from training import (
    convert_brisque_model,
    convert_niqe_parameters,
    make_sample,
    small_ms_liqe,
    train_pocket_denoiser,
    train_vae_qa,
)

from .sample_files import contents
from .study_files import UNTOUCHED, write_pictures, write_ready_study, write_study

READ = {
    "the CLIP": "clip.safetensors",
    "the configuration": "config.json",
    "opinions to train on": "train.txt",
    "opinions to validate on": "validation.txt",
    "a picture": "images/0.png",
}


@pytest.fixture
def workshop(tmp_path):
    """A training's inputs, none of which is ever opened but for the lists."""
    (tmp_path / "images").mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32), (60 * number, 9, 9)).save(tmp_path / "images" / f"{number}.png")
    for part, numbers in {"train": (0, 1, 2), "validation": (3, 1)}.items():
        lines = [f"{number}.png\t{number}\n" for number in numbers]
        (tmp_path / f"{part}.txt").write_text("".join(lines))
    (tmp_path / "clip.safetensors").write_bytes(b"weights")
    dataset = {"name": "a", "images": "images", "batch": 2}
    dataset |= {part: f"{part}.txt" for part in ("train", "validation")}
    config = {"clip": "clip.safetensors", "out": "run", "datasets": [dataset]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "run").mkdir()
    return tmp_path


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("written", [WEIGHTS, CHECKPOINT, LOG])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_training_writes_nothing_that_it_reads(workshop, run, read, written, link):
    link(workshop / READ[read], workshop / "run" / written)
    before = contents(workshop)
    code, out, err = run("train-ms-liqe", workshop / "config.json")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert f"{written} is an input" in err
    assert contents(workshop) == before


@pytest.mark.parametrize("name", [WEIGHTS, LOG])
def test_a_training_replaces_no_file_that_is_of_no_training(workshop, run, name):
    (workshop / "run" / name).write_bytes(b"mine, an epoch\n1,2\n")
    before = contents(workshop)
    code, _, err = run("train-ms-liqe", workshop / "config.json")
    assert code == 2
    assert f"{name}, which would be replaced" in err
    assert contents(workshop) == before


def test_a_training_that_was_stopped_before_its_first_checkpoint_goes_on(workshop, run):
    (workshop / "run" / LOG).write_text(",".join(LOGGED) + ",srcc a\n0,0,,,0.1,0.1\n")
    (workshop / "run" / WEIGHTS).write_bytes(b"of the first epoch")
    code, _, err = run("train-ms-liqe", workshop / "config.json")
    assert code == 2
    assert "clip.safetensors" in err  # which is looked at next


CALIBRATION = {"prior": "niqe", "xi3": 5.0, "xi4": 1.0, "lower_better": True}


@pytest.mark.parametrize("place", ["results", "inputs", "analysis", "distances", "sessions/main"])
@pytest.mark.parametrize("what", ["calibration", "exclude", "folder"])
def test_whatever_a_study_reads_lies_outside_of_what_it_writes(tmp_path, what, place):
    write_pictures(tmp_path / "photos", 2)
    there = tmp_path / "study" / place
    write_pictures(there / "other", 2)
    (there / "c.json").write_text(json.dumps(CALIBRATION))
    (there / "e.csv").write_text("picture,reason\npicture0,blurred\n")
    where = f"study/{place}"
    entrant = {
        "calibration": f'prior = "niqe"\ncalibration = "{where}/c.json"',
        "exclude": 'prior = "niqe"',
        "folder": f'folder = "{where}/other"',
    }[what]
    exclude = f'exclude = "{where}/e.csv"\n' if what == "exclude" else ""
    file = write_study(
        tmp_path, f'{UNTOUCHED}[[entrant]]\nname = "b"\n{entrant}\n', f"{exclude}side = 0"
    )
    with pytest.raises(ValueError, match="where the study writes"):
        check_rooms(load_study(file))


def test_a_study_file_is_not_replaced_by_a_table(tmp_path):
    write_pictures(tmp_path / "photos", 2)
    file = write_study(tmp_path, f'{UNTOUCHED}[[entrant]]\nname = "b"\nprior = "niqe"\n')
    named = tmp_path / "results.csv"
    named.write_text('folder = "."\n' + file.read_text())
    with pytest.raises(ValueError, match=r"results\.csv lies where the study writes"):
        check_rooms(load_study(named))


def script(module, *words):
    """Run a script as from a shell."""

    def call(monkeypatch, place):
        given = [str(place / word[1:]) if word.startswith("@") else word for word in words]
        monkeypatch.setattr(sys, "argv", [module.__name__, *given])
        module.main()

    return call


SCRIPTS = {
    "make_sample": script(make_sample, "@a.png", "0", "0", "@a.png"),
    "convert_niqe_parameters": lambda _, place: convert_niqe_parameters.convert(
        place / "a.npz", place / "a.npz"
    ),
    "convert_brisque_model": lambda _, place: convert_brisque_model.convert(
        place / "svm.txt", place / "a.json", place / "a.json"
    ),
    "train_vae_qa, the pairs": script(
        *(train_vae_qa, "--pairs", "@p.csv", "--vae", "@vae", "--mos-range", "0", "1"),
        *("--output", "@p.csv"),
    ),
    "train_vae_qa, a picture": script(
        *(train_vae_qa, "--pairs", "@p.csv", "--vae", "@vae", "--mos-range", "0", "1"),
        *("--output", "@a.png"),
    ),
    "train_pocket_denoiser": script(
        *(train_pocket_denoiser, "@photos", "--out", "@run"),
        *("--initial", "@run/denoiser.safetensors"),
    ),
    "small_ms_liqe": script(small_ms_liqe, "@run/noise/train", "--out", "@run"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_write_nothing_that_they_read(tmp_path, monkeypatch, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "photos").mkdir()
    for file in ("a.npz", "svm.txt", "a.json", "vae", "run/denoiser.safetensors"):
        (tmp_path / file).write_bytes(b"mine")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "p.csv").write_text("reference,distorted,mos\na.png,a.png,1\n")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="choose another"):
        SCRIPTS[name](monkeypatch, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("command", "table"), [("run", "results"), ("score", "scores"), ("select", "pairs")]
)
def test_a_study_replaces_no_table_that_is_of_no_study(tmp_path, run, command, table):
    path = write_ready_study(tmp_path)
    file = tmp_path / "study" / f"{table}.csv"
    assert run("study", "run", path)[0] == 0
    options = ("--judges", "pocket") if command == "score" else ()
    for mine in ("picture,model_a,model_b\npicture0,input,other\n", "", "entrant,mine\n"):
        file.write_text(mine)
        code, _, err = run("study", command, path, *options)
        assert (code, len(err.splitlines())) == (2, 1)
        assert "which would be replaced" in err
        assert file.read_text() == mine
    file.unlink()
    for _ in range(2):  # one's own is
        assert run("study", command, path, *options)[0] == 0
    if command == "score":  # one of a version that did not write results' hashes
        rows = [line.rpartition(",")[0] for line in file.read_text().splitlines()]
        file.write_text("\n".join(rows) + "\n")
        assert run("study", command, path, *options)[0] == 0
