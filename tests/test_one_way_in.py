"""One reader, one check before any judge: the same rules whatever the way in."""

import json
import sys

import numpy as np
import pytest
import torch
from latent_map.command_line import enhance_jobs
from latent_map.command_line.restraints import _mask_of
from latent_map.files.image_values import checked_image, even_remarks
from latent_map.files.pictures import find_pictures, left_out, read_array, read_picture
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.prior import check_prior
from latent_map.iqa_priors.score_report import score_pictures
from latent_map.iqa_priors.training.opinion_data import read_rgb
from PIL import Image

from .picture_files import colours, png16
from .sample_files import QUICK, photograph
from .simulated_comfyui import simulated_nodes
from .toys import PRIOR, picture


@pytest.mark.parametrize("read", [read_picture, read_array, read_rgb])
@pytest.mark.parametrize("what", ["16 bits", "CMYK", "postscript", "html", "animated", "huge"])
def test_every_reader_refuses_what_it_would_read_wrongly(tmp_path, read, what):
    path = tmp_path / "a.png"
    if what == "16 bits":
        path.write_bytes(png16())
    elif what == "CMYK":
        Image.fromarray(colours()).convert("CMYK").save(path, "JPEG")
    elif what == "postscript":
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    elif what == "html":
        path.write_text("<html>")
    elif what == "animated":
        frames = [Image.fromarray(colours()), Image.fromarray(255 - colours())]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    else:
        Image.new("1", (20_000, 20_000)).save(path)
    with pytest.raises(ValueError, match=r"a\.png"):
        read(path)


def test_every_reader_turns_by_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(colours()).save(tmp_path / "a.png", exif=exif)
    assert read_rgb(tmp_path / "a.png").shape == (1, 3, 40, 24)
    assert np.array_equal(read_array(tmp_path / "a.png"), np.rot90(colours(), -1))


BROKEN = {
    "NaN": lambda image: image[1, 0, 3].fill_(torch.nan),
    "infinite": lambda image: image[1, 2, 5].fill_(torch.inf),
    "range": lambda image: image[1].mul_(4),
}


@pytest.mark.parametrize("what", BROKEN)
def test_every_way_into_a_judge_names_the_picture_that_is_none(what):
    image = torch.cat([picture(), picture(), picture()])
    BROKEN[what](image)
    for way in (
        checked_image,
        lambda i: check_prior(PRIOR, i),
        lambda i: score_pictures(i, [PRIOR]),
    ):
        with pytest.raises(ValueError, match=rf"picture 2 of 3.*{what}"):
            way(image)
    with simulated_nodes():
        node = sys.modules["latent_map.nodes.iqa_score"].IqaScore
        with pytest.raises(ValueError, match=rf"picture 2 of 3.*{what}"):
            node.execute(image=image.movedim(1, -1), prior=PRIOR)


def test_what_overshoots_is_judged_as_it_will_be_seen():
    over = picture() * 1.5 - 0.2
    clamped = score_pictures(over.clamp(0, 1), [PRIOR])
    assert score_pictures(over, [PRIOR]).quality == clamped.quality
    with simulated_nodes():
        node = sys.modules["latent_map.nodes.iqa_score"].IqaScore
        assert node.execute(image=over.movedim(1, -1), prior=PRIOR)[0] == clamped.quality


def test_a_judge_that_refuses_names_the_picture():
    good = torch.from_numpy(photograph(192, 192).transpose(2, 0, 1).copy())[None].float() / 255
    with pytest.raises(ValueError, match="picture 3 of 3"):
        score_pictures(torch.cat([good, good, torch.ones_like(good)]), [load_prior("niqe")])


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_even_pictures_are_told(folder, run, caplog, value):
    even = torch.full((2, 3, 24, 24), value)
    even[0] = picture(0, 24, 24)
    assert even_remarks(even) == [
        "picture 2 is even all over: what a quality model says of it means nothing"
    ]
    assert "picture 2 is even" in score_pictures(even, [PRIOR]).table
    Image.new("RGB", (64, 64), (round(255 * value),) * 3).save("even.png")
    code, out, _ = run("score", "even.png")
    assert code == 0
    assert "even.png" in out
    assert "even.png: the picture is even all over" in caplog.text
    caplog.clear()
    command = ("enhance", "even.png", "-o", "b.png", "--steps", "2", "--iterations", "0")
    run(*command, "--report", "r.json")
    assert "even.png: the picture is even all over" in caplog.text
    assert "even all over" in json.loads((folder / "r.json").read_text())["even.png"]["remarks"][0]


def test_no_picture_that_shows_something_is_called_even():
    image = torch.full((1, 3, 24, 24), 0.5)
    image[..., 3] += 2 / 255
    assert even_remarks(image) == []


def test_an_alpha_that_varies_is_the_mask(tmp_path):
    alpha = np.zeros((24, 40), np.uint8)
    alpha[:, :20] = 255
    white = Image.new("RGB", (40, 24), "white")
    white.putalpha(Image.fromarray(alpha))
    white.save(tmp_path / "m.png")
    mask = _mask_of(read_picture(tmp_path / "m.png"))
    assert mask[..., :20].min() == 1
    assert mask[..., 20:].max() == 0
    white.putalpha(255)
    white.save(tmp_path / "m.png")
    assert _mask_of(read_picture(tmp_path / "m.png")).min() == 1


@pytest.mark.parametrize(("brightest", "word"), [(1, "labels"), (0, "black everywhere"), (255, "")])
@pytest.mark.parametrize("option", ["--mask", "--guard"])
def test_masks_that_are_hardly_meant_are_told_once(folder, run, caplog, option, brightest, word):
    mask = np.zeros((96, 192), np.uint8)
    mask[:, :90] = brightest
    Image.fromarray(mask).save("m.png")
    assert run("enhance", "good.png", "-o", "b.png", *QUICK, option, "m.png")[0] == 0
    assert caplog.text.count("m.png") == bool(word)
    assert word in caplog.text


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_masks_are_read_before_anything_is_computed(folder, run, monkeypatch, content):
    monkeypatch.setattr(enhance_jobs, "enhance", None)
    (folder / "void" / "a.png").write_bytes((folder / "good.png").read_bytes())
    if content:
        (folder / "m.png").write_bytes(content)
    for given, target in (("good.png", "out.png"), ("void", "out")):
        code, _, err = run("enhance", given, "-o", target, *QUICK, "--mask", "m.png")
        assert code == 2
        assert "m.png" in err


def test_a_mask_that_does_not_fit_fails_its_picture_alone(folder, run):
    (folder / "void" / "a.png").write_bytes((folder / "good.png").read_bytes())
    Image.fromarray(photograph(128, 192)).save(folder / "void" / "b.png")
    Image.new("L", (192, 96), 255).save("m.png")
    code, _, err = run("enhance", "void", "-o", "out", *QUICK, "--mask", "m.png")
    assert code == 3
    assert "b.png" in err
    assert [file.name for file in (folder / "out").iterdir()] == ["a.png"]


@pytest.fixture
def mixed(tmp_path):
    """A folder of pictures and other things."""
    for name in ("a.png", "b.jfif", "c.jpe", "sub/d.png", "sub/deep/a.png", ".hidden/e.png"):
        (tmp_path / "mixed" / name).parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if name.endswith("png") else "JPEG"
        Image.fromarray(photograph()).save(tmp_path / "mixed" / name, kind)
    for name in ("e.gif", "notes.txt", "README"):
        (tmp_path / "mixed" / name).write_bytes(b"x")
    return tmp_path / "mixed"


def test_folders_say_what_they_leave_out(mixed):
    assert [file.name for file in find_pictures(mixed)] == ["a.png", "b.jfif", "c.jpe"]
    said = left_out(mixed)
    assert said == (
        "3 files (.gif, .txt, without a suffix) and 1 folder (--recursive takes them, too)"
    )
    names = [file.relative_to(mixed).as_posix() for file in find_pictures(mixed, True)]
    assert names == ["a.png", "b.jfif", "c.jpe", "sub/d.png", "sub/deep/a.png"]
    assert "--recursive" not in left_out(mixed, True)
    assert left_out(mixed / "a.png") == ""


def test_folders_in_folders_are_enhanced_into_their_like(folder, run, caplog, mixed):
    command = ("enhance", mixed, "-o", mixed / "out", *QUICK, "--recursive", "--report", "r.json")
    assert run(*command)[0] == 0
    assert "left out 3 files" in caplog.text
    made = sorted(path.relative_to(mixed / "out").as_posix() for path in mixed.glob("out/**/*.png"))
    assert made == ["a.png", "b.png", "c.png", "sub/d.png", "sub/deep/a.png"]
    assert "sub/deep/a.png" in json.loads((folder / "r.json").read_text())
    assert run(*command)[0] == 2  # all are there, and none is taken for a picture
    code, out, _ = run("score", mixed, "--recursive", "--prior", "niqe")
    assert (code, len(out.splitlines())) == (0, 10)


def test_results_may_lie_in_a_folder_above_their_pictures(run, mixed):
    above = mixed.parent
    command = ("enhance", mixed, "-o", above, *QUICK, "--recursive")
    before = set(above.glob("**/*"))
    assert run(*command)[0] == 0
    made = sorted(path.relative_to(above).as_posix() for path in {*above.glob("**/*.png")} - before)
    assert made == ["a.png", "b.png", "c.png", "sub/d.png", "sub/deep/a.png"]
    (mixed / "sub").rename(mixed / "mixed")
    code, _, told = run(*command, "--force")
    assert (code, "mixed/mixed/d.png becomes would be among the pictures" in told) == (2, True)
