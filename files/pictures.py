"""Picture files: read with everything that should survive, written whole or not at all."""

import io
import logging
import struct
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .carried import GREY, NOTHING, Carried, lost, read_carried, saving_options
from .hidden_colours import fill_hidden
from .natural_order import natural_paths
from .written import check_writable, is_stream, write_atomically

log = logging.getLogger(__name__)
MAX_PIXELS = 100_000_000
JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = (".png", *JPEG, ".webp", ".bmp", ".tif", ".tiff")
# Formats without an alpha channel: writing one there would lose it.
OPAQUE = (*JPEG, ".bmp")
LONGEST_SIDE = {**dict.fromkeys(JPEG, 65500), ".webp": 16383}  # the formats' own limits
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ROTATED = range(5, 9)  # EXIF orientations that exchange width and height
# What becomes RGB without a choice to make; CMYK and Lab need a colour profile for it.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr")


@dataclass(frozen=True)
class Picture:
    """A picture file in memory.

    Attributes:
        pixels: RGB in [0, 1], float32, shape (1, 3, H, W), upright.
        alpha: (H, W) uint8, or None.
        profile: ICC profile of its RGB colours, or None.
        hidden: (H, W, 3) uint8, the file's colours, which are hidden where alpha is 0 and `pixels`
            have those of their surroundings; None where nothing is hidden.
        grey: whether the file is grey, and what is made of it shall be.
        carried: what else the file holds.
    """

    pixels: Tensor
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    hidden: np.ndarray | None = None
    grey: bool = False
    carried: Carried = NOTHING


def read_picture(path: Path) -> Picture:
    """Read an 8-bit picture, upright by its EXIF tag.

    Bilevel, grey and palette pictures become RGB. Of a JPEG with a preview or a gain map the main
    picture is read. What full transparency hides is filled from its surroundings.

    Raises: ValueError if the file is missing, empty, damaged, too large, animated, neither grey nor
        RGB, or has more than 8 bits.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # doubtful tags; the size is checked below
            with Image.open(path, formats=FORMATS) as image:
                complaint = _complaint(image, path)
                if complaint is None:
                    image.load()
                    return _picture(image, path)
    except MemoryError:
        raise
    except FileNotFoundError:
        complaint = "is no picture file: check the name"
        if path.is_dir():
            complaint = "is a folder and no picture file: give the name of one"
    except Image.DecompressionBombError:
        complaint = f"has too many pixels, at most {MAX_PIXELS} are taken: cut it into pieces"
    # Pillow's decoders raise anything at all on damaged files.
    except Exception as error:
        log.debug("%s", path, exc_info=error)
        complaint = (
            "is no readable picture: it is damaged, empty, or no PNG, JPEG, WebP, BMP or TIFF; "
            "convert it to one of these"
        )
    raise ValueError(f"{path} {complaint}")


def read_array(path: Path) -> np.ndarray:
    """A picture file as (H, W, 3) uint8, by the rules of `read_picture`.

    Raises: as `read_picture`.
    """
    return np.asarray(to_image(read_picture(path).pixels))


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture file, upright, from its head.

    Raises: ValueError if it is missing or no picture.
    """
    if not path.is_file():
        raise ValueError(f"there is no {path}: check the name")
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            rotated = image.getexif().get(0x0112) in ROTATED
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise anything at all on damaged files
        raise ValueError(f"{path} is no readable picture: make it again") from error
    return (height, width) if rotated else (width, height)


def _picture(image: Image.Image, path: Path) -> Picture:
    channels = image.tag_v2.get(277, 0) if image.format == "TIFF" else 0  # pyright: ignore
    if channels > len(image.getbands()):
        log.warning("%s: its channel %d is of no known kind and is dropped", path, channels)
    carried, orientation = read_carried(image, path)
    if orientation in TURNS:
        image = image.transpose(TURNS[orientation])
    pixels, alpha = _to_pixels(image)
    grey = image.mode in GREY
    profile = image.info.get("icc_profile") or None
    if profile is not None and profile[16:20] != b"RGB ":
        if not (grey and carried.grey_profile):
            log.warning("%s: its colour profile is not for RGB and is dropped", path)
        profile = None
    hidden = None
    if alpha is not None and (alpha == 0).any():
        hidden = np.asarray(to_image(pixels))
        pixels = fill_hidden(pixels, torch.from_numpy(alpha > 0)[None, None])
    return Picture(pixels, alpha, profile, hidden, grey, carried)


def _to_pixels(image: Image.Image) -> tuple[Tensor, np.ndarray | None]:
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    rgba = image.convert("RGBA") if has_alpha else None
    rgb = np.asarray((rgba or image).convert("RGB"), dtype=np.float32) / 255
    pixels = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None]
    return pixels, np.asarray(rgba)[..., 3].copy() if rgba is not None else None


def _complaint(image: Image.Image, path: Path) -> str | None:
    """Why the picture would be read wrongly or not at all."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        return f"has {width}x{height} pixels, at most {MAX_PIXELS} are taken: cut it into pieces"
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        return "is animated or has several pages: extract the frames first"
    if image.mode.startswith(("I", "F")) or _bits(image, path) > 8:
        return "has more than 8 bits a channel, which would be lost: convert it first"
    if image.mode not in MODES:
        return f"has {image.mode} colours: convert it to RGB first"
    return None


def _bits(image: Image.Image, path: Path) -> int:
    """Bits per channel of PNG and TIFF files; Pillow reads 16-bit colour as 8-bit silently."""
    if image.format == "PNG":
        with path.open("rb") as file:
            header = file.read(25)
        return struct.unpack_from(">B", header, 24)[0] if len(header) == 25 else 8
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (8,)))  # pyright: ignore - BitsPerSample
    return 8


def to_image(pixels: Tensor) -> Image.Image:
    """Pixels (1, 3, H, W) in [0, 1] as an 8-bit Pillow image."""
    array = pixels[0].detach().float().cpu().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(array.permute(1, 2, 0).numpy())


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture in the format its name says.

    Raises: ValueError for an unknown format, or a size or an alpha channel that it cannot hold;
        OSError when the disk is full; an existing file stays as it was then.
    """
    image, profile = to_image(picture.pixels), picture.profile
    if picture.hidden is not None and picture.alpha is not None:
        shown = (picture.alpha > 0)[..., None]
        image = Image.fromarray(np.where(shown, np.asarray(image), picture.hidden))
    if picture.grey and path.suffix.lower() != ".webp":  # which knows no grey
        image, profile = image.convert("L"), picture.carried.grey_profile or None
    elif picture.carried.grey_profile:
        log.warning("%s: its grey colour profile does not fit RGB and is dropped", path)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    write_image(path, image, profile, picture.carried)


def write_image(
    path: Path, image: Image.Image, profile: bytes | None = None, carried: Carried = NOTHING
) -> None:
    """Write an image; JPEG at quality 95 with full colour, all else without loss.

    Args:
        path: its suffix chooses the format; what that cannot hold is told in one warning.
        image: grey or RGB, 8-bit, with or without alpha.
        profile: ICC profile of its colours.
        carried: what else comes along.
    Raises: as `write_picture`.
    """
    check_output(path, image.size, image.mode in ("RGBA", "LA"))
    suffix = path.suffix.lower()
    options: dict[str, Any] = saving_options(carried, suffix, profile)
    if missing := lost(carried, suffix, profile):
        log.warning("%s: %s holds no %s, which the picture has", path, suffix, missing)
    if suffix in JPEG:
        options |= {"quality": 95, "subsampling": 0}
    if suffix == ".webp":
        options |= {"lossless": True, "exact": True}  # exact: colours below transparency too
    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions()[suffix], **options)
    write_atomically(path, buffer.getvalue())


def check_output(path: Path, size: tuple[int, int] = (1, 1), has_alpha: bool = False) -> None:
    """Raise ValueError if a picture of (width, height) could not be written there."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        if path.is_dir():
            raise ValueError(f"{path} is a folder: give a file name, as in {path / 'better.png'}")
        what = f"suffix {suffix}" if suffix else "name without a suffix"
        raise ValueError(
            f"cannot write {path.name!r}, a {what}: choose one of {', '.join(SUFFIXES)}"
        )
    check_writable(path, 4 * size[0] * size[1])
    if max(size) > LONGEST_SIDE.get(suffix, max(size)):
        raise ValueError(
            f"{suffix} holds at most {LONGEST_SIDE[suffix]} pixels a side, the picture is "
            f"{size[0]}x{size[1]}: write PNG instead"
        )
    if has_alpha and suffix in OPAQUE:
        raise ValueError(
            f"{path.name} cannot hold the picture's alpha channel: write PNG or WebP instead"
        )


def check_no_picture(path: Path, what: str, suffix: str) -> None:
    """Raise ValueError for the name of a picture where something else is to be written."""
    if path.suffix.lower() in SUFFIXES and not is_stream(path):
        raise ValueError(
            f"{path} is the name of a picture, but {what} is to be written there: choose another, "
            f"as in {path.with_suffix(suffix).name}"
        )


def find_pictures(path: Path, recursive: bool = False) -> list[Path]:
    """The picture files of a folder in natural order, without hidden ones, or the file itself.

    Args:
        path: a folder or a file.
        recursive: go through the folders in it, too.
    Raises: ValueError if there are none.
    """
    if not path.is_dir():
        return [path]
    files = [file for file in _entries(path, recursive) if _is_picture(file)]
    if not files:
        raise ValueError(f"no pictures ({', '.join(SUFFIXES)}) in the folder {path}")
    return files


def left_out(path: Path, recursive: bool = False) -> str:
    """What of a folder `find_pictures` passes over, in words; empty if nothing, or for a file."""
    entries = [] if not path.is_dir() else _entries(path, recursive)
    kinds = Counter(
        file.suffix.lower() or "without a suffix"
        for file in entries
        if file.is_file() and not _is_picture(file)
    )
    folders = 0 if recursive else sum(entry.is_dir() for entry in entries)
    parts = [f"{_counted(kinds.total(), 'file')} ({', '.join(sorted(kinds))})"] if kinds else []
    parts += [f"{_counted(folders, 'folder')} (--recursive takes them, too)"] if folders else []
    return " and ".join(parts)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _entries(folder: Path, recursive: bool) -> list[Path]:
    """What is in a folder, in natural order, but for what is hidden."""
    found = folder.rglob("*") if recursive else folder.iterdir()
    shown = (e for e in found if not any(p.startswith(".") for p in e.relative_to(folder).parts))
    return natural_paths(shown)


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and file.is_file()
