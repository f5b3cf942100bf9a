import io
import struct
import zlib

import numpy as np
import pytest
import torch
from latent_map.files import pictures
from latent_map.files.pictures import (
    SUFFIXES,
    Picture,
    check_output,
    find_pictures,
    read_picture,
    to_image,
    write_picture,
)
from PIL import Image, ImageCms

JPEG_TOLERANCE = 0.04  # quality 95 on a smooth picture; measured 0.016
MUTATIONS = 400  # of each format
SMALL_LIMIT = 200_000  # pixels: a damaged header may ask for a picture of any size


def colours(height=24, width=40):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 5, y * 9, 255 - x * 3 - y], -1).astype(np.uint8)


def as_tensor(array):
    return torch.from_numpy(array.astype(np.float32).transpose(2, 0, 1).copy())[None] / 255


def srgb():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_for(space):
    damaged = bytearray(srgb())
    damaged[16:20] = space
    return bytes(damaged)


def saved(path, array, mode=None, **options):
    image = Image.fromarray(array)
    image = image if mode is None else image.convert(mode)
    image.save(path, **options)
    return path


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def png16(width=4, height=3, colour_type=2):
    """A 16-bit PNG, written by hand because Pillow cannot."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    rows = b"".join(b"\0" + bytes(range(width * channels * 2)) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff16_rgb(width=4, height=3):
    """An uncompressed 16-bit RGB TIFF, written by hand because Pillow cannot."""
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, 8 + 2 + 10 * 12 + 4),  # offset of three values
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8 + 2 + 10 * 12 + 4 + 6),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, width * height * 6),
        (284, 3, 1, 1),
    ]
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        inline = struct.pack("<HH", value, 0) if kind == 3 and count == 1 else None
        directory += struct.pack("<HHI", tag, kind, count) + (inline or struct.pack("<I", value))
    bits = struct.pack("<HHH", 16, 16, 16)
    body = bytes(range(width * height * 6))
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0) + bits + body


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
    alpha = np.arange(24 * 40, dtype=np.uint8).reshape(24, 40)  # 0 occurs: colours stay there too
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


# Refusals


def refused(path, *words):
    with pytest.raises(ValueError, match=path.name) as caught:
        read_picture(path)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", bytes(1000)])
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    refused(tmp_path / "a.png")


def test_missing_files_and_folders_are_refused(tmp_path):
    refused(tmp_path / "a.png", "no picture file")
    refused(tmp_path, "no picture file")


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_16_bit_png_is_refused(tmp_path, colour_type):
    (tmp_path / "a.png").write_bytes(png16(colour_type=colour_type))
    Image.open(tmp_path / "a.png").load()  # else the test proves nothing
    refused(tmp_path / "a.png", "more than 8 bits", "convert")


def test_16_bit_tiff_is_refused(tmp_path):
    saved(tmp_path / "a.tif", np.zeros((4, 4), np.uint16))
    refused(tmp_path / "a.tif", "more than 8 bits")
    (tmp_path / "b.tif").write_bytes(tiff16_rgb())
    refused(tmp_path / "b.tif")


def test_floating_point_tiff_is_refused(tmp_path):
    saved(tmp_path / "a.tif", np.full((4, 4), np.nan, np.float32))
    refused(tmp_path / "a.tif", "more than 8 bits")


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_refused(tmp_path, suffix):
    saved(tmp_path / f"a{suffix}", colours(), "CMYK")
    refused(tmp_path / f"a{suffix}", "CMYK", "convert it to RGB")


def test_lab_is_refused(tmp_path):
    Image.new("LAB", (4, 4)).save(tmp_path / "a.tif")
    refused(tmp_path / "a.tif", "LAB", "convert it to RGB")


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_animations_and_several_pages_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(colours() + i) for i in range(2)]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    refused(tmp_path / f"a{suffix}", "extract")


def test_formats_that_are_not_listed_are_refused(tmp_path):
    saved(tmp_path / "a.gif", colours())
    (tmp_path / "a.gif").rename(tmp_path / "a.png")
    refused(tmp_path / "a.png", "no readable picture")


@pytest.mark.parametrize("side", [10_001, 14_000, 100_000])
def test_decompression_bombs_are_refused_before_they_go_off(tmp_path, side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    refused(tmp_path / "a.png", "pixels, at most")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_truncated_files_are_refused(tmp_path, suffix):
    path = saved(tmp_path / f"a{suffix}", colours())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    refused(path)


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
    assert torch.equal(picture.pixels, as_tensor(colours()))
    assert np.array_equal(picture.alpha, alpha)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_the_colour_profile_survives(tmp_path, suffix):
    write_picture(tmp_path / f"a{suffix}", Picture(as_tensor(colours()), profile=srgb()))
    assert read_picture(tmp_path / f"a{suffix}").profile == srgb()


def test_a_grey_profile_is_dropped_with_a_warning(tmp_path, caplog):
    saved(tmp_path / "a.png", colours(), "L", icc_profile=profile_for(b"GRAY"))
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


# Damage


def seeds():
    """One file of each kind: {suffix: content}."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {}
    for suffix, options in {
        ".png": {"icc_profile": srgb(), "exif": exif},
        ".jpg": {"icc_profile": srgb(), "exif": exif},
        ".webp": {"exif": exif},
        ".tif": {"compression": "tiff_lzw"},
        ".bmp": {},
    }.items():
        buffer = io.BytesIO()
        Image.fromarray(colours()).save(buffer, Image.registered_extensions()[suffix], **options)
        files[suffix] = buffer.getvalue()
    return files


def mutate(content, generator):
    """Flip, cut, header damage, a block out or in: one of them, or two."""
    data = bytearray(content)
    for _ in range(generator.integers(1, 3)):
        kind = generator.integers(6)
        at = int(generator.integers(len(data)))
        if kind == 0:
            data[at] ^= 1 << int(generator.integers(8))
        elif kind == 1:
            data[at] = int(generator.integers(256))
        elif kind == 2:
            data = data[: max(1, at)]
        elif kind == 3:
            for i in generator.integers(min(64, len(data)), size=3):
                data[i] = int(generator.integers(256))
        elif kind == 4:
            del data[at : at + int(generator.integers(1, 40))]
            data = data or bytearray(1)
        else:
            data[at:at] = generator.bytes(int(generator.integers(1, 40)))
    return bytes(data)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_damaged_files_give_a_picture_or_a_value_error(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(pictures, "MAX_PIXELS", SMALL_LIMIT)
    generator = np.random.default_rng(SUFFIXES.index(suffix))
    content, path = seeds()[suffix], tmp_path / f"a{suffix}"
    read, texts = 0, []
    for _ in range(MUTATIONS):
        path.write_bytes(mutate(content, generator))
        try:
            picture = read_picture(path)
        except ValueError as error:
            texts.append(str(error))
            continue
        read += 1
        assert picture.pixels.ndim == 4
        assert picture.pixels.shape[:2] == (1, 3)
        assert 0 <= float(picture.pixels.min()) <= float(picture.pixels.max()) <= 1
    assert read > 0
    assert texts
    assert all(text.startswith(str(path)) for text in texts)
