"""Golden numbers of paired comparisons, and votes made from tables of them."""

import json
from pathlib import Path

import numpy as np
from latent_map.comparison.ballots import Ballots

GOLDEN = json.loads(
    (Path(__file__).parent / "data" / "study" / "golden_thurstone.json").read_text("utf-8")
)
PRINTED = 5e-9  # numbers in the file have 8 digits after the point
EIGHT_DIGITS = 1e-7  # relative, of what the file prints with 8 significant digits


def table(*path):
    """A table of the golden file, by its keys."""
    value = GOLDEN
    for key in path:
        value = value[key]
    return np.array(value, dtype=np.float64)


def ballots_of(tables):
    """Votes about a single picture: a table of counts for each observer."""
    cast = [
        (winner, loser, observer)
        for observer, counts in enumerate(np.asarray(tables, dtype=int))
        for winner, row in enumerate(counts)
        for loser, number in enumerate(row)
        for _ in range(number)
    ]
    winner, loser, observer = (np.array(part) for part in zip(*cast, strict=True))
    names = tuple("abcdefgh"[: len(tables[0])])
    observers = tuple(f"o{number}" for number in range(len(tables)))
    return Ballots(names, ("p",), observers, winner, loser, np.zeros_like(winner), observer)


def clustered_ballots():
    """The ninety votes of three entrants, five observers and eighteen pictures."""
    rows = GOLDEN["cluster_robust"]["rows"]
    pictures = sorted({row[1] for row in rows})
    pairs = [(i, j) if won else (j, i) for _, _, i, j, won in rows]
    return Ballots(
        ("a", "b", "c"),
        tuple(pictures),
        tuple("01234"),
        np.array([winner for winner, _ in pairs]),
        np.array([loser for _, loser in pairs]),
        np.array([pictures.index(row[1]) for row in rows]),
        np.array([row[0] for row in rows]),
    )
