"""What a run leaves besides its picture: numbers, a before/after sheet, a plot of the trace."""

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..files.image_values import even_remarks
from ..files.pictures import to_image
from .curves import INK, PAPER, Curve, caption_font, plot_curves
from .enhancer import Enhancer
from .result import MapResult, TraceRow
from .settings import MapSettings, describe_settings

MARGIN, CAPTION = 8, (140, 24)
COLOURS = ((0, 120, 60), (190, 60, 20), (130, 60, 150), (0, 130, 140))  # of terms
ENERGY_COLOUR = (40, 70, 170)


def describe_run(before: Tensor, result: MapResult, enhancer: Enhancer) -> dict[str, object]:
    """One picture's run for JSON: status, scores before and after, models, trace, settings.

    Models are told by what tells them from others, hashes of their weight files among it.
    """
    prior, settings = enhancer.prior, enhancer.settings
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
        "prior": prior.identity,
        "fidelity": enhancer.fidelity.identity if settings.use_fidelity else "none",
        "backbone": enhancer.backbone.name if settings.space == "diffusion" else "none",
        "torch": torch.__version__,
        "scores": scores,
        "pair_difference": float((result.x - result.y).abs().mean()),
        "before": None if result.before is None else result.before.flat(),
        "trace": [row.flat() for row in result.trace],
        "settings": describe_settings(settings),
        **({"remarks": remarks} if (remarks := even_remarks(before)) else {}),
    }


def summarise(result: MapResult) -> str:
    """One line: quality before and after, the iterate chosen, why the run ended."""
    if not result.trace:
        return result.status.value
    first, best = _first_and_best(result)
    chosen = f"best at iteration {best.iteration}"
    if best.quality < first.quality:
        chosen += " by all terms of the energy together"
    if not result.improved:
        chosen = "no improvement found, input returned"
    return f"quality {first.quality:.4f} -> {best.quality:.4f}, {chosen}; {result.status.value}"


def in_force(settings: MapSettings, given_noise: bool = False) -> str:
    """One line: the values that decide how far a picture moves, wherever they come from.

    Args:
        settings: as far as the backbone follows them, see `settings_for`.
        given_noise: whether the ascent starts at noise that is there already.
    """
    ascent = (
        f"in force: {settings.iterations} iterations of {settings.optimizer} at rate "
        f"{settings.learning_rate:g}, lambda {settings.lam:g}"
    )
    if settings.space == "pixel":
        return f"{ascent}, on pixels"
    if settings.expectation:
        ascent += f", expectation {settings.expectation:g}"
    inversion, start = settings.inversion, settings.start
    if given_noise:
        start = "the noise given"
    elif start != "input":
        share = f"{settings.blend:.0%} of the " if settings.blend < 1 else ""
        start = f"{share}{start} ({settings.draws} noises)"
    tile = inversion.tile or "the whole picture"
    steps = f"{inversion.steps} steps, strength {inversion.strength:g}, tile {tile}"
    return f"{ascent}; start: {start}; {steps}"


def _first_and_best(result: MapResult) -> tuple[TraceRow, TraceRow]:
    """The input's row and the result's; of a result that is the input the same."""
    rows = {row.iteration: row for row in result.trace}
    first = result.before or rows[0]
    return first, rows[result.best_iteration] if result.improved else first


def before_after_sheet(before: Tensor, result: MapResult) -> Image.Image:
    """Input and result side by side, with the prior's quality under each; see `sheet_size`."""
    images = [to_image(before), to_image(result.picture)]
    captions = ["before", "after"]
    if result.trace:
        chosen = _first_and_best(result)
        captions = [f"{c}: quality {r.quality:.3f}" for c, r in zip(captions, chosen, strict=True)]
    width, height = images[0].size
    sheet = Image.new("RGB", sheet_size(width, height), PAPER)
    column = (sheet.width - MARGIN) // 2
    draw = ImageDraw.Draw(sheet)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = MARGIN + index * column
        sheet.paste(image, (left, MARGIN))
        draw.text((left, height + MARGIN + 4), caption, INK, caption_font())
    return sheet


def sheet_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the before/after sheet of a picture of `width` x `height` pixels."""
    return 2 * max(width, CAPTION[0]) + 3 * MARGIN, height + 2 * MARGIN + CAPTION[1]


def plot_trace(trace: tuple[TraceRow, ...], width: int = 640, panel: int = 150) -> Image.Image:
    """The energy's terms and the energy per iteration, one panel each."""
    names = list(trace[0].terms) if trace else []
    curves = [
        Curve(name, [row.terms[name] for row in trace], COLOURS[index % len(COLOURS)])
        for index, name in enumerate(names)
    ]
    energy = Curve("energy", [row.energy for row in trace], ENERGY_COLOUR)
    return plot_curves([*curves, energy], width, panel)
