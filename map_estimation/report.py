"""What a run leaves besides its picture: numbers, a before/after sheet, a plot of the trace."""

from dataclasses import asdict

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..files.pictures import to_image
from ..iqa_priors.prior import Prior
from .result import MapResult, TraceRow
from .settings import MapSettings

MARGIN, CAPTION = 8, (140, 24)
INK, PAPER = (30, 30, 30), (255, 255, 255)
CURVES = {"quality": (0, 120, 60), "fidelity": (190, 60, 20), "energy": (40, 70, 170)}


def describe_run(
    before: Tensor, result: MapResult, prior: Prior, settings: MapSettings
) -> dict[str, object]:
    """One picture's run for JSON: status, scores before and after, trace, settings."""
    with torch.no_grad():
        scores = {
            when: {name: float(s) for name, s in prior.scores(image).items()}
            for when, image in (("before", before), ("after", result.picture.to(before)))
        }
    return {
        "status": result.status.value,
        "improved": result.improved,
        "best_iteration": result.best_iteration,
        "size": [before.shape[-1], before.shape[-2]],
        "prior": prior.name,
        "scores": scores,
        "pair_difference": float((result.x - result.y).abs().mean()),
        "trace": [row._asdict() for row in result.trace],
        "settings": asdict(settings),
    }


def summarise(result: MapResult) -> str:
    """One line: quality before and after, the iterate chosen, why the run ended."""
    if not result.trace:
        return result.status.value
    rows = {row.iteration: row for row in result.trace}
    first, best = rows[0], rows[result.best_iteration]
    found = f"best at iteration {best.iteration}"
    if not result.improved:
        found = "no improvement found, input returned"
    return f"quality {first.quality:.4f} -> {best.quality:.4f}, {found}; {result.status.value}"


def before_after_sheet(before: Tensor, result: MapResult) -> Image.Image:
    """Input and result side by side, with the prior's quality under each; see `sheet_size`."""
    images = [to_image(before), to_image(result.picture)]
    captions = ["before", "after"]
    if result.trace:
        rows = {row.iteration: row for row in result.trace}
        chosen = (rows[0], rows[result.best_iteration])
        captions = [f"{c}: quality {r.quality:.3f}" for c, r in zip(captions, chosen, strict=True)]
    width, height = images[0].size
    sheet = Image.new("RGB", sheet_size(width, height), PAPER)
    column = (sheet.width - MARGIN) // 2
    draw = ImageDraw.Draw(sheet)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = MARGIN + index * column
        sheet.paste(image, (left, MARGIN))
        draw.text((left, height + MARGIN + 4), caption, INK, _font())
    return sheet


def sheet_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the before/after sheet of a picture of `width` x `height` pixels."""
    return 2 * max(width, CAPTION[0]) + 3 * MARGIN, height + 2 * MARGIN + CAPTION[1]


def plot_trace(trace: tuple[TraceRow, ...], width: int = 640, panel: int = 150) -> Image.Image:
    """Quality, fidelity and energy per iteration, one panel each."""
    plot = Image.new("RGB", (width, panel * len(CURVES)), PAPER)
    draw = ImageDraw.Draw(plot)
    for index, (name, colour) in enumerate(CURVES.items()):
        values = [float(getattr(row, name)) for row in trace]
        box = (70, index * panel + 24, width - 12, (index + 1) * panel - 18)
        draw.text((70, index * panel + 4), name, colour, _font())
        draw.rectangle(box, outline=(200, 200, 200))
        if values:
            _draw_curve(draw, box, values, colour)
    return plot


def _draw_curve(draw: ImageDraw.ImageDraw, box: tuple, values: list[float], colour: tuple) -> None:
    left, top, right, bottom = box
    low, high = min(values), max(values)
    draw.text((4, top - 6), f"{high:.3g}", INK, _font())
    draw.text((4, bottom - 10), f"{low:.3g}", INK, _font())
    draw.text((right - 24, bottom + 3), str(len(values) - 1), INK, _font())
    draw.text((left, bottom + 3), "0", INK, _font())
    span = high - low or 1.0
    points = [
        (
            left + (right - left) * i / max(1, len(values) - 1),
            bottom - (bottom - top) * (value - low) / span,
        )
        for i, value in enumerate(values)
    ]
    draw.line(points, fill=colour, width=2)
    for x, y in points:
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13)
