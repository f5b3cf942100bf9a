"""Table, verdict and plot of benchmarks.pareto."""

import math
import re
import statistics
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

# Higher is better: 1, lower: -1. Pristine photographs have a VIF and VSI of 1 and a GMSD of 0.
SIGNS = {"vif": 1, "vsi": 1, "gmsd": -1, "niqe": -1, "psnr": 1}
GOALS = ("vif", "vsi", "gmsd", "niqe")
FEWER = 10
FEW = 3  # pictures whose medians are worth a plot
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
    """OUT.md and OUT.png from the content of OUT.json.

    Variants that have not been run on all pictures have tables and plots of their own.
    """
    runs: Runs = {}
    for run in report["runs"]:
        runs.setdefault(run["variant"], {})[run["picture"]] = run["points"]
    parts = groups(runs)
    out.with_suffix(".md").write_text(markdown(report, parts))
    for index, part in enumerate(parts):
        last = re.sub(r"\W+", "_", list(part)[-1])
        name = f"{out.name}_{last}.png" if index else f"{out.name}.png"
        if len(part[INPUT]) < FEW:
            continue
        plot(part).save(out.with_name(name), optimize=True)


def groups(runs: Runs) -> list[Runs]:
    """The variants run on all pictures, and each other one beside the input and `fast`."""
    whole = set(runs[INPUT])
    parts = [{v: pictures for v, pictures in runs.items() if set(pictures) == whole}]
    for variant, pictures in runs.items():
        if variant not in parts[0]:
            beside = [v for v in (INPUT, "fast") if v in runs]
            part = {v: {name: runs[v][name] for name in pictures} for v in beside}
            parts.append(part | {variant: pictures})
    return parts


def markdown(report: dict, parts: list[Runs]) -> str:
    """A table and the verdicts for each group."""
    setting = report["setting"]
    kind = "held-out training photographs" if setting["held_out"] else "test photographs"
    count, size = len(parts[0][INPUT]), f"{setting['width']} x {setting['height']} px"
    lines = [
        f"Machine: {report['machine']}. {count} {kind} with synthetic degradations, crops of "
        f"{size}, pocket backbone and prior. Presets as they are; the others with the mean square "
        "of Eq. (20) and lambda 0.01. Calls: forward + vector-Jacobian products of the "
        "network, counted. CPU: seconds a picture, the measuring "
        "included. Each row is the best iterate so far after so many iterations: medians of the "
        "change from the input, in brackets on how many pictures it is for the better. The "
        "input's row has the medians themselves.",
    ]
    for index, runs in enumerate(parts):
        if index:
            names = ", ".join(sorted(runs[INPUT]))
            share = f"{len(runs[INPUT])} of the {count} pictures"
            lines += ["", f"`{list(runs)[-1]}` was run on {share} ({names}):"]
        lines += ["", *table(runs)]
        if against := verdicts(runs):
            lines += ["", *against]
    return "\n".join(lines) + "\n"


def table(runs: Runs) -> list[str]:
    """A row for every variant and checkpoint."""
    head = ["settings", "iterations", "calls", "CPU", "q", *(name.upper() for name in SIGNS)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    start = starts(runs)
    for variant, pictures in runs.items():
        for index in range(len(next(iter(pictures.values())))):
            points = {name: at(run, index) for name, run in pictures.items()}
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
                changed = changes(points, start, measure)
                wins = sum(sign * change > 0 for change in changed)
                cells.append(f"{statistics.median(changed):+.4f} ({wins})")
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
    """`fast` against each checkpoint of a reference, whose last is not its best.

    The goal is a tenth of the calls at no worse median. The input is a reference, too; what is
    worse than the input in all measures is none.
    """
    if "fast" not in runs:
        return []
    head = ("against", "iterations", "calls / `fast`'s", "`fast`'s median is worse in")
    head = (*head, "its median difference is for the worse in", "goal")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    fast = {name: points[-1] for name, points in runs["fast"].items()}
    for reference, pictures in runs.items():
        if not reference.startswith((INPUT, "paper", "algorithm 1")):
            continue
        for index in range(len(next(iter(pictures.values())))):
            points = {name: at(run, index) for name, run in pictures.items()}
            ratio = calls(points) / calls(fast)
            gains = {m: SIGNS[m] * (median(fast, m) - median(points, m)) for m in GOALS}
            paired = {m: SIGNS[m] * statistics.median(changes(fast, points, m)) for m in GOALS}
            goal = "met" if min(gains.values()) >= 0 else "missed"
            if reference != INPUT and _spoiled(points, runs[INPUT]):
                goal = "no reference: worse than the input in all"
            cells = (
                f"`{reference}`",
                f"{points_iteration(points)}",
                f"{ratio:.1f}",
                _named_below_zero(gains),
                _named_below_zero(paired),
                goal if ratio >= FEWER else "",
            )
            if ratio >= 1 or reference == INPUT:
                lines.append("| " + " | ".join(cells) + " |")
    return lines


def _spoiled(points: dict[str, dict], inputs: dict[str, list[dict]]) -> bool:
    own = {name: inputs[name][-1] for name in points}
    return all(SIGNS[m] * statistics.median(changes(points, own, m)) < 0 for m in GOALS)


def _named_below_zero(gains: dict[str, float]) -> str:
    return ", ".join(m.upper() for m, gain in gains.items() if gain < 0) or "none"


def plot(runs: Runs) -> Image.Image:
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
        (left, top - 18), f"median change from the input, {len(runs[INPUT])} pictures", INK, _font()
    )
    for index, (variant, colour) in enumerate(zip(curves, _colours(curves), strict=True)):
        y = top + 18 + 22 * index
        draw.line((left, y, left + 30, y), colour, 3)
        draw.text((left + 40, y - 8), variant, INK, _font())
    return sheet


def _medians(pictures: dict[str, list[dict]], start: dict[str, dict]) -> list[dict]:
    rows = []
    for index in range(len(next(iter(pictures.values())))):
        points = {name: at(run, index) for name, run in pictures.items()}
        medians = {m: statistics.median(changes(points, start, m)) for m in SIGNS}
        rows.append(medians | {"calls": calls(points)})
    return rows


def _panel(draw: ImageDraw.ImageDraw, corner, measure: str, curves: dict) -> None:
    """One measure against the logarithm of the calls; the input is the level line.

    What works without the network can be far off: it stands at the edge, with its value.
    """
    drawn = [p for curve in curves.values() for p in curve if curve[-1]["calls"]]
    values = [p[measure] for p in drawn] + [0.0]
    most = max([p["calls"] for curve in curves.values() for p in curve] + [10])
    low, high = min(values), max(values)
    room = 0.06 * (high - low or 1)
    low, high = low - room, high + room
    left, top = corner[0] + MARGIN[0], corner[1] + MARGIN[1]
    right, bottom = corner[0] + PANEL[0] - MARGIN[2], corner[1] + PANEL[1] - MARGIN[3]

    def place(count: float, value: float) -> tuple[float, float]:
        share = math.log10(1 + count) / math.log10(1 + most)
        height = (min(max(value, low), high) - low) / (high - low)
        return left + share * (right - left), bottom - height * (bottom - top)

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
    aside = left + 8
    for curve, colour in zip(curves.values(), _colours(curves), strict=True):
        points = [place(p["calls"], p[measure]) for p in curve]
        if not curve[-1]["calls"]:
            points = points[-1:]
            end = curve[-1][measure]
            if not low <= end <= high:
                inside = 2 if end > high else -18
                draw.text((aside, points[0][1] + inside), f"{end:+.3g}", colour, _font())
                aside += 70
        draw.line(points, colour, 2)
        for x, y in points:
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), colour)


def _colours(curves: dict) -> list[tuple[int, int, int]]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(curves))]


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13)
