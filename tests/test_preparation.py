import numpy as np
import pytest
from latent_map.comparison.pictures_settings import PicturesSettings
from latent_map.comparison.preparation import (
    centre_square,
    find_sources,
    prepare_pictures,
    read_inputs,
)
from PIL import Image, ImageCms

from .sample_files import contents
from .study_files import write_pictures, write_ready_study


def prepare(tmp_path, **settings):
    return list(
        prepare_pictures(PicturesSettings(tmp_path / "photos", **settings), tmp_path / "in")
    )


def test_the_centre_square_of_the_scaled_picture_is_taken():
    array = np.zeros((100, 300, 3), np.uint8)
    array[:, 100:200] = 200  # the middle third
    square = np.asarray(centre_square(Image.fromarray(array), 50))
    assert square.shape == (50, 50, 3)
    assert (square[:, 2:-2] == 200).all()


def test_a_picture_of_the_right_size_keeps_its_pixels():
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for side in (64, 0):
        assert np.array_equal(centre_square(Image.fromarray(array), side), array)


def test_fine_stripes_shrink_to_grey_and_not_to_stripes():
    array = np.zeros((256, 256, 3), np.uint8)
    array[:, ::2] = 255
    small = np.asarray(centre_square(Image.fromarray(array), 64), float)
    assert abs(small - 127.5).max() < 10


def test_small_pictures_are_scaled_up(tmp_path):
    write_pictures(tmp_path / "photos", 1, side=40)
    (only,) = prepare(tmp_path, side=64)
    assert (only.width, only.height) == (64, 64)


def test_what_is_prepared_already_is_left_alone(tmp_path):
    write_pictures(tmp_path / "photos", 3)
    first, made = prepare(tmp_path, side=32), contents(tmp_path / "in")
    times = {path: path.stat().st_mtime_ns for path in made}
    assert prepare(tmp_path, side=32) == first
    assert all(path.stat().st_mtime_ns == t for path, t in times.items() if path.suffix == ".png")
    (tmp_path / "in" / "picture1.png").write_bytes(b"damaged")
    assert prepare(tmp_path, side=32) == first
    assert contents(tmp_path / "in") == made
    assert [each.width for each in prepare(tmp_path, side=16)] == [16] * 3
    assert len(read_inputs(tmp_path / "in")) == 3


def test_excluded_pictures_are_left_out_for_a_reason(tmp_path):
    write_pictures(tmp_path / "photos", 3)
    exclude = tmp_path / "exclude.csv"
    exclude.write_text("picture,reason\npicture1,no clear foreground\n")
    assert [e.picture for e in prepare(tmp_path, exclude=exclude)] == ["picture0", "picture2"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("picture,reason\npicture1,\n", "line 2: give a picture and a reason"),
        ("picture\npicture1\n", "line 2: give a picture and a reason"),
        ("picture,reason\nnobody,ugly\n", "'nobody', which is no picture"),
        ("picture,reason\npicture0,a\npicture1,b\npicture2,c\n", "excludes every picture"),
    ],
)
def test_what_cannot_be_excluded_is_said(tmp_path, text, complaint):
    write_pictures(tmp_path / "photos", 3)
    exclude = tmp_path / "exclude.csv"
    exclude.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        prepare(tmp_path, exclude=exclude)


def test_pictures_of_one_name_are_refused(tmp_path):
    write_pictures(tmp_path / "photos", 1)
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "PICTURE0.jpg")
    with pytest.raises(ValueError, match="one picture by their names"):
        prepare(tmp_path)


def test_colours_become_srgb(tmp_path):
    (tmp_path / "photos").mkdir()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    first, _, rest = srgb.partition(b"rXYZ")
    middle, _, last = rest.partition(b"gXYZ")
    exchanged = first + b"gXYZ" + middle + b"rXYZ" + last  # where red is green
    image = Image.new("RGB", (32, 32), (200, 40, 90))
    image.save(tmp_path / "photos" / "same.png", icc_profile=srgb)
    image.save(tmp_path / "photos" / "exchanged.png", icc_profile=exchanged)
    image.save(tmp_path / "photos" / "none.png")
    prepare(tmp_path, side=0)
    wanted = {"same": (200, 40, 90), "none": (200, 40, 90), "exchanged": (40, 200, 90)}
    for name, colour in wanted.items():
        with Image.open(tmp_path / "in" / f"{name}.png") as prepared:
            assert np.abs(np.asarray(prepared, int) - colour).max() <= 3
            assert "icc_profile" not in prepared.info


def test_a_damaged_profile_is_named(tmp_path):
    (tmp_path / "photos").mkdir()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (32, 32)).save(tmp_path / "photos" / "cut.png", icc_profile=srgb[:200])
    with pytest.raises(ValueError, match="its colour profile cannot be used"):
        prepare(tmp_path, side=0)


@pytest.mark.parametrize("name", ["a\\b", "a\nb", " a", "a ", "a\x85b", "a\u2028b", "a\udcff"])
def test_names_that_no_table_brings_back_are_refused_before_any_work(tmp_path, name):
    write_pictures(tmp_path / "photos", 1)
    (tmp_path / "photos" / "picture0.png").rename(tmp_path / "photos" / f"{name}.png")
    with pytest.raises(ValueError, match="rename it"):
        find_sources(PicturesSettings(tmp_path / "photos"))


@pytest.mark.parametrize("name", ["\u5b66\u751f", "\u00e9 \u00e0", "a,b", '"q"', "x.y", "=1"])
def test_names_of_any_language_are_taken(tmp_path, name):
    write_pictures(tmp_path / "photos", 1)
    (tmp_path / "photos" / "picture0.png").rename(tmp_path / "photos" / f"{name}.png")
    assert list(find_sources(PicturesSettings(tmp_path / "photos"))) == [name]


def test_what_the_folder_holds_besides_is_told(tmp_path, run, caplog):
    path = write_ready_study(tmp_path, 1)
    (tmp_path / "photos" / "moving.gif").write_bytes(b"GIF89a")
    (tmp_path / "photos" / "more").mkdir()
    assert run("study", "prepare", path)[0] == 0
    assert caplog.text.count("left out 1 file (.gif) and 1 folder\n") == 1
