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
        "0.01. Network calls: forward + vector-Jacobian products, counted; CPU: seconds a picture, "
        "the measuring included. Each row is the best iterate so far after so many iterations: "
        "medians of the change from the input, in brackets on how many pictures it is for the "
        "better. The input's row has the medians themselves.",
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
    head = ["settings", "iterations", "calls", "CPU", "q", *(name.upper() for name in SIGNS)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    start = starts(runs)
    for variant, pictures in runs.items():
        for index in range(len(next(iter(pictures.values())))):
            points = {name: at(found, index) for name, found in pictures.items()}
            if points_iteration(points) == 0 and variant != INPUT:
                continue
            cells = [variant, f"{points_iteration(points)}", f"{calls(points):.0f}"]
            if variant == INPUT:
                cells += ["", "", *(f"{median(points, measure):.4g}" for measure in SIGNS)]
            else:
                cells += [
                    f"{median(points, 'cpu_seconds'):.1f}",
                    f"{median(points, 'quality'):.3f}",
                ]
            for measure, sign in SIGNS.items() if variant != INPUT else ():
                found = changes(points, start, measure)
                wins = sum(sign * change > 0 for change in found)
                cells.append(f"{statistics.median(found):+.4f} ({wins})")
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def starts(runs: Runs) -> dict[str, dict]:
    """The inputs' measures by picture."""
    return {name: points[0] for name, points in runs[INPUT].items()}


def changes(points: dict[str, dict], start: dict[str, dict], measure: str) -> list[float]:
    """Differences of a measure from another set of points, picture by picture."""
    return [point[measure] - start[name][measure] for name, point in points.items()]


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
    """The goal, for `fast` against each reference: a tenth of the calls, no median worse.

    Against each checkpoint of the reference, since its last is not its best.
    """
    lines = []
    if "fast" not in runs:
        return lines
    fast = {name: points[-1] for name, points in runs["fast"].items()}
    for reference, pictures in runs.items():
        if not reference.startswith(("paper", "algorithm 1")):
            continue
        for index in range(len(next(iter(pictures.values())))):
            points = {name: at(found, index) for name, found in pictures.items()}
            ratio = calls(points) / calls(fast)
            if ratio < FEWER:
                continue
            gains = {m: SIGNS[m] * (median(fast, m) - median(points, m)) for m in GOALS}
            paired = {m: SIGNS[m] * statistics.median(changes(fast, points, m)) for m in GOALS}
            met = min(gains.values()) >= 0
            lines += [
                f"- `fast` against `{reference}` after {points_iteration(points)} iterations: "
                f"{ratio:.1f} times fewer calls; median worse in {_named_below_zero(gains)}, "
                f"median difference for the worse in {_named_below_zero(paired)}: goal "
                f"{'met' if met else 'missed'}."
            ]
    return lines


def _named_below_zero(gains: dict[str, float]) -> str:
    return ", ".join(m.upper() for m, gain in gains.items() if gain < 0) or "none of the four"


def plot(runs: Runs, shared: list[str]) -> Image.Image:
    """Median changes against network calls, a panel for each measure and one for the legend."""
    measures = [*SIGNS]
    sheet = Image.new("RGB", (2 * PANEL[0], 3 * PANEL[1]), PAPER)
    draw = ImageDraw.Draw(sheet)
    start = starts(runs)
    curves = {v: _medians(pictures, start) for v, pictures in runs.items() if v != INPUT}
    for index, measure in enumerate(measures):
        corner = (index % 2 * PANEL[0], index // 2 * PANEL[1])
        _panel(draw, corner, measure, curves)
    left, top = PANEL[0] + MARGIN[0], 2 * PANEL[1] + MARGIN[1]
    draw.text(
        (left, top - 18), f"median change from the input, {len(shared)} pictures", INK, _font()
    )
    for index, (variant, colour) in enumerate(zip(curves, _colours(curves), strict=True)):
        y = top + 18 + 22 * index
        draw.line((left, y, left + 30, y), colour, 3)
        draw.text((left + 40, y - 8), variant, INK, _font())
    return sheet


def _medians(pictures: dict[str, list[dict]], start: dict[str, dict]) -> list[dict]:
    found = []
    for index in range(len(next(iter(pictures.values())))):
        points = {name: at(run, index) for name, run in pictures.items()}
        medians = {m: statistics.median(changes(points, start, m)) for m in SIGNS}
        found.append(medians | {"calls": calls(points)})
    return found


def _panel(draw: ImageDraw.ImageDraw, corner, measure: str, curves: dict) -> None:
    """One measure against the logarithm of the calls; the input is the level line."""
    values = [p[measure] for curve in curves.values() for p in curve] + [0.0]
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
        draw.text((corner[0] + 6, place(0, value)[1] - 8), f"{value:+.3g}", INK, _font())
    level = place(0, 0)[1]
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
