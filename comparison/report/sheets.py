"""The pictures behind the votes: for each pair of entrants the input, both results, who won."""

import base64
import csv
import io
import logging
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from ...files.json_files import TABLE, read_json, text
from ...files.natural_order import natural
from ...files.pictures import read_array
from ..analysis import Analysis
from ..staleness import RECORDS, SELECTION

SHOWN = 300  # pixels of a picture's longer side
MOST = 60  # rows: a page of tens of megabytes helps nobody
FEW_PAIRS, ROWS_OF_FEW = 6, 3
QUALITY = 88  # of JPEG
COLUMNS = ("picture", "model_a", "model_b")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

log = logging.getLogger(__name__)


class Shown(NamedTuple):
    """A row of the sheet: a picture, two entrants, and their discrepancy if it is known."""

    picture: str
    first: str
    second: str
    discrepancy: float | None


def sheets(analysis: Analysis, study: Path) -> str:
    """The sheet as HTML, as in Fig. 6 of the paper; empty if the study has no pictures.

    Args:
        study: a study's folder with inputs/, results/ENTRANT/ and, if selected, pairs.csv.
    """
    rows = [_row(analysis, study, shown) for shown in _chosen(analysis, study)]
    return "".join(row for row in rows if row)


def selection_words(study: Path) -> str:
    """How a study's pictures were chosen, as its selection.json says; empty if it says nothing."""
    rules = {"settings": TABLE, "note": text(), **RECORDS}
    try:
        told = read_json(study / SELECTION, "selection", rules, ("settings", "note"))
        settings, note = told["settings"], told["note"]
        words = ", ".join(f"{name} {value}" for name, value in settings.items())
    except (OSError, ValueError) as error:
        log.debug("how pictures were chosen is not known: %s", error)
        return ""
    return f"Chosen by discrepancy, Eq. (18): {words}. {note}"


def _chosen(analysis: Analysis, study: Path) -> list[Shown]:
    """For each pair of entrants the pictures chosen first, by the ranking of the pairs."""
    names = analysis.ballots.entrants
    place = {names[entrant]: rank for rank, entrant in enumerate(analysis.order)}
    pairs: dict[tuple[str, ...], list[Shown]] = {}
    for shown in _selected(study / "pairs.csv") or _voted(analysis):
        if shown.first in place and shown.second in place and shown.first != shown.second:
            pair = tuple(sorted((shown.first, shown.second), key=lambda name: place[name]))
            oriented = Shown(shown.picture, pair[0], pair[1], shown.discrepancy)
            found = pairs.setdefault(pair, [])
            if oriented.picture not in [other.picture for other in found]:
                found.append(oriented)
    each = ROWS_OF_FEW if len(pairs) <= FEW_PAIRS else 1
    order = sorted(pairs, key=lambda pair: [place[name] for name in pair])
    return [shown for pair in order for shown in pairs[pair][:each]][:MOST]


def _selected(path: Path) -> list[Shown]:
    """The rows of pairs.csv chosen for their discrepancy, in the file's order."""
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        log.debug("no pictures by discrepancy: %s", error)
        return []
    found = []
    for row in rows:
        if all(row.get(column) for column in COLUMNS) and row.get("stratum") != "random":
            picture, first, second = (row[column] for column in COLUMNS)
            found.append(Shown(picture, first, second, _number(row.get("d1"))))
    return found


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


def _voted(analysis: Analysis) -> Iterator[Shown]:
    """Every picture of every pair that was voted on, by name."""
    ballots = analysis.ballots
    seen = zip(ballots.picture, ballots.winner, ballots.loser, strict=True)
    rows = {(p, min(w, n), max(w, n)) for p, w, n in seen}
    for picture, *pair in sorted(rows, key=lambda row: (natural(ballots.pictures[row[0]]), row)):
        first, second = (ballots.entrants[entrant] for entrant in pair)
        yield Shown(ballots.pictures[picture], first, second, None)


def _row(analysis: Analysis, study: Path, shown: Shown) -> str:
    files = [
        _picture(study / "inputs", shown.picture),
        _picture(study / "results" / shown.first, shown.picture),
        _picture(study / "results" / shown.second, shown.picture),
    ]
    images = [_embedded(file) if file else None for file in files]
    if not images[1] or not images[2]:
        return ""
    won, lost = _votes(analysis, shown)
    captions = ("before", shown.first, shown.second)
    figures = "".join(
        f'<figure><img src="{image}" alt="{escape(caption)} of {escape(shown.picture)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for image, caption in zip(images, captions, strict=True)
        if image
    )
    words = f"{shown.first} {won} : {lost} {shown.second}" if won + lost else "not voted on yet"
    share = 100 * won / (won + lost) if won + lost else 50
    known = "" if shown.discrepancy is None else f", discrepancy {shown.discrepancy:.2g}"
    return (
        f'<section class="pair"><div class="pictures">{figures}</div>'
        f'<div class="duel"><span style="width:{share:.1f}%"></span></div>'
        f"<p>{escape(words)} <small>{escape(shown.picture)}{known}</small></p></section>"
    )


def _votes(analysis: Analysis, shown: Shown) -> tuple[int, int]:
    ballots = analysis.ballots
    if shown.picture not in ballots.pictures:
        return 0, 0
    here = ballots.picture == ballots.pictures.index(shown.picture)
    first, second = map(ballots.entrants.index, (shown.first, shown.second))
    counts = ballots.counts(here.astype(float))
    return int(counts[first, second]), int(counts[second, first])


def _picture(folder: Path, name: str) -> Path | None:
    """A picture's file; a name that leads out of the folder has none."""
    if Path(name).name != name:
        return None
    return next((f for s in SUFFIXES if (f := folder / f"{name}{s}").is_file()), None)


def _embedded(file: Path) -> str | None:
    """A small copy of a picture as a data address; None if it cannot be read."""
    from PIL import Image

    try:
        small = Image.fromarray(read_array(file))
    except ValueError as error:
        log.warning("%s is left out of the report: %s", file, error)
        return None
    small.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
