"""Picture files that cannot be read right are refused by name, whatever is wrong with them."""

import io
import struct
import zlib

import numpy as np
import pytest
from latent_map.files import pictures
from latent_map.files.pictures import SUFFIXES, read_picture
from PIL import Image

from .picture_files import chunk, colours, png16, saved, srgb, tiff16_rgb

MUTATIONS = 400  # of each format
SMALL_LIMIT = 200_000  # pixels: a damaged header may ask for a picture of any size


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
