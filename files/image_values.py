"""What every picture in memory must be before it is judged or worked on."""

from torch import Tensor

SLACK = 0.5  # restorers overshoot [0, 1] a little; that is clamped
EVEN = 1.5 / 255  # a channel that spans less shows nothing


def checked_image(image: Tensor, name: str = "picture") -> Tensor:
    """Pictures as every model and judge sees them: RGB in [0, 1].

    Args:
        image: (B, 3, H, W), floating; a little beyond [0, 1] is clamped.
        name: what it is, for messages.
    Returns: the same, clamped.
    Raises: ValueError that names the picture of the batch, for numbers that are no colours.
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(
            f"image has shape {tuple(image.shape)}: (batch, 3, height, width) RGB is needed; "
            "convert grey pictures to RGB and take alpha channels off first"
        )
    if image.shape[0] == 0:
        raise ValueError("the batch holds no picture")
    if not image.is_floating_point():
        raise ValueError(
            f"the picture has {image.dtype} pixels: divide by 255 to get RGB in [0, 1]"
        )
    finite = image.isfinite().flatten(1).all(1)
    if not finite.all():
        which = _which(~finite, name)
        raise ValueError(f"{which} has NaN or infinite pixels: repair what made it")
    low, high = image.flatten(1).amin(1), image.flatten(1).amax(1)
    wrong = (low < -SLACK) | (high > 1 + SLACK)
    if wrong.any():
        number = int(wrong.nonzero()[0])
        raise ValueError(
            f"{_which(wrong, name)}: pixels range from {float(low[number]):.3g} to "
            f"{float(high[number]):.3g}: RGB in [0, 1] is needed"
        )
    return image.clamp(0, 1)


def even_pictures(image: Tensor) -> list[int]:
    """Which pictures of (B, 3, H, W) are even all over, so that no judge can say anything of them.

    Returns: their numbers, from 0.
    """
    flat = image.flatten(2)
    spans = flat.amax(2) - flat.amin(2)
    return (spans < EVEN).all(1).nonzero().flatten().tolist()


def even_remarks(image: Tensor) -> list[str]:
    """A sentence about each even picture."""
    return [
        f"{'picture' if len(image) == 1 else f'picture {number + 1}'} is even all over: what a "
        "quality model says of it means nothing"
        for number in even_pictures(image)
    ]


def _which(bad: Tensor, name: str) -> str:
    number = int(bad.nonzero()[0]) + 1
    return f"{name} {number} of {len(bad)}" if len(bad) > 1 else f"the {name}"
