"""Picture files of all kinds, also of those that Pillow cannot write."""

import functools
import struct
import zlib

import numpy as np
import torch
from PIL import Image, ImageCms


def colours(height=24, width=40):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 5, y * 9, 255 - x * 3 - y], -1).astype(np.uint8)


def as_tensor(array):
    return torch.from_numpy(array.astype(np.float32).transpose(2, 0, 1).copy())[None] / 255


@functools.cache  # a profile tells the second it was made in
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
