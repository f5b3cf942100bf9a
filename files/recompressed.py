"""Pictures encoded with loss and decoded again, in memory."""

import io
from typing import Literal

from PIL import Image


def recompressed(
    image: Image.Image, quality: int, form: Literal["JPEG", "WEBP"] = "JPEG"
) -> Image.Image:
    """What is left of an RGB image after compression; of the same size.

    Args:
        image: RGB.
        quality: as Pillow counts it, 1 to 95.
        form: how it is compressed.
    """
    buffer = io.BytesIO()
    image.save(buffer, form, quality=quality)
    return Image.open(buffer, formats=(form,)).convert("RGB")
