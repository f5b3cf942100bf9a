import numpy as np
import pytest
import torch
from latent_map.files.pictures import (
    Picture,
    check_output,
    find_pictures,
    read_picture,
    to_image,
    write_picture,
)
from PIL import Image

from .picture_files import as_tensor, colours, profile_for, saved, srgb

JPEG_TOLERANCE = 0.04  # quality 95 on a smooth picture; measured 0.016


# Reading


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".tiff"])
def test_lossless_formats_give_the_pixels(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    picture = read_picture(saved(tmp_path / f"a{suffix}", colours(), **options))
    assert torch.equal(picture.pixels, as_tensor(colours()))
    assert picture.pixels.dtype == torch.float32
    assert picture.alpha is None
    assert picture.profile is None


def test_a_jpeg_gives_nearly_the_pixels(tmp_path):
    picture = read_picture(saved(tmp_path / "a.JPG", colours(), quality=95, subsampling=0))
    assert float((picture.pixels - as_tensor(colours())).abs().max()) < JPEG_TOLERANCE


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_and_bilevel_become_rgb(tmp_path, mode):
    picture = read_picture(saved(tmp_path / "a.png", colours(), mode))
    grey = np.asarray(Image.fromarray(colours()).convert(mode).convert("L"))
    assert torch.equal(picture.pixels, as_tensor(np.stack([grey] * 3, -1)))
    assert picture.alpha is None


def test_a_palette_becomes_rgb(tmp_path):
    image = Image.fromarray(colours()).quantize(16)
    image.save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert torch.equal(picture.pixels, as_tensor(np.asarray(image.convert("RGB"))))


def test_a_transparent_palette_entry_becomes_alpha(tmp_path):
    image = Image.fromarray(colours()).quantize(4)
    image.save(tmp_path / "a.png", transparency=2)
    alpha = read_picture(tmp_path / "a.png").alpha
    assert np.array_equal(alpha, np.where(np.asarray(image) == 2, 0, 255))


def test_a_transparent_colour_becomes_alpha(tmp_path):
    array = colours()
    array[:5] = (1, 2, 3)
    saved(tmp_path / "a.png", array, transparency=(1, 2, 3))
    alpha = read_picture(tmp_path / "a.png").alpha
    assert (alpha[:5] == 0).all()
    assert (alpha[5:] == 255).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_kept_apart_from_the_colours(tmp_path, mode):
    image = Image.fromarray(colours()).convert(mode[:-1])
    alpha = (1 + np.arange(24 * 40) % 255).astype(np.uint8).reshape(24, 40)
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    expected = np.asarray(Image.fromarray(colours()).convert(mode[:-1]).convert("RGB"))
    assert torch.equal(picture.pixels, as_tensor(expected))
    assert np.array_equal(picture.alpha, alpha)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    saved(tmp_path / "a.png", colours(), exif=exif)
    # What each EXIF orientation means, by its definition.
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90,
    }[orientation](colours())
    assert torch.equal(read_picture(tmp_path / "a.png").pixels, as_tensor(turned))


def test_alpha_is_rotated_with_the_colours(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    array = np.dstack([colours(), colours()[..., :1]])
    saved(tmp_path / "a.png", array, exif=exif)
    assert np.array_equal(read_picture(tmp_path / "a.png").alpha, np.rot90(colours()[..., 0], -1))


def test_the_main_picture_of_a_camera_jpeg_with_preview_is_read(tmp_path):
    preview = Image.fromarray(colours(8, 8))
    Image.fromarray(colours()).save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[preview], quality=95
    )
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
        assert image.n_frames == 2
    assert read_picture(tmp_path / "a.jpg").pixels.shape == (1, 3, 24, 40)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 20000)])
def test_any_size_is_read_and_written(tmp_path, size):
    array = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = read_picture(saved(tmp_path / "a.png", array))
    write_picture(tmp_path / "b.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), array)


# Writing


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".bmp"])
def test_writing_and_reading_is_exact_without_loss(tmp_path, suffix):
    write_picture(tmp_path / f"a{suffix}", Picture(as_tensor(colours())))
    assert torch.equal(read_picture(tmp_path / f"a{suffix}").pixels, as_tensor(colours()))


def test_jpegs_keep_the_full_resolution_of_colour(tmp_path):
    write_picture(tmp_path / "a.jpg", Picture(as_tensor(colours())))
    difference = read_picture(tmp_path / "a.jpg").pixels - as_tensor(colours())
    assert float(difference.abs().max()) < JPEG_TOLERANCE
    with Image.open(tmp_path / "a.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_alpha_survives_with_the_colours_below_it(tmp_path, suffix):
    alpha = np.zeros((24, 40), np.uint8)
    alpha[:, 20:] = np.arange(20) * 12
    write_picture(tmp_path / f"a{suffix}", Picture(as_tensor(colours()), alpha))
    picture = read_picture(tmp_path / f"a{suffix}")
    assert np.array_equal(picture.hidden, colours())
    assert np.array_equal(picture.alpha, alpha)
    write_picture(tmp_path / f"b{suffix}", picture)
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert np.array_equal(np.asarray(image), np.dstack([colours(), alpha]))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_the_colour_profile_survives(tmp_path, suffix):
    write_picture(tmp_path / f"a{suffix}", Picture(as_tensor(colours()), profile=srgb()))
    assert read_picture(tmp_path / f"a{suffix}").profile == srgb()


def test_a_profile_that_is_not_the_colours_is_dropped_with_a_warning(tmp_path, caplog):
    saved(tmp_path / "a.png", colours(), icc_profile=profile_for(b"GRAY"))
    assert read_picture(tmp_path / "a.png").profile is None
    assert "profile" in caplog.text


def test_pixels_are_rounded_and_clamped():
    pixels = torch.tensor([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 2.0]).reshape(1, 1, 1, 6)
    assert np.asarray(to_image(pixels.expand(1, 3, 1, 6)))[0, :, 0].tolist() == [
        0,
        0,
        0,
        1,
        255,
        255,
    ]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp", ".JPG"])
def test_alpha_is_not_written_where_it_would_be_lost(tmp_path, suffix):
    alpha = np.zeros((24, 40), np.uint8)
    with pytest.raises(ValueError, match="PNG or WebP"):
        write_picture(tmp_path / f"a{suffix}", Picture(as_tensor(colours()), alpha))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "size", "word"),
    [
        ("a.gif", (1, 1), "choose one of"),
        ("a", (1, 1), "choose one of"),
        ("folder.png", (1, 1), "is a folder"),
        ("nowhere/a.png", (1, 1), "no folder"),
        ("a.webp", (16384, 1), "PNG"),
        ("a.jpg", (1, 65501), "PNG"),
        ("a.png", (10**8, 10**8), "free some space"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(tmp_path, name, size, word):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match=word):
        check_output(tmp_path / name, size)


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16383), (".jpg", 65500)])
def test_the_longest_sides_are_the_formats_own(tmp_path, suffix, side):
    write_picture(tmp_path / f"a{suffix}", Picture(torch.zeros(1, 3, 1, side)))
    assert read_picture(tmp_path / f"a{suffix}").pixels.shape == (1, 3, 1, side)


def test_a_folder_gives_its_pictures_sorted_without_hidden_ones(tmp_path):
    for name in ("b.png", "A.JPG", "notes.txt", "._b.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c.png").mkdir()
    assert [file.name for file in find_pictures(tmp_path)] == ["A.JPG", "b.png"]
    with pytest.raises(ValueError, match="no pictures"):
        find_pictures(tmp_path / "c.png")
