"""Which results are shown: those that two entrants disagree on most, and that differ, Eq. (18).

The text that Eq. (18) refers to for its two terms was not available: what they are here is our
choice, called `discrepancy`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np

from ..files.written import write_atomically
from .distances import Distances
from .features import diversity_of, read_features
from .jobs import Job, done_record
from .preparation import Input
from .selection_settings import Diversity, SelectionSettings
from .staleness import SELECTION
from .study_file import Study

log = logging.getLogger(__name__)
COLUMNS: tuple[str, ...] = (
    "pair",
    "rank",
    "picture",
    "model_a",
    "model_b",
    "d1",
    "d2",
    "gamma",
    "value",
    "stratum",
    "ratio",
)
NOTE = (
    "The pictures were chosen for disagreement between the entrants: scores describe such "
    "pictures, not average ones. D1 and D2 are this program's choice, `discrepancy`: the text that "
    "the paper cites for them was not available."
)


class Pick(NamedTuple):
    """A picture chosen for a pair of entrants.

    Attributes:
        index: of the candidate.
        d1, d2: the two terms, without gamma; d2 is 0 for the first.
    """

    index: int
    d1: float
    d2: float


def select(
    d1: Sequence[float], d2: np.ndarray, count: int, gamma: float, diversity: Diversity = "mean"
) -> list[Pick]:
    """Choose pictures one after the other, each the best beside those before it.

    Args:
        d1: discrepancy of the two results of each picture.
        d2: distances between the pictures, (n, n).
        count: K, at most; all where there are fewer.
        gamma: weight of d2.
        diversity: the distance from a set is the mean of those to its pictures, or the smallest.
    Returns: in the order of choice. Of equals the first is taken; the distance from an empty set is
        left out.
    Source: Zhang et al., arXiv 2403.06406, Eq. (18), as read in docs/study.md.
    """
    chosen: list[Pick] = []
    left = list(range(len(d1)))
    while left and len(chosen) < count:
        taken = [pick.index for pick in chosen]
        apart = np.zeros(len(d1))
        if taken:
            distances = d2[:, taken]
            apart = distances.mean(1) if diversity == "mean" else distances.min(1)
        best = max(left, key=lambda index: d1[index] + gamma * apart[index])
        chosen.append(Pick(best, float(d1[best]), float(apart[best])))
        left.remove(best)
    return chosen


@dataclass(frozen=True)
class ShownPair:
    """A row of pairs.csv: two entrants' results of a picture, and why it was chosen."""

    pair: int
    rank: int
    picture: str
    model_a: str
    model_b: str
    d1: float
    d2: float
    gamma: float
    stratum: Literal["discrepancy", "random"]

    @property
    def row(self) -> dict[str, Any]:
        """As pairs.csv has it; `ratio` is gamma d2 / d1, what diversity had to say."""
        value = self.d1 + self.gamma * self.d2
        ratio = self.gamma * self.d2 / self.d1 if self.d1 > 0 else ""
        return {**asdict(self), "value": value, "ratio": ratio}


@dataclass(frozen=True)
class PairReport:
    """What was passed over between two entrants.

    Attributes:
        model_a, model_b: the entrants.
        candidates: pictures that could be chosen.
        identical: pictures of which both results are the same, which are never shown.
        failed: pictures that one of them has no result of.
        chosen: pictures chosen.
    """

    model_a: str
    model_b: str
    candidates: int
    identical: int
    failed: int
    chosen: int


def select_pairs(
    study: Study,
    inputs: Sequence[Input],
    results: dict[str, dict[str, str]],
    device: str,
    tick: Callable[[], object] = lambda: None,
) -> tuple[list[ShownPair], list[PairReport]]:
    """Choose what is shown of a study, once for each unordered pair of entrants.

    Args:
        inputs: the prepared pictures.
        results: hash of each result file, by entrant and picture.
        device: where distances and features are computed.
        tick: called after each pair of entrants.
    Raises: ValueError if a file is missing, or there is nothing to show.
    """
    settings = study.selection
    distances = Distances(settings.measure, study.folder / "distances", device)
    place = study.folder / "features"
    features = read_features(inputs, study.inputs, place, settings.features, device)
    apart = diversity_of(features)
    shown: list[ShownPair] = []
    reports: list[PairReport] = []
    for number, (a, b) in enumerate(combinations(study.entrants, 2), 1):
        both = [n for n, each in enumerate(inputs) if _has(results, (a, b), each.picture)]
        measured = {
            n: distances(
                study.result(a, inputs[n].picture),
                results[a][inputs[n].picture],
                study.result(b, inputs[n].picture),
                results[b][inputs[n].picture],
            )
            for n in both
        }
        # In plain order, so that a seed draws what it always drew, and ties go to the same name.
        differing = sorted((n for n in both if measured[n] > 0), key=lambda n: inputs[n].picture)
        own = list(_of_pair(differing, measured, apart, settings, number))
        shown += [
            ShownPair(number, rank, inputs[n].picture, a, b, pick.d1, pick.d2, gamma, stratum)
            for rank, n, pick, gamma, stratum in own
        ]
        reports.append(
            PairReport(
                a, b, len(differing), len(both) - len(differing), len(inputs) - len(both), len(own)
            )
        )
        tick()
    if not shown:
        raise ValueError(
            f"no two entrants of {study.file} differ on any picture: there is nothing to show. "
            "Change their settings, or check that ready folders are not copies of inputs/"
        )
    return shown, reports


def _has(results: dict[str, dict[str, str]], entrants: tuple[str, str], picture: str) -> bool:
    return all(picture in results.get(entrant, {}) for entrant in entrants)


def _of_pair(
    candidates: list[int],
    measured: dict[int, float],
    apart: np.ndarray,
    settings: SelectionSettings,
    number: int,
) -> Iterator[tuple[int, int, Pick, float, Literal["discrepancy", "random"]]]:
    """(rank, input, pick, gamma, stratum) of one pair of entrants."""
    d1 = [measured[n] for n in candidates]
    d2 = apart[np.ix_(candidates, candidates)]
    picks = select(d1, d2, settings.per_pair, settings.gamma, settings.diversity)
    for rank, pick in enumerate(picks, 1):
        yield rank, candidates[pick.index], pick, settings.gamma, "discrepancy"
    left = sorted(set(range(len(candidates))) - {pick.index for pick in picks})
    draw = random.Random(f"{settings.seed} {number}")
    drawn = draw.sample(left, min(settings.random, len(left)))
    for rank, index in enumerate(drawn, 1):
        yield rank, candidates[index], Pick(index, d1[index], 0.0), 0.0, "random"


def finished_results(jobs: Sequence[Job]) -> dict[str, dict[str, str]]:
    """Hashes of the results that are there, by entrant and picture."""
    results: dict[str, dict[str, str]] = {}
    for job in jobs:
        record = done_record(job)
        if record:
            results.setdefault(job.entrant.name, {})[job.picture] = record["sha256"]
    return results


def write_pairs(
    study: Study,
    shown: Sequence[ShownPair],
    reports: Sequence[PairReport],
    results: Mapping[str, Mapping[str, str]],
) -> None:
    """Write pairs.csv, then selection.json, which says of which results it is, and how chosen.

    Args:
        study: whose pairs they are.
        shown: the pairs.
        reports: what was passed over.
        results: hash of each result file, by entrant and picture.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in shown:
        writer.writerow(each.row)
    summary: dict[str, Any] = {
        "name": "discrepancy",
        "note": NOTE,
        "settings": asdict(study.selection),
        "pairs": [asdict(each) for each in reports],
    }
    pairs = text.getvalue().encode()
    used: dict[str, dict[str, str]] = {}
    for each in shown:
        for entrant in (each.model_a, each.model_b):
            used.setdefault(entrant, {})[each.picture] = results[entrant][each.picture]
    made_of = {
        "pairs_sha256": hashlib.sha256(pairs).hexdigest(),
        "results": used,
        "entrants": dict(study.digests),
    }
    # The record last: between the two it is of other pairs, and whoever reads both sees that.
    write_atomically(study.pairs, pairs)
    write_atomically(study.folder / SELECTION, json.dumps(summary | made_of, indent=1).encode())
