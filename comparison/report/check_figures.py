"""Drawings to judge the analysis by: fit, ranks in the bootstrap, observers."""

from collections.abc import Iterator

import numpy as np

from ..analysis import Analysis
from ..observers import FAR, FEWEST_FOR_QUARTILES
from ..thurstone import preference
from .svg import (
    ACCENT,
    ALARM,
    INK,
    LINE,
    MUTED,
    Axis,
    axis_over,
    box,
    dot,
    drawing,
    line,
    room_for,
    shortened,
    text,
    tick_label,
)

SIDE, EDGE = 400, 46
STRIP = 110
SMALL = {"fill": MUTED, "font_size": 12}


def fit_figure(analysis: Analysis) -> str:
    """Each pair's share of votes against the one that the scores predict."""
    across, up = Axis(0, 1, EDGE, SIDE - 8), Axis(0, 1, SIDE - EDGE, 8)
    scores, names = analysis.fit.scores, analysis.ballots.entrants
    parts = list(_unit_grid(across, up))
    parts.append(line(across.at(0), up.at(0), across.at(1), up.at(1), stroke=MUTED))
    order = {entrant: place for place, entrant in enumerate(analysis.order)}
    for share in analysis.shares:
        if order[share.entrant] > order[share.opponent]:
            continue
        expected = float(preference(scores[share.entrant] - scores[share.opponent]))
        x, y = across.at(expected), up.at(share.share)
        low, high = (up.at(end) for end in share.interval)
        parts.append(line(x, low, x, high, stroke=ACCENT, stroke_opacity=0.45, stroke_width=1.5))
        pair = f"{names[share.entrant]} over {names[share.opponent]}"
        words = f"{pair}: {share.share:.3f} of votes, {expected:.3f} by the scores"
        parts.append(dot(x, y, 3.6, words))
    parts.append(text((EDGE + SIDE) / 2, SIDE - 8, "share by the scores", anchor="middle", **SMALL))
    turn = f"rotate(-90 12 {SIDE / 2})"
    parts.append(text(12, SIDE / 2, "share of votes", anchor="middle", transform=turn, **SMALL))
    return drawing(SIDE, SIDE, "Shares of votes against those that the scores predict", parts)


def _unit_grid(across: Axis, up: Axis) -> Iterator[str]:
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = across.at(tick), up.at(tick)
        yield line(x, up.start, x, up.stop)
        yield line(across.start, y, across.stop, y)
        yield text(x, up.start + 16, f"{tick:g}", anchor="middle", **SMALL)
        yield text(across.start - 6, y + 4, f"{tick:g}", anchor="end", **SMALL)


def ranks_figure(analysis: Analysis) -> str:
    """How often each entrant has each rank in the bootstrap; empty without one."""
    if not analysis.drawn or not len(analysis.drawn.scores) or not analysis.fit.connected:
        return ""
    shares, size = analysis.drawn.rank_shares(), len(analysis.order)
    left, top, tall = room_for(analysis.ballots.entrants, 13) + 12, 8, 32.0
    side = min(64.0, (SIDE + 60 - left) / size)
    parts = []
    for down, i in enumerate(analysis.order):
        y, name = top + tall * down, analysis.ballots.entrants[i]
        parts.append(text(left - 10, y + 20, shortened(name), anchor="end", fill=INK, font_size=13))
        for rank, share in enumerate(shares[i]):
            x, words = left + side * rank, f"{name}: rank {rank + 1} in {100 * share:.1f} %"
            ink = {"fill": ACCENT, "fill_opacity": f"{share**0.7:.3f}", "stroke": LINE}
            parts.append(box(x, y, side - 2, tall - 2, words, rx=3, **ink))
            if share >= 0.005 and side >= 30:
                fill = "#fff" if share > 0.5 else INK
                percents = f"{100 * share:.0f}"
                middle = x + side / 2 - 1
                parts.append(
                    text(middle, y + 20, percents, anchor="middle", fill=fill, font_size=12)
                )
    for rank in range(size):
        x, y = left + side * (rank + 0.5) - 1, top + tall * size + 14
        parts.append(text(x, y, f"{rank + 1}", anchor="middle", **SMALL))
    words = "Ranks in the bootstrap, in percent of draws"
    return drawing(left + side * size + 4, top + tall * size + 24, words, parts)


def observers_figure(analysis: Analysis) -> str:
    """Each observer's likelihood, and share of votes for the left; those to look into are named."""
    names = [observer.name for observer in analysis.observers]
    odd = [bool(observer.look_into) for observer in analysis.observers]
    likelihoods = [o.agreement.log10_likelihood for o in analysis.observers]
    parts: list[str] = []
    known = [value for value in likelihoods if np.isfinite(value)]
    if known:
        fences = {}
        if len(known) >= FEWEST_FOR_QUARTILES:
            first, third = np.quantile(known, [0.25, 0.75], method="hazen")
            fences = {"first quartile": first, f"{FAR:g} IQR below": first - FAR * (third - first)}
        label = "log10 likelihood under the others' scores, mean over pairs"
        axis = axis_over([*known, *fences.values()], EDGE, 2 * SIDE - 20)
        parts += _strip(axis, 0, likelihoods, names, odd, label, fences)
    lefts = [o.left / o.sided if o.sided else np.nan for o in analysis.observers]
    height = STRIP if known else 0
    if np.isfinite(lefts).any():
        axis = axis_over([*lefts, 0.4, 0.6], EDGE, 2 * SIDE - 20)
        biased = [o.side_p < analysis.settings.level for o in analysis.observers]
        label = "share of votes for the left picture"
        parts += _strip(axis, height, lefts, names, biased, label, {"one half": 0.5})
        height += STRIP
    return drawing(2 * SIDE, height, "Observers", parts) if parts else ""


def _strip(
    axis: Axis,
    top: float,
    values: list[float],
    names: list[str],
    odd: list[bool],
    label: str,
    fences: dict[str, float],
) -> Iterator[str]:
    base = top + 62
    yield text(axis.start, top + 14, label, fill=INK, font_size=13)
    yield line(axis.start, base + 12, axis.stop, base + 12)
    for tick in axis.ticks():
        yield text(axis.at(tick), base + 28, tick_label(tick), anchor="middle", **SMALL)
    for name, value in fences.items():
        x = axis.at(value)
        yield line(x, base - 22, x, base + 12, stroke=MUTED, stroke_dasharray="4 3")
        yield text(x, base - 26, name, anchor="middle", fill=MUTED, font_size=11)
    for place, (value, name, far) in enumerate(zip(values, names, odd, strict=True)):
        if np.isfinite(value):
            y = base - 8 + 4 * (place % 4)
            yield dot(
                axis.at(value),
                y,
                4.5,
                f"{name}: {value:.3f}",
                fill=ALARM if far else ACCENT,
                fill_opacity=0.75,
            )
            if far:
                words = shortened(name)
                yield text(
                    axis.at(value), base - 13, words, anchor="middle", fill=ALARM, font_size=11
                )
