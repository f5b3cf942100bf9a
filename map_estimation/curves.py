"""Curves of a run, one panel each, drawn with Pillow alone."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

INK, PAPER, FRAME = (30, 30, 30), (255, 255, 255), (200, 200, 200)
LEFT, TOP, RIGHT, BOTTOM = 70, 24, 12, 18  # between a panel's border and its frame
DOT_ROOM = 8  # pixels from value to value, below which dots would hide the line

Colour = tuple[int, int, int]


class Curve(NamedTuple):
    """Values by iteration, from 0 on.

    Attributes:
        title: what they are.
        values: finite; drawn logarithmically only if all are positive.
        colour: of the title and the line.
        logarithmic: whether to draw their logarithms.
    """

    title: str
    values: Sequence[float]
    colour: Colour
    logarithmic: bool = False


def plot_curves(curves: Sequence[Curve], width: int = 640, panel: int = 150) -> Image.Image:
    """Draw curves below each other.

    Args:
        curves: what to draw.
        width: of the plot, in pixels.
        panel: height of a curve's panel, in pixels.
    Returns: an RGB image of width x (panels * panel) pixels.
    """
    plot = Image.new("RGB", (width, panel * len(curves)), PAPER)
    draw = ImageDraw.Draw(plot)
    for index, curve in enumerate(curves):
        top = index * panel
        _draw(draw, (LEFT, top + TOP, width - RIGHT, top + panel - BOTTOM), curve)
    return plot


def caption_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of all captions, which comes with Pillow."""
    return ImageFont.load_default(13)


def _draw(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], curve: Curve) -> None:
    """Title, frame, range and line; `box` is the frame."""
    left, top, right, bottom = box
    font, values = caption_font(), curve.values
    logarithmic = curve.logarithmic and bool(values) and min(values) > 0
    title = f"{curve.title}, logarithmic" if logarithmic else curve.title
    draw.text((left, top - 20), title, curve.colour, font)
    draw.rectangle(box, outline=FRAME)
    if not values:
        return
    last = f"{len(values) - 1} iterations"
    draw.text((4, top - 6), f"{max(values):.3g}", INK, font)
    draw.text((4, bottom - 10), f"{min(values):.3g}", INK, font)
    draw.text((left, bottom + 3), "0", INK, font)
    draw.text((right - draw.textlength(last, font), bottom + 3), last, INK, font)
    points = _places(box, [math.log10(v) for v in values] if logarithmic else values)
    draw.line(points, fill=curve.colour, width=2)
    if len(points) * DOT_ROOM <= right - left:
        for x, y in points:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=curve.colour)


def _places(box: tuple[int, int, int, int], heights: Sequence[float]) -> list[tuple[float, float]]:
    """Where the values are in the frame, whose height is their range."""
    left, top, right, bottom = box
    low = min(heights)
    span = max(heights) - low or 1.0
    step = (right - left) / max(1, len(heights) - 1)
    return [
        (left + step * index, bottom - (bottom - top) * (height - low) / span)
        for index, height in enumerate(heights)
    ]


def plot_overlays(
    panels: Mapping[str, Sequence[Curve]], width: int = 640, panel: int = 170
) -> Image.Image:
    """Draw panels below each other, each with several curves on one scale.

    Args:
        panels: curves by the panel's title; those without values are left out.
        width: of the plot, in pixels.
        panel: height of a panel, in pixels.
    Returns: an RGB image of width x (panels * panel) pixels.
    """
    plot = Image.new("RGB", (width, panel * max(1, len(panels))), PAPER)
    draw = ImageDraw.Draw(plot)
    for index, (title, curves) in enumerate(panels.items()):
        top = index * panel
        box = (LEFT, top + TOP, width - RIGHT, top + panel - BOTTOM)
        _draw_together(draw, box, title, [curve for curve in curves if curve.values])
    return plot


def _draw_together(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], title: str, curves: Sequence[Curve]
) -> None:
    left, top, right, bottom = box
    font = caption_font()
    draw.rectangle(box, outline=FRAME)
    place = left
    for text, colour in ((title, INK), *((curve.title, curve.colour) for curve in curves)):
        draw.text((place, top - 20), text, colour, font)
        place += round(draw.textlength(text, font)) + 14
    if not curves:
        return
    values = [value for curve in curves for value in curve.values]
    last = max(len(curve.values) for curve in curves) - 1
    draw.text((4, top - 6), f"{max(values):.3g}", INK, font)
    draw.text((4, bottom - 10), f"{min(values):.3g}", INK, font)
    end = f"{last} iterations"
    draw.text((right - draw.textlength(end, font), bottom + 3), end, INK, font)
    span, step = max(values) - min(values) or 1.0, (right - left) / max(1, last)
    for curve in curves:
        points = [
            (left + step * i, bottom - (bottom - top) * (value - min(values)) / span)
            for i, value in enumerate(curve.values)
        ]
        draw.line(points, fill=curve.colour, width=2)
        for x, y in points if len(points) == 1 else ():
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=curve.colour)
