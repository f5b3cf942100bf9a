"""Every judge's score of every result: what was made with a judge should be best by it."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SCORES = "scores.csv"  # in a study's folder


class Score(NamedTuple):
    """A judge's score of a result.

    Attributes:
        entrant, picture, judge: names.
        own: whether the entrant climbed that judge.
        quality: in [0, 1], by the judge's published rule.
        key: the hash of all that the quality follows from.
        result: the hash of the result's file; empty where that was not written down.
    """

    entrant: str
    picture: str
    judge: str
    own: bool
    quality: float
    key: str
    result: str = ""


def scores_text(scores: Iterable[Score]) -> str:
    """Scores as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Score._fields)
    writer.writerows(score._replace(own=int(score.own)) for score in scores)
    return text.getvalue()


def read_scores(path: Path) -> list[Score]:
    """The rows of a file of scores; none where it is missing. A row that is none is left out."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
    except (OSError, ValueError, csv.Error):
        return []
    scores = []
    for row in rows:
        cells = [row.get(name) for name in Score._fields]
        entrant, picture, judge, own, quality, key, result = (cell or "" for cell in cells)
        if None not in cells[:-1] and math.isfinite(value := _number(quality)):
            scores.append(Score(entrant, picture, judge, own == "1", value, key, result))
    return scores


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


class Judged(NamedTuple):
    """Every judge's mean score of every entrant.

    Attributes:
        pictures: how many count: those that all judges scored of all entrants.
        entrants, judges: names.
        means: mean quality by (entrant, judge).
        own: pairs of an entrant and a judge that it climbed.
    """

    pictures: int
    entrants: tuple[str, ...]
    judges: tuple[str, ...]
    means: Mapping[tuple[str, str], float]
    own: frozenset[tuple[str, str]]


def judged(scores: Sequence[Score]) -> Judged | None:
    """Means of scores over the pictures that all entrants have; None if there are no such."""
    entrants = tuple(dict.fromkeys(score.entrant for score in scores))
    judges = tuple(dict.fromkeys(score.judge for score in scores))
    of_picture: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for score in scores:
        of_picture[score.picture][score.entrant, score.judge] = score.quality
    whole = [row for row in of_picture.values() if len(row) == len(entrants) * len(judges)]
    if not whole:
        return None
    means = {pair: sum(row[pair] for row in whole) / len(whole) for pair in whole[0]}
    own = frozenset((score.entrant, score.judge) for score in scores if score.own)
    return Judged(len(whole), entrants, judges, means, own)
