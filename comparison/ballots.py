"""Votes as arrays of indices, which is what the statistics count."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .votes import Vote

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Ballots:
    """Votes between entrants, one an element.

    Attributes:
        entrants, pictures, observers: names, each once; the indices below are into these.
        winner, loser: entrants, (n,).
        picture, observer: (n,). A picture that serves several pairs of entrants is one picture.
    """

    entrants: tuple[str, ...]
    pictures: tuple[str, ...]
    observers: tuple[str, ...]
    winner: Ints
    loser: Ints
    picture: Ints
    observer: Ints

    def __len__(self) -> int:
        return len(self.winner)

    def counts(self, weights: Floats | None = None) -> Floats:
        """How often row was preferred to column, (N, N); `weights`: what each vote counts for."""
        size = len(self.entrants)
        cells = np.bincount(self.winner * size + self.loser, weights, size * size)
        return cells.reshape(size, size).astype(np.float64)

    def where(self, chosen: Bools) -> "Ballots":
        """Some of the votes, by the same entrants, and only the pictures and observers in them."""
        pictures, picture = np.unique(self.picture[chosen], return_inverse=True)
        observers, observer = np.unique(self.observer[chosen], return_inverse=True)
        return Ballots(
            self.entrants,
            tuple(self.pictures[place] for place in pictures),
            tuple(self.observers[place] for place in observers),
            self.winner[chosen],
            self.loser[chosen],
            picture,
            observer,
        )

    def of_observer(self, observer: int) -> Floats:
        """One observer's counts, (N, N)."""
        return self.counts((self.observer == observer).astype(np.float64))

    def pictures_per_pair(self) -> Ints:
        """Number of different pictures of each pair that was compared."""
        low, high = np.minimum(self.winner, self.loser), np.maximum(self.winner, self.loser)
        pairs = np.unique(np.stack([low, high, self.picture]), axis=1)[:2]
        return np.unique(pairs, axis=1, return_counts=True)[1]


def cast_ballots(votes: Iterable[Vote], entrants: Sequence[str] = ()) -> Ballots:
    """The votes of kind "study", as arrays.

    Args:
        votes: of any kind.
        entrants: their order; others follow in the order of their names, and those without a vote
            are left out.
    Raises: ValueError if there are no votes of kind "study".
    """
    cast = [vote for vote in votes if vote.kind == "study"]
    if not cast:
        raise ValueError("there are no votes of kind study: nothing to analyse yet")
    named = {name for vote in cast for name in (vote.condition_a, vote.condition_b)}
    order = [name for name in entrants if name in named]
    names = (*order, *sorted(named - set(order)))
    pictures, observers = ({vote.scene for vote in cast}, {vote.observer for vote in cast})
    places = [{name: place for place, name in enumerate(sorted(n))} for n in (pictures, observers)]
    entrant = {name: place for place, name in enumerate(names)}
    return Ballots(
        names,
        tuple(places[0]),
        tuple(places[1]),
        np.array([entrant[vote.winner] for vote in cast]),
        np.array([entrant[vote.loser] for vote in cast]),
        np.array([places[0][vote.scene] for vote in cast]),
        np.array([places[1][vote.observer] for vote in cast]),
    )
