"""What a picture file holds besides its pixels: who made it, when, how it is to be shown."""

import io
import logging
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

log = logging.getLogger(__name__)
ORIENTATION, SUB_DIRECTORIES = 0x0112, (0x8769, 0x8825)  # EXIF's own, and GPS
XMP_TAG, PHOTOSHOP_TAG, IPTC_TAG = 700, 34377, 33723
# Tags that say how pixels are stored, which the new file says itself, and what has a place here.
STORAGE = {*range(254, 270), *range(273, 275), *range(277, 285), 288, 289, 290, 291, 296, 301, 317}
STORAGE |= {*range(318, 348), 512, *range(513, 522), *range(529, 533), 34675}
STORAGE |= {XMP_TAG, PHOTOSHOP_TAG, IPTC_TAG, *SUB_DIRECTORIES}
GREY = ("1", "L", "LA")
SIZE_TAGS = (0xA002, 0xA003)
COLOUR_CHUNKS = (b"cHRM", b"cICP", b"gAMA", b"sRGB", b"mDCV", b"cLLI")
# These say sRGB, which a file that says nothing is taken for.
PLAIN = {b"gAMA": struct.pack(">I", 45455)}
PLAIN[b"cHRM"] = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
XMP_KEY, PHOTOSHOP = "XML:com.adobe.xmp", b"Photoshop 3.0\0"
RAW = ("Raw profile type exif", "Raw profile type APP1", "Raw profile type xmp")
LONGEST = {"EXIF": 65527, "XMP": 65504, "IPTC": 65519, "comment": 65533}  # of JPEG's segments
HOLDS = {
    ".png": {"EXIF", "XMP", "dpi", "comment", "texts", "colours", "profile"},
    ".jpg": {"EXIF", "XMP", "IPTC", "dpi", "comment", "profile"},
    ".webp": {"EXIF", "XMP", "profile"},
    ".tif": {"EXIF", "XMP", "IPTC", "dpi", "profile"},
    ".bmp": {"dpi"},
    ".state": set(),
}
SAME = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}


@dataclass(frozen=True)
class Carried:
    """What comes along from a picture to what is made of it.

    Attributes:
        exif: EXIF of an upright picture, without a thumbnail; empty if there is none.
        xmp: XMP packet.
        iptc: Photoshop's resources, which hold IPTC.
        dpi: resolution across and down.
        comment: JPEG's.
        texts: PNG's, such as ComfyUI's workflow, by key.
        colours: PNG's chunks that say how colours are meant, kind and content.
        grey_profile: ICC profile of a grey picture.
    """

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    dpi: tuple[float, float] | None = None
    comment: bytes = b""
    texts: tuple[tuple[str, str], ...] = ()
    colours: tuple[tuple[bytes, bytes], ...] = ()
    grey_profile: bytes = b""

    def named(self) -> dict[str, Any]:
        """Those that there are, by the names of `HOLDS`."""
        all_of_it = {
            **{"EXIF": self.exif, "XMP": self.xmp, "IPTC": self.iptc, "dpi": self.dpi},
            **{"comment": self.comment, "texts": self.texts, "colours": self.colours},
        }
        return {name: content for name, content in all_of_it.items() if content}


NOTHING = Carried()


def read_carried(image: Image.Image, path: Path) -> tuple[Carried, int]:
    """What an opened and loaded picture carries, and its orientation, 1 to 8.

    What cannot be read is dropped with a warning: it does not make a picture unreadable.
    """
    exif, orientation, has_resolution = b"", 1, False
    try:
        own = image.getexif()
        orientation, has_resolution = own.get(ORIENTATION, 1), 282 in own
        exif = _upright(own, swapped=orientation in (5, 6, 7, 8))
    except Exception as error:  # of damaged tags anything at all
        log.warning("%s: its EXIF cannot be read and is dropped (%s)", path, error)
    xmp = image.info.get("xmp") or image.info.get(XMP_KEY) or b""
    xmp = xmp.encode() if isinstance(xmp, str) else bytes(xmp)
    profile = image.info.get("icc_profile") or b""
    carried = Carried(
        exif,
        re.sub(rb"""(tiff:Orientation(?:\s*=\s*["']|>))[0-9]""", rb"\g<1>1", xmp),
        _photoshop(image),
        _resolution(image, has_resolution),
        bytes(image.info.get("comment") or b"") if image.format in ("JPEG", "MPO") else b"",
        tuple(_texts(image, bool(exif))),
        tuple(_colour_chunks(path)) if image.format == "PNG" else (),
        profile if profile[16:20] == b"GRAY" and image.mode in GREY else b"",
    )
    return carried, orientation if orientation in range(1, 9) else 1


def _upright(own: Image.Exif, swapped: bool) -> bytes:
    """EXIF as it is right for the picture turned upright and stored anew."""
    new = Image.Exif()
    for tag, value in own.items():
        if tag not in STORAGE:
            new[tag] = value
    for directory in SUB_DIRECTORIES:
        inner = dict(own.get_ifd(directory))
        if swapped and all(tag in inner for tag in SIZE_TAGS):
            inner[SIZE_TAGS[0]], inner[SIZE_TAGS[1]] = inner[SIZE_TAGS[1]], inner[SIZE_TAGS[0]]
        if inner:
            new.get_ifd(directory).update(inner)
    if ORIENTATION in own:
        new[ORIENTATION] = 1
    return new.tobytes() if len(new) or any(new.get_ifd(d) for d in SUB_DIRECTORIES) else b""


def _photoshop(image: Image.Image) -> bytes:
    if image.format in ("JPEG", "MPO"):
        segments = (data for name, data in image.applist if name == "APP13")  # pyright: ignore
        return b"".join(data[len(PHOTOSHOP) :] for data in segments if data.startswith(PHOTOSHOP))
    if image.format != "TIFF":
        return b""
    tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(whole := tags.get(PHOTOSHOP_TAG), bytes):
        return whole
    iptc = tags.get(IPTC_TAG)
    if not isinstance(iptc, bytes):
        return b""
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def _resolution(image: Image.Image, in_exif: bool) -> tuple[float, float] | None:
    # Without a unit, JPEG's numbers are an aspect; Pillow makes 72 of none at all.
    if image.format in ("JPEG", "MPO") and not (image.info.get("jfif_unit") or in_exif):
        return None
    try:
        across, down = (float(number) for number in image.info.get("dpi", ()))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    plausible = all(math.isfinite(number) and 1 < number < 1e5 for number in (across, down))
    return (across, down) if plausible else None


def _texts(image: Image.Image, has_exif: bool) -> Iterator[tuple[str, str]]:
    if isinstance(image, PngImagePlugin.PngImageFile):
        for key, text in image.text.items():
            if key != XMP_KEY and not (has_exif and key in RAW):
                yield key, text


def _colour_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            length = struct.unpack(">I", head[:4])[0]
            if head[4:] in COLOUR_CHUNKS and length <= 64:
                yield head[4:], file.read(length)
                file.seek(4, io.SEEK_CUR)
            else:
                file.seek(length + 4, io.SEEK_CUR)


def saving_options(carried: Carried, suffix: str, profile: bytes | None) -> dict[str, Any]:
    """Pillow's options to save a picture with all that its format holds.

    Args:
        carried: what comes along.
        suffix: of the file, lower case.
        profile: ICC profile of the picture's colours.
    """
    given = {**carried.named(), **({"profile": profile} if profile else {})}
    kept = {name: content for name, content in given.items() if _fits(name, content, suffix)}
    names = {"EXIF": "exif", "dpi": "dpi", "profile": "icc_profile"}
    options = {names[name]: content for name, content in kept.items() if name in names}
    own = _OWN_OPTIONS.get(SAME.get(suffix, suffix))
    return options if own is None else options | own(kept)


def lost(carried: Carried, suffix: str, profile: bytes | None) -> str:
    """What the format cannot hold, in words; empty if it holds everything.

    A state (.state) holds nothing of it.
    """
    given = {**carried.named(), **({"colour profile": profile} if profile else {})}
    names = [
        name
        for name, content in given.items()
        if not _fits("profile" if name == "colour profile" else name, content, suffix)
    ]
    meant = [k for k, content in carried.colours if k != b"sRGB" and PLAIN.get(k) != content]
    chunks = [kind.decode() for kind in meant]
    texts = ", ".join(key for key, _ in carried.texts[:3])
    words = {"texts": f"PNG text ({texts})", "colours": f"colour chunks ({', '.join(chunks)})"}
    return ", ".join(words.get(name, name) for name in names if name != "colours" or chunks)


def _fits(name: str, content: Any, suffix: str) -> bool:
    suffix = SAME.get(suffix, suffix)
    limited = suffix == ".jpg" and name in LONGEST
    return name in HOLDS[suffix] and not (limited and len(content) > LONGEST[name])


def _png(kept: dict[str, Any]) -> dict[str, Any]:
    info = PngImagePlugin.PngInfo()
    for kind, content in kept.get("colours", ()):
        info.add(kind, content)
    for key, text in kept.get("texts", ()):
        info.add_text(key, text)
    if xmp := kept.get("XMP"):
        info.add_itxt(XMP_KEY, xmp.decode("utf-8", "replace"))
    if comment := kept.get("comment"):
        info.add_text("Comment", comment.decode("utf-8", "replace"))
    return {"pnginfo": info}


def _jpeg(kept: dict[str, Any]) -> dict[str, Any]:
    options = {"xmp": kept["XMP"]} if "XMP" in kept else {}
    options |= {"comment": kept["comment"]} if "comment" in kept else {}
    if iptc := kept.get("IPTC"):
        body = PHOTOSHOP + iptc
        options["extra"] = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    return options


def _webp(kept: dict[str, Any]) -> dict[str, Any]:
    return {"xmp": kept["XMP"]} if "XMP" in kept else {}


def _tiff(kept: dict[str, Any]) -> dict[str, Any]:
    tags = Image.Exif()  # of which a TIFF's own directory is made
    tags.load(kept.get("EXIF", b""))
    for name, tag in (("XMP", XMP_TAG), ("IPTC", PHOTOSHOP_TAG)):
        if name in kept:
            tags[tag] = kept[name]
    return {"exif": tags}


_OWN_OPTIONS = {".png": _png, ".jpg": _jpeg, ".webp": _webp, ".tif": _tiff}
