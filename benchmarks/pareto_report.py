"""Table, verdict and plot of benchmarks.pareto."""

import math
import statistics
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

# Higher is better: 1, lower: -1. Pristine photographs have a VIF and VSI of 1 and a GMSD of 0.
SIGNS = {"vif": 1, "vsi": 1, "gmsd": -1, "niqe": -1, "psnr": 1}
GOALS = ("vif", "vsi", "gmsd", "niqe")
FEWER = 10
INPUT = "input"
PANEL, MARGIN = (560, 330), (76, 34, 16, 40)  # left, top, right, bottom
INK, PAPER, GRID = (30, 30, 30), (255, 255, 255), (225, 225, 225)
COLOURS = (
    (200, 30, 30),
    (30, 90, 190),
    (20, 140, 60),
    (150, 60, 170),
    (225, 130, 0),
    (90, 90, 90),
    (0, 150, 160),
    (140, 90, 40),
    (220, 80, 150),
    (120, 150, 0),
)

Runs = dict[str, dict[str, list[dict]]]  # by variant and picture


def write_report(report: dict, out: Path) -> None:
    """OUT.md and OUT.png from the content of OUT.json."""
    runs: Runs = {}
    for run in report["runs"]:
        runs.setdefault(run["variant"], {})[run["picture"]] = run["points"]
    out.with_suffix(".md").write_text(markdown(report, runs))
    plot(*common(runs)).save(out.with_suffix(".png"), optimize=True)


def common(runs: Runs) -> tuple[Runs, list[str]]:
    """The runs of the pictures that all variants have been run on, and their names."""
    shared = sorted(set.intersection(*(set(pictures) for pictures in runs.values())))
    chosen = {v: {name: pictures[name] for name in shared} for v, pictures in runs.items()}
    return chosen, shared


def markdown(report: dict, runs: Runs) -> str:
    """Medians over the pictures common to all variants; then over all pictures where some lack."""
    setting = report["setting"]
    kind = "held-out training photographs" if setting["held_out"] else "test photographs"
    chosen, shared = common(runs)
    lines = [
        f"Machine: {report['machine']}. {len(shared)} {kind} with synthetic degradations, crops of "
        f"{setting['width']} x {setting['height']} px, pocket backbone and prior, Eq. (20), lambda "
        "0.01. Network calls: forward + vector-Jacobian products, counted. Each row is the best "
        "iterate so far after so many iterations; in brackets, on how many pictures it is better "
        "than the input.",
        "",
        *table(chosen),
        "",
        *verdicts(chosen),
    ]
    most = max(map(len, runs.values()))
    if most > len(shared):
        full = {v: pictures for v, pictures in runs.items() if len(pictures) == most}
        lines += ["", f"The variants run on all {most} pictures:", "", *table(full)]
        lines += ["", *verdicts(full)]
    return "\n".join(lines) + "\n"


def table(runs: Runs) -> list[str]:
    """A row for every variant and checkpoint."""
    head = ["settings", "iterations", "calls", "q", *(name.upper() for name in SIGNS)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    start = {name: points[0] for name, points in runs[INPUT].items()}
    for variant, pictures in runs.items():
        for index in range(len(next(iter(pictures.values())))):
            points = {name: at(found, index) for name, found in pictures.items()}
            if points_iteration(points) == 0 and variant != INPUT:
                continue
            cells = [variant, f"{points_iteration(points)}", f"{calls(points):.0f}"]
            quality = [p["quality"] for p in points.values() if "quality" in p]
            cells.append(f"{statistics.median(quality):.3f}" if quality else "")
            for measure, sign in SIGNS.items():
                wins = sum(sign * (p[measure] - start[n][measure]) > 0 for n, p in points.items())
                count = "" if variant == INPUT else f" ({wins})"
                cells.append(f"{median(points, measure):.4g}{count}")
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def at(points: list[dict], index: int) -> dict:
    """A checkpoint; the last one of a run that stopped before it."""
    return points[min(index, len(points) - 1)]


def points_iteration(points: dict[str, dict]) -> int:
    """The iteration of a checkpoint."""
    return max(p["iteration"] for p in points.values())


def calls(points: dict[str, dict]) -> float:
    """Median network calls."""
    return statistics.median(p["forward"] + p["backward"] for p in points.values())


def median(points: dict[str, dict], measure: str) -> float:
    """Median of a measure over the pictures."""
    return statistics.median(p[measure] for p in points.values())


def verdicts(runs: Runs) -> list[str]:
    """The goal, for `fast` against each reference: a tenth of the calls, no median worse."""
    lines = []
    ends = {v: {n: points[-1] for n, points in pictures.items()} for v, pictures in runs.items()}
    for reference in runs:
        if "fast" not in runs or not reference.startswith(("paper", "algorithm 1")):
            continue
        ratio = calls(ends[reference]) / calls(ends["fast"])
        behind = [
            m
            for m in GOALS
            if SIGNS[m] * (median(ends["fast"], m) - median(ends[reference], m)) < 0
        ]
        met = ratio >= FEWER and not behind
        lines += [
            f"`fast` against `{reference}`: {ratio:.1f} times fewer calls, median worse in "
            f"{', '.join(m.upper() for m in behind) or 'none of ' + ', '.join(GOALS).upper()}: "
            f"goal {'met' if met else 'missed'}."
        ]
    return lines


def plot(runs: Runs, shared: list[str]) -> Image.Image:
    """Medians against network calls, a panel for each measure and one for the legend."""
    measures = [*SIGNS]
    sheet = Image.new("RGB", (2 * PANEL[0], 3 * PANEL[1]), PAPER)
    draw = ImageDraw.Draw(sheet)
    curves = {v: _medians(pictures) for v, pictures in runs.items() if v != INPUT}
    start = _medians(runs[INPUT])[0]
    for index, measure in enumerate(measures):
        corner = (index % 2 * PANEL[0], index // 2 * PANEL[1])
        _panel(draw, corner, measure, curves, start[measure])
    left, top = PANEL[0] + MARGIN[0], 2 * PANEL[1] + MARGIN[1]
    draw.text((left, top - 18), f"medians over {len(shared)} pictures", INK, _font())
    for index, (variant, colour) in enumerate(zip(curves, _colours(curves), strict=True)):
        y = top + 18 + 22 * index
        draw.line((left, y, left + 30, y), colour, 3)
        draw.text((left + 40, y - 8), variant, INK, _font())
    return sheet


def _medians(pictures: dict[str, list[dict]]) -> list[dict]:
    found = []
    for index in range(len(next(iter(pictures.values())))):
        points = {name: at(run, index) for name, run in pictures.items()}
        found.append({m: median(points, m) for m in SIGNS} | {"calls": calls(points)})
    return found


def _panel(draw: ImageDraw.ImageDraw, corner, measure: str, curves: dict, start: float) -> None:
    """One measure against the logarithm of the calls; the input is the level line."""
    values = [p[measure] for curve in curves.values() for p in curve] + [start]
    most = max([p["calls"] for curve in curves.values() for p in curve] + [10])
    low, high = min(values), max(values)
    room = 0.06 * (high - low or 1)
    low, high = low - room, high + room
    left, top = corner[0] + MARGIN[0], corner[1] + MARGIN[1]
    right, bottom = corner[0] + PANEL[0] - MARGIN[2], corner[1] + PANEL[1] - MARGIN[3]

    def place(count: float, value: float) -> tuple[float, float]:
        share = math.log10(1 + count) / math.log10(1 + most)
        return left + share * (right - left), bottom - (value - low) / (high - low) * (bottom - top)

    better = "higher" if SIGNS[measure] > 0 else "lower"
    draw.text((left, top - 20), f"{measure.upper()} ({better} is better)", INK, _font())
    for count in (0, *(10**k for k in range(1, 1 + int(math.log10(most))))):
        x = place(count, low)[0]
        draw.line((x, top, x, bottom), GRID)
        draw.text((x - 4, bottom + 4), str(count), INK, _font())
    draw.text((right - 92, bottom + 20), "network calls", INK, _font())
    for value in (low + room, high - room):
        draw.text((corner[0] + 6, place(0, value)[1] - 8), f"{value:.4g}", INK, _font())
    level = place(0, start)[1]
    draw.line((left, level, right, level), INK)
    draw.text((right - 36, level + 2), "input", INK, _font())
    draw.rectangle((left, top, right, bottom), outline=(150, 150, 150))
    for curve, colour in zip(curves.values(), _colours(curves), strict=True):
        points = [place(p["calls"], p[measure]) for p in curve]
        if points[0][0] == points[-1][0]:  # no network: the whole curve would be one line
            points = points[-1:]
        draw.line(points, colour, 2)
        for x, y in points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)


def _colours(curves: dict) -> list[tuple[int, int, int]]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(curves))]


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13)
