"""The traces of several runs together: a plot, a table, a file."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from ..files.written import write_atomically
from .curves import Curve, plot_overlays
from .result import TraceRow

Runs = Mapping[str, tuple[TraceRow, ...]]  # by name
COLOURS = ((40, 70, 170), (190, 60, 20), (0, 120, 60), (130, 60, 150), (0, 130, 140), (90, 90, 90))


def _terms(runs: Runs) -> list[str]:
    """Names of all terms and the energy, in the order of the first run that has them."""
    names = {name: None for trace in runs.values() for row in trace[:1] for name in row.terms}
    return [*names, "energy"]


def _values(trace: tuple[TraceRow, ...], term: str) -> list[float]:
    return [row.flat()[term] for row in trace if term in row.flat()]


def plot_traces(runs: Runs, width: int = 640, panel: int = 170) -> Image.Image:
    """A panel for each term and the energy, with a curve for each run that has it."""
    panels = {
        term: [
            Curve(name, _values(trace, term), COLOURS[index % len(COLOURS)])
            for index, (name, trace) in enumerate(runs.items())
        ]
        for term in _terms(runs)
    }
    return plot_overlays(panels, width, panel)


def trace_table(runs: Runs) -> str:
    """The first, the best and the last iterate of each run; the best has the lowest energy."""
    lines = []
    for name, trace in runs.items():
        if not trace:
            lines.append(f"{name}: nothing was evaluated")
            continue
        best = min(trace, key=lambda row: row.energy)
        for word, row in (("first", trace[0]), ("best", best), ("last", trace[-1])):
            numbers = ", ".join(f"{term} {value:.5g}" for term, value in row.terms.items())
            lines.append(f"{name}: {word} ({row.iteration}): {numbers}, energy {row.energy:.6g}")
    return "\n".join(lines)


def write_traces(runs: Runs, folder: Path) -> Path:
    """Write all numbers to a new CSV file in a folder, which is made.

    Returns: the file. Raises: OSError when it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["run", "iteration", *_terms(runs)])
    writer.writeheader()
    writer.writerows(_rows(runs))
    numbers = (number for number in range(1, 10**6))
    path = next(p for n in numbers if not (p := folder / f"traces_{n:05}.csv").exists())
    write_atomically(path, text.getvalue().encode())
    return path


def _rows(runs: Runs) -> Iterator[dict[str, str | float]]:
    for name, trace in runs.items():
        yield from ({"run": name, **row.flat()} for row in trace)
