"""A PNG without what is not picture: programs write the model's name and its settings into it."""

import struct

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What decides about the pixels and their colours; texts, dates and the like are left out.
KEPT = {b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"IDAT", b"IEND"}


def bare_png(content: bytes) -> bytes:
    """The same picture, bit by bit, without texts, EXIF data or anything after its end.

    Raises: ValueError if it is no whole PNG.
    """
    if not content.startswith(SIGNATURE):
        raise ValueError("a picture is no PNG")
    parts, place = [SIGNATURE], len(SIGNATURE)
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length  # length, kind and checksum have 4 bytes each
        if kind in KEPT:
            parts.append(content[place:end])
        place = end
        if kind == b"IEND" and end <= len(content):
            return b"".join(parts)
    raise ValueError("a PNG is cut off")
