import shutil

import numpy as np
import pytest
from latent_map.comparison.demo import NOISE, PHOTOGRAPHS, simulated_quality, write_demo
from latent_map.comparison.study_file import load_study
from latent_map.comparison.votes import SPOILT
from PIL import Image

from .sample_files import contents, pixels

SMALL = 1_000_000  # bytes of all shipped photographs


def test_the_photographs_are_few_and_small_and_their_origin_is_told():
    files = sorted(PHOTOGRAPHS.glob("*.png"))
    assert len(files) == 8
    assert sum(file.stat().st_size for file in files) < SMALL
    assert "CC0" in (PHOTOGRAPHS / "README.md").read_text()


def test_the_demo_is_a_study_like_any_other(tmp_path):
    study = load_study(write_demo(tmp_path / "demo"))
    assert list(study.entrants) == ["noisy input", "pocket", "NIQE", "BRISQUE in pixels"]
    assert study.folder.samefile(tmp_path / "demo")
    clean = pixels(PHOTOGRAPHS / "dog.png").astype(float)
    noise = pixels(study.pictures.folder / "dog.png") - clean
    inside = (clean > 60) & (clean < 195)
    assert noise[inside].std() == pytest.approx(NOISE, rel=0.05)


def test_written_again_it_is_the_same(tmp_path):
    write_demo(tmp_path / "demo")
    before = contents(tmp_path / "demo")
    write_demo(tmp_path / "demo")
    assert contents(tmp_path / "demo") == before


def test_another_study_is_not_overwritten(tmp_path, run):
    (tmp_path / "STUDY.toml").write_text("mine")
    code, _, err = run("study", "demo", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert "is another study" in err
    shutil.move(tmp_path / "STUDY.toml", tmp_path / "other.txt")
    assert run("study", "demo", tmp_path)[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_a_simulated_observer_prefers_what_is_nearer_to_the_clean_photograph(tmp_path):
    clean = pixels(PHOTOGRAPHS / "dog.png")
    for name, error in (("near", 4), ("far", 8)):
        shifted = clean.astype(int) + np.where(clean > 127, -error, error)
        Image.fromarray(shifted.astype(np.uint8)).save(tmp_path / f"{name} dog.png")
    quality = simulated_quality(lambda picture, entrant: tmp_path / f"{entrant} {picture}.png")
    near, far = quality("dog", "near"), quality("dog", "far")
    assert near - far == pytest.approx(0.5 * 20 * np.log10(2))  # half a unit a decibel
    assert quality("dog", SPOILT) < far - 10
