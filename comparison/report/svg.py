"""Pieces of drawings in SVG, as text."""

from collections.abc import Iterable
from html import escape
from typing import NamedTuple

import numpy as np

INK, MUTED, LINE, ACCENT, ALARM = "#1b1f24", "#5b6470", "#dde2e8", "#2457a6", "#b3261e"
PASTELS = ("#7aa6d8", "#e3a857", "#86bf8d", "#c78ac2", "#d98c80", "#8fb8b5", "#b0a35c", "#9a94cf")
LONGEST_NAME = 26


class Axis(NamedTuple):
    """Values from low to high, drawn from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        """Where a value is drawn."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self, most: int = 9) -> list[float]:
        """Round values inside, at most so many."""
        span = self.high - self.low
        for step in (m * 10.0**e for e in range(-6, 12) for m in (1, 2, 5)):
            if span / step <= most - 1:
                first = np.ceil(self.low / step - 1e-9)
                count = int(np.floor(self.high / step + 1e-9) - first) + 1
                return [float(step * (first + place)) + 0.0 for place in range(count)]
        return [self.low, self.high]


def axis_over(values: Iterable[float], start: float, stop: float, room: float = 0.05) -> Axis:
    """An axis over all finite values, with some room at both ends."""
    finite = [value for value in values if np.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    margin = room * (high - low) or 1.0
    return Axis(low - margin, high + margin, start, stop)


def drawing(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """A drawing; `title` says what it shows to those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def text(x: float, y: float, words: str, **style: object) -> str:
    """Text; `anchor` is start, middle or end."""
    anchor = style.pop("anchor", "start")
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{_attributes(style)}>'
        f"{escape(words)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, **style: object) -> str:
    """A straight line."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        f"{_attributes({'stroke': LINE} | style)}/>"
    )


def box(x: float, y: float, width: float, height: float, hint: str = "", **style: object) -> str:
    """A rectangle; `hint` appears under the pointer."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0, width):.1f}" height="{max(0, height):.1f}"'
        f"{_attributes(style)}>{_hint(hint)}</rect>"
    )


def dot(x: float, y: float, radius: float = 5, hint: str = "", **style: object) -> str:
    """A circle; `hint` appears under the pointer."""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"'
        f"{_attributes({'fill': ACCENT} | style)}>{_hint(hint)}</circle>"
    )


def shortened(name: str) -> str:
    """A name that fits beside a drawing."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}\u2026"


def signed(value: float) -> str:
    """A number with its sign, and a true minus."""
    return f"{value:+.2f}".replace("-", "\u2212")


def tick_label(value: float) -> str:
    """A round number, with a true minus."""
    return f"{value:g}".replace("-", "\u2212")


def room_for(names: Iterable[str], size: float) -> float:
    """Width of the longest name, drawn in letters of that size; letters are at most so wide."""
    return max(len(shortened(name)) for name in names) * size * 0.6


def _attributes(style: dict[str, object]) -> str:
    return "".join(f' {name.replace("_", "-")}="{value}"' for name, value in style.items())


def _hint(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""
