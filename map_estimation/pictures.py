"""Picture files: read with everything that should survive, written whole or not at all."""

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..state_file import write_atomically

MAX_PIXELS = 100_000_000
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
# Formats without an alpha channel: writing one there would lose it.
OPAQUE = (".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class Picture:
    """A picture file in memory.

    Attributes:
        pixels: RGB in [0, 1], float32, shape (1, 3, H, W), upright.
        alpha: (H, W) uint8, or None.
        profile: ICC colour profile, or None.
    """

    pixels: Tensor
    alpha: np.ndarray | None = None
    profile: bytes | None = None


def read_picture(path: Path) -> Picture:
    """Read an 8-bit picture; grey and palette pictures become RGB, EXIF rotation is applied.

    Raises: ValueError if the file is missing, empty, damaged, too large, or has more than 8 bits.
    """
    if path.is_dir() or not path.exists():
        raise ValueError(f"no picture file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_header(image, path)
                profile = image.info.get("icc_profile")
                image.load()
                upright = ImageOps.exif_transpose(image)
    except ValueError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError) as error:
        raise ValueError(f"{path} is no readable picture: {error}") from error
    # Pillow's decoders raise anything at all on damaged files.
    except Exception as error:
        raise ValueError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    has_alpha = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
    rgba = upright.convert("RGBA") if has_alpha else None
    rgb = np.asarray((rgba or upright).convert("RGB"), dtype=np.float32) / 255
    pixels = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None]
    alpha = np.asarray(rgba)[..., 3].copy() if rgba is not None else None
    return Picture(pixels, alpha, profile)


def _check_header(image: Image.Image, path: Path) -> None:
    """Refuse what would be read wrongly or not at all."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"{path} has {width}x{height} pixels, at most {MAX_PIXELS} are taken")
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"{path} is animated or has several pages: extract the frames first")
    deep = image.mode.startswith(("I", "F")) or _bits(image, path) > 8
    if deep:
        raise ValueError(
            f"{path} has more than 8 bits a channel, which would be lost: save it as 8-bit PNG first"
        )


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
    """Write a picture in the format its name says; PNG and WebP without loss, JPEG at quality 95.

    Raises: ValueError for an unknown format or an alpha channel that it cannot hold; OSError when
        the disk is full; an existing file stays as it was then.
    """
    check_output(path, picture.alpha is not None)
    image = to_image(picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    options = {"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    if path.suffix.lower() == ".webp":
        options = {"lossless": True}
    if picture.profile:
        options["icc_profile"] = picture.profile
    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions()[path.suffix.lower()], **options)
    write_atomically(path, buffer.getvalue())


def check_output(path: Path, has_alpha: bool) -> None:
    """Raise ValueError if a picture could not be written there, before any work is done."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"cannot write {path.name!r}: choose one of {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ValueError(f"no folder {path.parent}: make it first")
    if has_alpha and path.suffix.lower() in OPAQUE:
        raise ValueError(
            f"{path.name} cannot hold the picture's alpha channel: write PNG or WebP instead"
        )


def find_pictures(path: Path) -> list[Path]:
    """The picture files of a folder, sorted, or the file itself.

    Raises: ValueError if there are none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"no pictures ({', '.join(SUFFIXES)}) in the folder {path}")
    return files
