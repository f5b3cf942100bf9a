"""Input and result on one sheet: whole, where they differ most, and their difference."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from ..files.devices import exact
from ..files.pictures import to_image
from .curves import INK, PAPER, caption_font

MARGIN, LINE = 10, 17
CAPTION_LINES = 2
CAPTION = 6 + CAPTION_LINES * LINE  # height of a caption
NARROWEST = 200  # of a column, for its captions
LONGEST = 2048  # of a picture shown whole; larger ones are shrunk
ZOOM = 2
SMALLEST_WINDOW, LARGEST_WINDOW = 32, 512
WIDE = 2.0  # of pictures with a side that much longer than the other, the sheet is a column
FACTORS = (1, 2, 4, 8, 16, 32, 64)  # of the difference
FAITHFUL = 0.998  # share of the difference's values that the factor must not cut off
MIDDLE = 128
FRAME = (230, 120, 0)


class Window(NamedTuple):
    """A square of a picture."""

    top: int
    left: int
    side: int


class _Panel(NamedTuple):
    image: Image.Image
    caption: str


class _Layout(NamedTuple):
    shown: tuple[int, int]  # size of a whole picture on the sheet
    window: int
    column: int  # width
    stacked: bool

    @property
    def sheet(self) -> tuple[int, int]:
        """Width and height."""
        crop = ZOOM * self.window + CAPTION + MARGIN
        whole = self.shown[1] + CAPTION + MARGIN
        if self.stacked:
            below = 2 * max(ZOOM * self.window, NARROWEST) + MARGIN
            return max(self.column, below) + 2 * MARGIN, 3 * whole + crop + MARGIN
        return 3 * (self.column + MARGIN) + MARGIN, whole + crop + MARGIN


def comparison_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the comparison sheet of a picture of `width` x `height` pixels."""
    return _layout(width, height).sheet


@torch.no_grad()
def comparison_sheet(before: Tensor, after: Tensor, words: str = "") -> Image.Image:
    """Input, result, their difference, and both at 200 % where they differ most.

    The difference is signed and amplified by a power of two that cuts off next to nothing; its
    scale is in the caption, and a frame shows where the crops are from.

    Args:
        before, after: RGB in [0, 1], (1, 3, H, W).
        words: what changed, for beside the crops or below them.
    Returns: an RGB image of `comparison_size`; pictures longer than 2048 pixels are shrunk.
    """
    before, after = (image.detach().float().cpu().clamp(0, 1) for image in (before, after))
    height, width = before.shape[-2:]
    layout = _layout(width, height)
    window = where_they_differ_most(before, after, layout.window)
    factor = amplification(before, after)
    scale = layout.shown[0] / width
    share = "" if scale == 1 else f", shown at {100 * scale:.0f} %"
    whole = [
        _Panel(_shown(to_image(before), layout), f"input, {width} x {height}{share}"),
        _Panel(_shown(to_image(after), layout), f"result{share}"),
        _Panel(_difference(before, after, factor, window, layout), difference_caption(factor)),
    ]
    crops = [
        _Panel(_crop(image, window), f"{name} at {100 * ZOOM} %, where they differ most")
        for name, image in (("input", before), ("result", after))
    ]
    return _compose(layout, whole, crops, words)


@torch.no_grad()
def side_by_side(
    before: Tensor, after: Tensor, captions: tuple[str, str] = ("before", "after")
) -> Image.Image:
    """Both pictures in a row, each with its caption below.

    Args:
        before, after: RGB in [0, 1], (1, 3, H, W).
    Returns: an RGB image; pictures longer than 2048 pixels are shrunk.
    """
    images = [to_image(image.detach().float().cpu().clamp(0, 1)) for image in (before, after)]
    layout = _layout(*images[0].size)
    across = layout.column + MARGIN
    size = (2 * across + MARGIN, layout.shown[1] + MARGIN + CAPTION)
    sheet = Image.new("RGB", size, PAPER)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        panel = _Panel(_shown(image, layout), caption)
        _place(sheet, panel, MARGIN + index * across, MARGIN, layout.column)
    return sheet


def where_they_differ_most(before: Tensor, after: Tensor, side: int) -> Window:
    """The square of the largest mean squared difference; the middle of equal pictures.

    Args:
        before, after: (1, 3, H, W).
        side: of the square, at most the pictures' shorter side.
    """
    return densest_window((exact(after) - exact(before)).square().sum((0, 1)), side)


def densest_window(square: Tensor, side: int) -> Window:
    """The square of the largest sum of a map (H, W); the middle of an empty one."""
    height, width = square.shape
    if not square.any():
        return Window((height - side) // 2, (width - side) // 2, side)
    sums = F.pad(square.cumsum(0).cumsum(1), (1, 0, 1, 0))
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = divmod(int(inside.argmax()), inside.shape[1])
    return Window(top, left, side)


def amplification(before: Tensor, after: Tensor) -> int:
    """The largest factor by which the difference is shown without cutting it off; 0 if equal."""
    levels = (255 * (after - before).abs()).flatten()
    if not levels.any():
        return 0
    rank = max(1, math.ceil(FAITHFUL * levels.numel()))
    most = float(levels.kthvalue(rank).values)
    fitting = [factor for factor in FACTORS if factor * most < MIDDLE]
    return max(fitting, default=1)


def difference_caption(factor: int) -> str:
    """The scale of a difference that is amplified by `factor`."""
    if factor == 0:
        return "difference: none"
    reach = MIDDLE / factor
    return f"difference x {factor}: grey none, white +{reach:g}, black -{reach:g} of 255"


def _layout(width: int, height: int) -> _Layout:
    scale = min(1.0, LONGEST / max(width, height))
    shown = max(1, round(scale * width)), max(1, round(scale * height))
    shorter = min(width, height)
    window = min(shorter, max(SMALLEST_WINDOW, shorter // 4), LARGEST_WINDOW)
    column = max(shown[0], ZOOM * window, NARROWEST)
    return _Layout(shown, window, column, stacked=shown[0] > WIDE * shown[1])


def _shown(image: Image.Image, layout: _Layout) -> Image.Image:
    return image if image.size == layout.shown else image.resize(layout.shown, Image.Resampling.BOX)


def _crop(image: Tensor, window: Window) -> Image.Image:
    """Each pixel as a square of pixels."""
    top, left, side = window
    crop = to_image(image[..., top : top + side, left : left + side])
    return crop.resize((ZOOM * side, ZOOM * side), Image.Resampling.NEAREST)


def _difference(
    before: Tensor, after: Tensor, factor: int, window: Window, layout: _Layout
) -> Image.Image:
    """Grey where they are equal, with a frame around the window."""
    image = _shown(to_image((MIDDLE + factor * 255 * (after - before)) / 255), layout)
    scale = image.width / before.shape[-1]
    left, top = scale * window.left, scale * window.top
    right, bottom = left + scale * window.side - 1, top + scale * window.side - 1
    ImageDraw.Draw(image).rectangle((left, top, max(left, right), max(top, bottom)), outline=FRAME)
    return image


def _compose(
    layout: _Layout, whole: Sequence[_Panel], crops: Sequence[_Panel], words: str
) -> Image.Image:
    sheet = Image.new("RGB", layout.sheet, PAPER)
    step = layout.shown[1] + CAPTION + MARGIN
    for index, panel in enumerate(whole):
        across = 0 if layout.stacked else index * (layout.column + MARGIN)
        down = index * step if layout.stacked else 0
        _place(sheet, panel, MARGIN + across, MARGIN + down, layout.column)
    below = MARGIN + (len(whole) if layout.stacked else 1) * step
    width = max(ZOOM * layout.window, NARROWEST) if layout.stacked else layout.column
    for index, panel in enumerate(crops):
        _place(sheet, panel, MARGIN + index * (width + MARGIN), below, width)
    left = MARGIN + len(crops) * (width + MARGIN)
    draw = ImageDraw.Draw(sheet)
    lines = words.split("; ") if words else []
    if left + NARROWEST <= sheet.width:
        for index, line in enumerate(lines):
            draw.text((left, below + index * LINE), line, INK, caption_font())
    return sheet


def _place(sheet: Image.Image, panel: _Panel, left: int, top: int, width: int) -> None:
    """A panel and below it its caption, in lines of at most `width`."""
    sheet.paste(panel.image, (left, top))
    draw = ImageDraw.Draw(sheet)
    for index, line in enumerate(_lines(panel.caption, width, draw)[:CAPTION_LINES]):
        place = (left, top + panel.image.height + 4 + index * LINE)
        draw.text(place, line, INK, caption_font())


def _lines(text: str, width: int, draw: ImageDraw.ImageDraw) -> list[str]:
    """Text broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, caption_font()) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
