"""The ranking: scores with intervals, and boxes around those that are not told apart."""

from collections.abc import Iterator

import numpy as np

from ..analysis import Analysis
from ..significance import quantile
from .svg import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    PASTELS,
    Axis,
    axis_over,
    box,
    dot,
    drawing,
    line,
    room_for,
    shortened,
    signed,
    text,
    tick_label,
)
from .tables import half_widths

WIDTH, RIGHT, ROW, TOP, BOTTOM = 900, 130, 36, 14, 52
NAME = 15  # size of letters


def ranking_figure(analysis: Analysis) -> str:
    """Entrants from the highest score to the lowest, as in Figs. 5 and 10 of the paper."""
    order, scores = analysis.order, analysis.fit.scores
    half = np.nan_to_num(half_widths(analysis))
    ends = [value for i in order for value in (scores[i] - half[i], scores[i] + half[i])]
    left = room_for(analysis.ballots.entrants, NAME) + 12
    axis = axis_over(ends, left + 14, WIDTH - RIGHT - 14)
    bottom = TOP + ROW * len(order)
    parts = [*_grid(axis, bottom), *_boxes(analysis, axis, half), *_rows(analysis, axis, half)]
    parts += _islands(analysis)
    title = "Scores: " + ", ".join(
        f"{analysis.ballots.entrants[i]} {signed(scores[i])}" for i in order
    )
    return drawing(WIDTH, bottom + BOTTOM, title, parts)


def _grid(axis: Axis, bottom: float) -> Iterator[str]:
    for tick in axis.ticks():
        x = axis.at(tick)
        yield line(x, TOP, x, bottom, stroke=MUTED if tick == 0 else LINE)
        yield text(x, bottom + 17, tick_label(tick), anchor="middle", fill=MUTED, font_size=12)
    words = "score; a difference of 1 is a preference of 3 to 1"
    middle = (axis.start + axis.stop) / 2
    yield text(middle, bottom + 38, words, anchor="middle", fill=MUTED, font_size=12)


def _boxes(analysis: Analysis, axis: Axis, half: np.ndarray) -> Iterator[str]:
    scores, order = analysis.fit.scores, analysis.order
    for number, members in enumerate(analysis.groups):
        places = [order.index(member) for member in members]
        low = min(axis.at(scores[i] - half[i]) for i in members)
        high = max(axis.at(scores[i] + half[i]) for i in members)
        inset = 9 - 3 * (number % 3)  # so that the outlines of overlapping boxes stay apart
        names = ", ".join(analysis.ballots.entrants[member] for member in members)
        yield box(
            low - inset,
            TOP + ROW * places[0] + 2 + number % 3,
            high - low + 2 * inset,
            ROW * len(places) - 4 - 2 * (number % 3),
            hint=f"not told apart: {names}" if len(members) > 1 else names,
            rx=9,
            fill=PASTELS[number % len(PASTELS)],
            fill_opacity=0.22,
            stroke=PASTELS[number % len(PASTELS)],
            stroke_width=1.6,
        )


def _rows(analysis: Analysis, axis: Axis, half: np.ndarray) -> Iterator[str]:
    names, scores = analysis.ballots.entrants, analysis.fit.scores
    wide = quantile(analysis.independent, analysis.settings.level)
    naive = wide * np.sqrt(analysis.independent.of_scores())
    for place, i in enumerate(analysis.order):
        y = TOP + ROW * (place + 0.5)
        x, low, high = (axis.at(scores[i] + side * half[i]) for side in (0, -1, 1))
        yield text(
            axis.start - 26, y + 5, shortened(names[i]), anchor="end", fill=INK, font_size=NAME
        )
        for end in (low, high):
            yield line(end, y - 5, end, y + 5, stroke=ACCENT, stroke_width=1.8)
        yield line(low, y, high, y, stroke=ACCENT, stroke_width=1.8)
        inner = [axis.at(scores[i] + side * naive[i]) for side in (-1, 1)]
        yield line(inner[0], y, inner[1], y, stroke=ACCENT, stroke_width=6, stroke_opacity=0.4)
        marked = bool(analysis.fit.regularised[i])
        style = {"fill": "#fff", "stroke": ACCENT, "stroke_width": 2} if marked else {}
        words = f"{names[i]}: {signed(scores[i])}" + (", regularised" if marked else "")
        yield dot(x, y, 5.5, words, **style)
        value = f"{signed(scores[i])} \u00b1 {half[i]:.2f}" if half[i] else signed(scores[i])
        yield text(WIDTH - 4, y + 5, value, anchor="end", fill=INK, font_size=14)


def _islands(analysis: Analysis) -> Iterator[str]:
    weak = analysis.fit.components.weak
    for place, pair in enumerate(zip(analysis.order, analysis.order[1:], strict=False), 1):
        if weak[pair[0]] != weak[pair[1]]:
            y = TOP + ROW * place
            yield line(0, y, WIDTH, y, stroke=INK, stroke_dasharray="6 5")
            yield text(4, y + 13, "no votes link these", fill=MUTED, font_size=11)
