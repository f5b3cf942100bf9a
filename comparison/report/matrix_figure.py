"""Every pair of entrants: shares of votes, and what the tests say."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ..analysis import Analysis
from .svg import INK, box, drawing, line, room_for, shortened, text
from .table import p_value

WIDTH, NAME = 900, 14
SLOPE = 35  # degrees, of the columns' names
ROW_WINS, COLUMN_WINS, EVEN = (36, 87, 166), (196, 98, 16), (250, 250, 250)
DARK = 0.18  # luminance below which white letters have more contrast than dark ones


def matrix_figure(analysis: Analysis) -> str:
    """How often row was preferred to column; a frame around those that are told apart."""
    order, counts = analysis.order, analysis.ballots.counts()
    room = room_for(analysis.ballots.entrants, NAME)
    left, top = room + 16, 24 + room * math.sin(math.radians(SLOPE))
    side = min(96.0, (WIDTH - left - top) / len(order))
    tall = min(46.0, max(24.0, 0.62 * side))
    tests = {frozenset((row.first, row.second)): row for row in analysis.comparisons}
    parts = list(_names(analysis, (left, top), side, tall))
    for down, i in enumerate(order):
        for along, j in enumerate(order):
            x, y = left + side * along, top + tall * down
            if i == j:
                parts.append(box(x, y, side - 2, tall - 2, fill="#eceff2"))
                continue
            won, votes = counts[i, j], counts[i, j] + counts[j, i]
            row = tests[frozenset((i, j))]
            apart = row.holm_p < analysis.settings.level
            pair = f"{analysis.ballots.entrants[i]} over {analysis.ballots.entrants[j]}"
            hint = f"{pair}: {won:.0f} of {votes:.0f} votes; Holm p {_p(row.holm_p)}"
            parts += _cell(x, y, side - 2, tall - 2, won, votes, apart, hint)
    return drawing(
        left + side * len(order) + room * math.cos(math.radians(SLOPE)),
        top + tall * len(order) + 6,
        "Shares of votes of all pairs; the table of votes has the numbers",
        parts,
    )


def luminance(colour: Sequence[int]) -> float:
    """Relative luminance of an sRGB colour of 0 to 255, as WCAG defines it."""
    red, green, blue = (
        c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _p(value: float) -> str:
    return "not known" if np.isnan(value) else p_value(value)


def _names(
    analysis: Analysis, corner: tuple[float, float], side: float, tall: float
) -> Iterator[str]:
    left, top = corner
    for place, i in enumerate(analysis.order):
        name = shortened(analysis.ballots.entrants[i])
        y = top + tall * (place + 0.5) + 4
        yield text(left - 12, y, name, anchor="end", fill=INK, font_size=NAME)
        x = left + side * (place + 0.5)
        turn = f"rotate(-{SLOPE} {x:.1f} {top - 10:.1f})"
        yield text(x, top - 10, name, fill=INK, font_size=NAME, transform=turn)


def _cell(
    x: float, y: float, wide: float, tall: float, won: float, votes: float, apart: bool, hint: str
) -> Iterator[str]:
    if not votes:
        yield box(x, y, wide, tall, "never compared", fill="#fff", stroke="#dde2e8")
        yield line(x + 6, y + tall - 6, x + wide - 6, y + 6)
        return
    share = won / votes
    strength = abs(2 * share - 1) ** 0.8
    target = ROW_WINS if share >= 0.5 else COLUMN_WINS
    mixed = [round(e + (t - e) * strength) for e, t in zip(EVEN, target, strict=True)]
    frame = {"stroke": INK, "stroke_width": 1.6} if apart else {"stroke": "#dde2e8"}
    yield box(x, y, wide, tall, hint, fill=f"rgb({mixed[0]},{mixed[1]},{mixed[2]})", rx=3, **frame)
    if wide < 30:
        return
    dark = luminance(mixed) < DARK
    ink = "#fff" if dark else INK
    middle, whole = x + wide / 2, wide >= 52 and tall >= 32
    up = tall / 2 + (0 if whole else 5)
    yield text(middle, y + up, f"{100 * share:.0f} %", anchor="middle", fill=ink, font_size=NAME)
    if whole:
        small = {"fill": ink, "font_size": 10.5}
        yield text(middle, y + tall / 2 + 14, f"{won:.0f} of {votes:.0f}", anchor="middle", **small)
