"""Several results of one picture side by side, every judge's scores, and where they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from ..files.devices import exact
from ..files.pictures import to_image
from ..iqa_priors.prior import Prior
from ..map_estimation.comparison_sheet import Window, densest_window
from ..map_estimation.curves import INK, PAPER, caption_font

MARGIN, CAPTION, ZOOM = 10, 26, 2
LONGEST = 1024  # pixels of a picture shown whole; larger ones are shrunk
NARROWEST = 200  # of a column, for its captions
FRAME = (230, 120, 0)
OWN = "*"


@dataclass(frozen=True)
class Candidate:
    """A result to be compared.

    Attributes:
        name: shown above it.
        picture: RGB in [0, 1], (1, 3, H, W), on the CPU.
        judge: the name of the prior that it was made with; empty for none.
    """

    name: str
    picture: Tensor
    judge: str = ""


def check_candidates(candidates: Sequence[Candidate]) -> None:
    """Raise ValueError unless there are two candidates or more, all of the first one's size."""
    if len(candidates) < 2:
        raise ValueError("one picture is nothing to compare: connect a prior or an image")
    first = candidates[0]
    for other in candidates[1:]:
        if other.picture.shape != first.picture.shape:
            sizes = [
                f"{c.name} is {c.picture.shape[-1]}x{c.picture.shape[-2]}" for c in (first, other)
            ]
            raise ValueError(f"{' and '.join(sizes)} pixels: bring both to one size")


def most_discrepant(candidates: Sequence[Candidate]) -> Window:
    """The square, a quarter of the shorter side, on which the results differ most from each other.

    Differ: the mean squared difference over all pairs; of equal results the middle.
    """
    pictures = exact(torch.cat([candidate.picture for candidate in candidates]))
    shorter = min(pictures.shape[-2:])
    differences = sum(
        (pictures[a] - pictures[b]).square().sum(0)
        for a, b in combinations(range(len(pictures)), 2)
    )
    return densest_window(torch.as_tensor(differences), min(shorter, max(16, shorter // 4)))


def region_mask(window: Window, picture: Tensor) -> Tensor:
    """A window of a picture as a mask (1, H, W): 1 inside."""
    mask = torch.zeros(1, *picture.shape[-2:])
    mask[:, window.top : window.top + window.side, window.left : window.left + window.side] = 1
    return mask


@torch.no_grad()
def judge_all(
    candidates: Sequence[Candidate], judges: Sequence[Prior], device: torch.device | str = "cpu"
) -> list[list[float]]:
    """Every judge's quality, in [0, 1] and by its published rule, of every candidate.

    Returns: a row a candidate, a column a judge.
    """
    published = [judge.as_published() for judge in judges]
    return [
        [float(judge(candidate.picture.to(device))) for judge in published]
        for candidate in candidates
    ]


def judge_table(
    candidates: Sequence[Candidate], judges: Sequence[Prior], scores: Sequence[Sequence[float]]
) -> str:
    """The scores as text, a judge's own result marked, and whether each prefers its own."""
    names = [judge.name for judge in judges]
    wide = max(len("result"), *(len(candidate.name) for candidate in candidates))
    columns = [max(8, len(name)) for name in names]
    head = "  ".join(f"{name:>{width}} " for name, width in zip(names, columns, strict=True))
    lines = [f"{'result':<{wide}}  {head}".rstrip()]
    for candidate, row in zip(candidates, scores, strict=True):
        cells = (
            f"{score:>{width}.4f}{OWN if name == candidate.judge else ' '}"
            for score, name, width in zip(row, names, columns, strict=True)
        )
        lines.append(f"{candidate.name:<{wide}}  {'  '.join(cells)}".rstrip())
    lines.append(f"{OWN} the judge that the result was made with, which should find it best:")
    for column, name in enumerate(names):
        best = max(range(len(candidates)), key=lambda index: scores[index][column])
        own = [candidate.name for candidate in candidates if candidate.judge == name]
        verdict = "its own" if candidates[best].name in own else "not its own" if own else "no own"
        lines.append(f"  {name} prefers {candidates[best].name} ({verdict})")
    return "\n".join(lines)


def candidates_sheet(
    candidates: Sequence[Candidate],
    window: Window,
    judges: Sequence[Prior] = (),
    scores: Sequence[Sequence[float]] = (),
) -> Image.Image:
    """All results in a row, with a frame around a window, and that window at 200 % below each.

    Args:
        judges, scores: as `judge_all` has them: above each its own judge's score.
    """
    height, width = candidates[0].picture.shape[-2:]
    scale = min(1.0, LONGEST / max(width, height))
    shown = (max(1, round(scale * width)), max(1, round(scale * height)))
    column = max(shown[0], ZOOM * window.side, NARROWEST)
    step = column + MARGIN
    size = (
        len(candidates) * step + MARGIN,
        2 * CAPTION + shown[1] + ZOOM * window.side + 2 * MARGIN,
    )
    sheet = Image.new("RGB", size, PAPER)
    for index, candidate in enumerate(candidates):
        left = MARGIN + index * step
        row = scores[index] if scores else ()
        _draw(sheet, candidate, (left, MARGIN), shown, window, _caption(candidate, judges, row))
    return sheet


def _caption(candidate: Candidate, judges: Sequence[Prior], row: Sequence[float]) -> str:
    own = [
        score for judge, score in zip(judges, row, strict=False) if judge.name == candidate.judge
    ]
    return f"{candidate.name}  {own[0]:.3f}" if own and math.isfinite(own[0]) else candidate.name


def _draw(
    sheet: Image.Image,
    candidate: Candidate,
    place: tuple[int, int],
    shown: tuple[int, int],
    window: Window,
    caption: str,
) -> None:
    """One column: caption, picture with a frame, the framed part enlarged."""
    left, top = place
    draw = ImageDraw.Draw(sheet)
    draw.text((left, top), caption, INK, caption_font())
    whole = to_image(candidate.picture)
    scale = shown[0] / whole.width
    if whole.size != shown:
        whole = whole.resize(shown, Image.Resampling.BOX)
    below = top + CAPTION - 4
    sheet.paste(whole, (left, below))
    x, y, side = (scale * value for value in (window.left, window.top, window.side))
    corner = (left + x + side - 1, below + y + side - 1)
    draw.rectangle((left + x, below + y, *corner), outline=FRAME)
    end = (
        slice(window.top, window.top + window.side),
        slice(window.left, window.left + window.side),
    )
    crop = F.interpolate(candidate.picture[(..., *end)], scale_factor=ZOOM, mode="nearest")
    below += shown[1] + CAPTION
    draw.text((left, below - CAPTION + 4), f"framed part at {100 * ZOOM} %", INK, caption_font())
    sheet.paste(to_image(crop), (left, below))
