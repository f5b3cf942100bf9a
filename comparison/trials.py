"""An observer's trials: which pairs in which order, with which picture on the left.

A list follows from the seed and the observer's number alone. Observers 2m and 2m + 1 are asked the
same pairs with the sides exchanged, each in an order of their own: so every picture of every pair
is on the left for half of the observers, and within one list every entrant is on the left half of
the time, each to within one.
"""

from __future__ import annotations

import csv
import io
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ..files.written import write_atomically
from .picture_names import flaw_of_name
from .session_settings import SessionSettings
from .votes import SPOILT, Kind

COLUMNS = ("observer", "number", "trial", "kind", "scene", "condition_A", "condition_B", "side")
EARLY, LATE = 0.4, 0.5  # repeats ask again, in the second half, what was asked in the first 40 %

Left = Literal["left", "right"]


class Pair(NamedTuple):
    """Two entrants' results of one picture."""

    scene: str
    a: str
    b: str


@dataclass(frozen=True)
class Trial:
    """One question.

    Attributes:
        kind: as in `votes.Vote`.
        pair: what is compared; a trap's `b` is `SPOILT`, the worsened copy of `a`.
        side: where `a` is shown.
        number: in the observer's list, from 0.
    """

    kind: Kind
    pair: Pair
    side: Left
    number: int = 0


@dataclass(frozen=True)
class Material:
    """What trials are drawn from.

    Attributes:
        pairs: those of the study.
        training: pairs to practise on.
        traps: results beside which a worsened copy may be shown, as (scene, entrant).
    """

    pairs: tuple[Pair, ...]
    training: tuple[Pair, ...]
    traps: tuple[tuple[str, str], ...]


def plan_trials(material: Material, settings: SessionSettings, number: int) -> list[Trial]:
    """The trials of the observer of that number.

    Training comes first. Traps are spread over the rest, one in each of as many equal stretches. A
    repeat comes in the second half, sides exchanged.

    Args:
        material: `training` and `traps` may be shorter than the settings ask: then they come again.
        number: from 0, counted over all sessions of the study.
    Raises: ValueError if there are no pairs.
    """
    if not material.pairs:
        raise ValueError("there are no pairs to compare: run latent-map study select first")
    # Two observers share what decides about pairs and sides, and differ in the order.
    shared, own = (random.Random(f"{settings.seed} {key}") for key in (number // 2, f"{number}!"))
    study = _balanced(_share(material.pairs, settings, number // 2), settings.both_orders, shared)
    traps = _sided("trap", _traps(material, settings.traps, shared), shared)
    training = _sided("training", _drawn(material.training, settings.training, shared), shared)
    if number % 2:
        study, traps, training = (list(map(_mirrored, part)) for part in (study, traps, training))
    own.shuffle(study)
    own.shuffle(traps)
    own.shuffle(training)
    asked = _with_traps(_with_repeats(study, settings.repeats, own), traps, own)
    return [replace(trial, number=place) for place, trial in enumerate([*training, *asked])]


def _share(pairs: Sequence[Pair], settings: SessionSettings, turn: int) -> list[Pair]:
    """The pairs that an observer is asked: all, or the next ones on a round through them."""
    count = min(settings.trials or len(pairs), len(pairs))
    around = list(pairs)
    random.Random(f"{settings.seed} round").shuffle(around)
    return [around[(turn * count + step) % len(around)] for step in range(count)]


def _balanced(pairs: Sequence[Pair], both_orders: bool, chance: random.Random) -> list[Trial]:
    left = oriented([(pair.a, pair.b) for pair in pairs], chance)
    trials = [
        Trial("study", pair, "left" if first else "right")
        for pair, first in zip(pairs, left, strict=True)
    ]
    return [*trials, *map(_mirrored, trials)] if both_orders else trials


def oriented(edges: Sequence[tuple[str, str]], chance: random.Random) -> list[bool]:
    """For each pair of names whether the first goes left, so that each is left half of the time.

    Args:
        edges: pairs of different names; a pair may come many times.
    Returns: one value a pair; every name is left and right equally often, to within one.
    Source: an Euler tour leaves every vertex as often as it enters it; vertices of odd degree are
        joined to one more vertex first.
    """
    ends: dict[str | None, list[int]] = defaultdict(list)
    all_edges: list[tuple[str, str | None]] = list(edges)
    for place, (a, b) in enumerate(edges):
        ends[a].append(place)
        ends[b].append(place)
    for name in [name for name, places in ends.items() if len(places) % 2]:
        ends[name].append(len(all_edges))
        ends[None].append(len(all_edges))  # None: the vertex that makes all degrees even
        all_edges.append((str(name), None))
    for places in ends.values():
        chance.shuffle(places)
    first_left: dict[int, bool] = {}
    starts = list(ends)
    chance.shuffle(starts)
    for start in starts:
        _walk(start, ends, all_edges, first_left)
    return [first_left[place] for place in range(len(edges))]


def _walk(
    start: str | None,
    ends: dict[str | None, list[int]],
    edges: Sequence[tuple[str, str | None]],
    first_left: dict[int, bool],
) -> None:
    """Closed tours from a vertex, along edges without a direction, until none is left there."""
    here = start
    while ends[here]:
        place = ends[here].pop()
        if place in first_left:
            continue
        a, b = edges[place]
        first_left[place] = here == a
        here = b if here == a else a


def _mirrored(trial: Trial) -> Trial:
    return replace(trial, side="right" if trial.side == "left" else "left")


def _sided(kind: Kind, pairs: Iterable[Pair], chance: random.Random) -> list[Trial]:
    """Trials of which half have A on the left."""
    trials = [
        Trial(kind, pair, "left" if place % 2 else "right") for place, pair in enumerate(pairs)
    ]
    return list(map(_mirrored, trials)) if chance.random() < 0.5 else trials


def _drawn(pairs: Sequence[Pair], count: int, chance: random.Random) -> list[Pair]:
    """So many of them in any order, each again only when all have come."""
    drawn: list[Pair] = []
    while pairs and len(drawn) < count:
        drawn += chance.sample(pairs, len(pairs))
    return drawn[:count]


def _traps(material: Material, count: int, chance: random.Random) -> list[Pair]:
    return _drawn([Pair(scene, name, SPOILT) for scene, name in material.traps], count, chance)


def _with_repeats(study: list[Trial], share: float, chance: random.Random) -> list[Trial]:
    count = min(round(share * len(study)), int(EARLY * len(study)))
    early = chance.sample(study[: int(EARLY * len(study))], count)
    again = [replace(_mirrored(trial), kind="repeat") for trial in early]
    middle = int(LATE * len(study)) + 1
    return study[:middle] + _mixed(study[middle:], again, chance)


def _mixed(trials: list[Trial], more: list[Trial], chance: random.Random) -> list[Trial]:
    """Both in any order that keeps each one's own."""
    places = set(chance.sample(range(len(trials) + len(more)), len(more)))
    ours, theirs = iter(trials), iter(more)
    return [next(theirs if p in places else ours) for p in range(len(trials) + len(more))]


def _with_traps(trials: list[Trial], traps: list[Trial], chance: random.Random) -> list[Trial]:
    """One trap at a place of chance in each of equal stretches, never before the first trial."""
    bounds = [-(-turn * len(trials) // max(1, len(traps))) for turn in range(len(traps) + 1)]
    mixed = [] if traps else list(trials)
    for trap, start, end in zip(traps, bounds, bounds[1:], strict=False):
        place = chance.randint(min(start + 1, end), end)
        mixed += [*trials[start:place], trap, *trials[place:end]]
    return mixed


def write_trials(path: Path, lists: dict[str, tuple[int, list[Trial]]]) -> None:
    """Write all observers' lists, whole or not at all.

    Args:
        lists: observer to (number, trials).
    Raises: OSError if the file cannot be written; the old one stays.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for observer, (number, trials) in lists.items():
        for t in trials:
            writer.writerow([observer, number, t.number, t.kind, *t.pair, t.side])
    write_atomically(path, text.getvalue().encode())


def read_trials(path: Path) -> dict[str, tuple[int, list[Trial]]]:
    """Read what `write_trials` wrote; empty if there is no file.

    Raises: ValueError if it is no such file.
    """
    lists: dict[str, tuple[int, list[Trial]]] = {}
    if not path.exists():
        return lists
    try:
        for row in _rows(path):
            trial = _trial(row)
            number, trials = lists.setdefault(row["observer"], (int(row["number"]), []))
            if (number, len(trials)) != (int(row["number"]), trial.number):
                raise ValueError("its trials are out of order")
            trials.append(trial)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(
            f"{path} is no list of trials ({error}): put back what was, or give another --session"
        ) from error
    return lists


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, strict=True)


def _trial(row: dict[str, str]) -> Trial:
    if row["side"] not in ("left", "right") or row["kind"] not in get_args(Kind):
        raise ValueError(f"side {row['side']!r}, kind {row['kind']!r}")
    pair = Pair(row["scene"], row["condition_A"], row["condition_B"])
    if flaws := [flaw for flaw in map(flaw_of_name, pair) if flaw]:
        raise ValueError(f"{tuple(pair)} has {flaws[0]}")
    return Trial(row["kind"], pair, row["side"], int(row["trial"]))  # pyright: ignore[reportArgumentType]
