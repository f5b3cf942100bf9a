"""What a picture carries comes along into every format that can hold it, or is told to be lost."""

import logging
import struct

import numpy as np
import pytest
import torch
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.pictures import Picture, read_picture, write_picture
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import MapSettings
from PIL import Image, PngImagePlugin, TiffImagePlugin

from .picture_files import chunk, colours, profile_for, srgb
from .sample_files import QUICK
from .toys import PRIOR, ToyBackbone, picture

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:li tiff:Orientation="6">me</rdf:li></x:xmpmeta>'
IPTC = b"8BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02\x50\0\x07Someone"
WORKFLOW = '{"nodes": []}'
FORMATS = (".png", ".jpg", ".jpe", ".jfif", ".webp", ".tif", ".bmp")
# What each carrier is called in the warning, and which formats hold it.
CARRIERS = {
    "exif": ("EXIF", {".png", ".jpg", ".jpe", ".jfif", ".webp", ".tif"}),
    "gps": ("EXIF", {".png", ".jpg", ".jpe", ".jfif", ".webp", ".tif"}),
    "xmp": ("XMP", {".png", ".jpg", ".jpe", ".jfif", ".webp", ".tif"}),
    "iptc": ("IPTC", {".jpg", ".jpe", ".jfif", ".tif"}),
    "dpi": ("dpi", {".png", ".jpg", ".jpe", ".jfif", ".tif", ".bmp"}),
    "comment": ("comment", {".png", ".jpg", ".jpe", ".jfif"}),
    "workflow": ("PNG text (workflow)", {".png"}),
    "gAMA": ("colour chunks (gAMA)", {".png"}),
    "cICP": ("colour chunks (cICP)", {".png"}),
    "profile": ("colour profile", {".png", ".jpg", ".jpe", ".jfif", ".webp", ".tif"}),
}


def exif(gps=False):
    written = Image.Exif()
    written[0x010F], written[0x8298], written[0x0112] = "Cam", "(c) Someone", 6
    written.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    if gps:
        written.get_ifd(0x8825)[1] = "N"
    return written


def source(path, carrier):
    """A picture file that carries something."""
    image, options = Image.fromarray(colours()), {}
    info = PngImagePlugin.PngInfo()
    if carrier in ("exif", "gps"):
        options["exif"] = exif(carrier == "gps")
    if carrier == "workflow":
        info.add_text("workflow", WORKFLOW)
    if carrier == "gAMA":
        info.add(b"gAMA", struct.pack(">I", 100000))
    if carrier == "cICP":
        info.add(b"cICP", bytes((12, 16, 0, 1)))
    if carrier == "iptc":
        body = b"Photoshop 3.0\0" + IPTC
        options["extra"] = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    options |= {"xmp": XMP} if carrier == "xmp" else {}
    options |= {"dpi": (300, 300)} if carrier == "dpi" else {}
    options |= {"comment": b"hello"} if carrier == "comment" else {}
    options |= {"icc_profile": srgb()} if carrier == "profile" else {}
    is_png = carrier in ("workflow", "gAMA", "cICP")
    path = path / ("in.png" if is_png else "in.jpg")
    image.save(path, **({"pnginfo": info} if is_png else {"quality": 95, **options}))
    return path


def found(path, carrier):
    """What a file holds of the carrier, by another reader than the one that is tested."""
    content = path.read_bytes()
    with Image.open(path) as image:
        image.load()
        own = image.getexif()
        if carrier in ("exif", "gps"):
            assert own[0x8298] == "(c) Someone"
            assert own[0x0112] == 1
            assert own.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
            return carrier == "exif" or own.get_ifd(0x8825)[1] == "N"
        if carrier == "dpi":
            return max(abs(side - 300) for side in image.info["dpi"]) < 0.1
        if carrier == "profile":
            return image.info["icc_profile"] == srgb()
        if carrier == "workflow":
            return image.text["workflow"] == WORKFLOW
        if carrier == "iptc" and path.suffix == ".tif":
            return image.tag_v2[34377] == IPTC
    wanted = {
        "xmp": XMP.replace(b'"6"', b'"1"'),
        "iptc": b"Photoshop 3.0\0" + IPTC,
        "comment": b"hello",
        "gAMA": chunk(b"gAMA", struct.pack(">I", 100000)),
        "cICP": chunk(b"cICP", bytes((12, 16, 0, 1))),
    }
    return wanted[carrier] in content


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_a_picture_carries_comes_along_or_is_told(tmp_path, caplog, carrier, suffix):
    read = read_picture(source(tmp_path, carrier))
    assert not caplog.records
    path = tmp_path / f"out{suffix}"
    write_picture(path, read)
    name, holding = CARRIERS[carrier]
    if suffix in holding:
        assert found(path, carrier)
        assert not caplog.records
    else:
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert name in record.getMessage()
    again = read_picture(path)
    assert again.pixels.shape == read.pixels.shape
    if suffix in (".png", ".webp", ".tif", ".bmp"):
        assert torch.equal(again.pixels, read.pixels)


def test_everything_at_once_is_lost_in_one_warning(tmp_path, caplog):
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", WORKFLOW)
    info.add(b"gAMA", struct.pack(">I", 100000))
    Image.fromarray(colours()).save(
        tmp_path / "in.png", pnginfo=info, exif=exif(), icc_profile=srgb(), dpi=(300, 300)
    )
    write_picture(tmp_path / "out.bmp", read_picture(tmp_path / "in.png"))
    (record,) = caplog.records
    for name in ("EXIF", "workflow", "gAMA", "colour profile"):
        assert name in record.getMessage()


def test_a_thumbnail_is_dropped_and_the_picture_stands_upright(tmp_path):
    written = exif()
    plain = written.tobytes()
    with_thumbnail = Image.Exif()
    with_thumbnail.load(plain)
    with_thumbnail.get_ifd(1).update({0x0103: 6, 0x0201: 200, 0x0202: 10})
    Image.fromarray(colours()).save(tmp_path / "in.jpg", exif=with_thumbnail)
    read = read_picture(tmp_path / "in.jpg")
    assert read.pixels.shape == (1, 3, 40, 24)
    write_picture(tmp_path / "out.jpg", read)
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.size == (24, 40)
        assert image.getexif()[0x0112] == 1
        assert not image.getexif().get_ifd(1)


@pytest.mark.parametrize("content", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif"])
def test_a_broken_exif_is_dropped_and_the_picture_read(tmp_path, caplog, content):
    Image.fromarray(colours()).save(tmp_path / "in.png")
    png = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(png[:33] + chunk(b"eXIf", content) + png[33:])
    read = read_picture(tmp_path / "in.png")
    assert np.array_equal((read.pixels[0] * 255).round().byte().permute(1, 2, 0), colours())
    write_picture(tmp_path / "out.jpg", read)
    assert len(caplog.records) <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
def test_grey_in_is_grey_out(tmp_path, mode, suffix):
    image = Image.fromarray(colours()).convert("L").convert(mode)
    if mode == "LA":
        image.putalpha(Image.fromarray(colours()[..., 0]))
    image.save(tmp_path / "in.png")
    if mode == "LA" and suffix in (".jpg", ".bmp"):
        pytest.skip("holds no alpha")
    read = read_picture(tmp_path / "in.png")
    assert read.grey
    write_picture(tmp_path / f"out{suffix}", read)
    with Image.open(tmp_path / f"out{suffix}") as image:
        wanted = {"LA": "LA"}.get(mode, "L")
        assert image.mode == ({"L": "RGB", "LA": "RGBA"}[wanted] if suffix == ".webp" else wanted)


def test_the_profile_of_a_grey_picture_stays_with_it(tmp_path, caplog):
    profile = profile_for(b"GRAY")
    grey = Image.fromarray(colours()).convert("L")
    grey.save(tmp_path / "in.png", icc_profile=profile)
    read = read_picture(tmp_path / "in.png")
    assert read.profile is None
    write_picture(tmp_path / "out.png", read)
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["icc_profile"] == profile
    assert not caplog.records
    write_picture(tmp_path / "out.webp", read)
    assert len(caplog.records) == 1


def test_no_colour_appears_in_a_grey_picture():
    grey = picture()[:, :1].expand(-1, 3, -1, -1).contiguous()
    settings = MapSettings(space="pixel", lam=10.0, optimizer="adam", iterations=5)
    (result,) = enhance(grey, ToyBackbone(), PRIOR, load_fidelity("low_resolution"), settings)
    assert result.improved
    assert torch.equal(result.picture[:, 0], result.picture[:, 1])
    assert torch.equal(result.picture[:, 0], result.picture[:, 2])


def hiding(tmp_path, hidden, name):
    array = np.concatenate((colours(), np.full((24, 40, 1), 255, np.uint8)), -1)
    array[8:20, 10:30, 3] = 0
    array[8:20, 10:30, :3] = hidden
    Image.fromarray(array).save(tmp_path / name)
    return array


def test_what_is_hidden_is_not_seen_and_comes_back(tmp_path):
    seen = []
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 3))
    for number, hidden in enumerate((0, 255, noise)):
        array = hiding(tmp_path, hidden, f"{number}.png")
        read = read_picture(tmp_path / f"{number}.png")
        seen.append(read.pixels)
        write_picture(tmp_path / "out.png", read)
        with Image.open(tmp_path / "out.png") as image:
            assert np.array_equal(np.asarray(image), array)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    inside = seen[0][..., 8:20, 10:30]
    ring = seen[0][..., 7:21, 9:31]
    assert inside.min() >= ring.min()
    assert inside.max() <= ring.max()


def test_a_picture_that_is_hidden_altogether_is_left(tmp_path):
    array = np.concatenate((colours(), np.zeros((24, 40, 1), np.uint8)), -1)
    Image.fromarray(array).save(tmp_path / "in.png")
    write_picture(tmp_path / "out.png", read_picture(tmp_path / "in.png"))
    with Image.open(tmp_path / "out.png") as image:
        assert np.array_equal(np.asarray(image), array)


def test_a_channel_of_no_known_kind_is_told(tmp_path, caplog):
    array = np.concatenate((colours(), colours()[..., :1]), -1)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[338] = 0
    Image.fromarray(array).save(tmp_path / "in.tif", tiffinfo=tags)
    read = read_picture(tmp_path / "in.tif")
    if read.alpha is None:
        assert "dropped" in caplog.text


def test_enhancing_takes_everything_along(folder, run):
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", WORKFLOW)
    with Image.open("good.png") as image:
        image.convert("L").save("grey.png", pnginfo=info, exif=exif())
    assert run("enhance", "grey.png", "-o", "b.png", *QUICK)[0] == 0
    with Image.open("b.png") as image:
        assert image.mode == "L"
        assert image.text["workflow"] == WORKFLOW
        assert image.getexif()[0x8298] == "(c) Someone"


def test_a_picture_without_a_file_carries_nothing(tmp_path, caplog):
    write_picture(tmp_path / "out.bmp", Picture(picture(0, 24, 24)))
    assert not caplog.records
