"""What a reader of an analysis must know before its numbers."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from ..files.natural_order import natural
from .analysis import Analysis
from .observer_names import is_robot
from .significance import degrees_of_freedom
from .thurstone import PSEUDO_VOTES, unanimous_bound

FEW = 5  # observers, or pictures a pair, with which clustered errors are a rough guess
RARE = 0.02  # of the votes of the median entrant: perhaps a slip of the pen
MOST_NAMED = 5


def caveats(analysis: Analysis) -> list[str]:
    """Sentences, the gravest first; empty if there is nothing to say."""
    parts = (
        *(_simulated, _islands, _infinite, _clusters, _rows, _excluded, _names, _fit, _observers),
    )
    return [*analysis.remarks, *(sentence for part in parts for sentence in part(analysis))]


def names(analysis: Analysis, entrants: tuple[int, ...]) -> str:
    """Entrants' names, separated by commas."""
    return ", ".join(analysis.ballots.entrants[entrant] for entrant in entrants)


def _simulated(analysis: Analysis) -> Iterator[str]:
    observers = analysis.ballots.observers
    robots = sorted(filter(is_robot, observers), key=natural)
    if robots:
        more = f" and {len(robots) - MOST_NAMED} more" if len(robots) > MOST_NAMED else ""
        those = "All" if len(robots) == len(observers) else f"{len(robots)} of"
        who = f"{those} {len(observers)} observers are simulated"
        who = "The one observer is simulated" if len(observers) == 1 else who
        yield (
            f"{who} ({', '.join(robots[:MOST_NAMED])}{more}): their votes say nothing of what "
            "people prefer, and are counted here."
        )


def _islands(analysis: Analysis) -> Iterator[str]:
    weak = analysis.fit.components.weak
    if not analysis.fit.connected:
        islands = [
            names(analysis, tuple(i for i in analysis.order if weak[i] == island))
            for island in range(weak.max() + 1)
        ]
        yield (
            f"No vote links {' | '.join(islands)}. Each of these islands has a scale of its own, "
            "with sum zero: scores must not be compared from one to another."
        )


def _infinite(analysis: Analysis) -> Iterator[str]:
    fit = analysis.fit
    if not fit.regularised.any():
        return
    parts = [group for group in fit.components.strong if fit.regularised[list(group)].all()]
    counts = analysis.ballots.counts()
    leads = all(counts[np.ix_(a, b)].any() for a, b in pairwise(parts))
    grouped = (" > " if leads else " | ").join(names(analysis, group) for group in parts)
    yield (
        "Some entrants won, or lost, every vote against the others, so that the most likely "
        "difference is infinite. Scores marked regularised are those with "
        f"{PSEUDO_VOTES:g} invented votes each way on each compared pair; they say what is likely, "
        f"not what was measured. Linked by wins in both directions: {grouped}."
    )
    bounds = []
    for place, first in enumerate(analysis.order):
        for second in analysis.order[place + 1 :]:
            won, lost = int(counts[first, second]), int(counts[second, first])
            if min(won, lost) == 0 < max(won, lost) and fit.regularised[first]:
                pair = (first, second) if won else (second, first)
                bound = unanimous_bound(max(won, lost), analysis.settings.level)
                bounds.append(
                    f"{names(analysis, pair[:1])} over {names(analysis, pair[1:])} by at "
                    f"least {bound:.2f} ({max(won, lost)} of {max(won, lost)} votes)"
                )
    if bounds:
        more = f", and {len(bounds) - MOST_NAMED} more pairs" if len(bounds) > MOST_NAMED else ""
        yield (
            f"One-sided bounds of the unanimous pairs, were votes independent: "
            f"{'; '.join(bounds[:MOST_NAMED])}{more}."
        )


def _clusters(analysis: Analysis) -> Iterator[str]:
    covariance, ballots = analysis.covariance, analysis.ballots
    observers, pictures = len(ballots.observers), len(ballots.pictures)
    if covariance.clustering == "independent votes":
        yield (
            "There is one observer and one picture a pair: errors are those of independent votes, "
            "and say nothing of other observers or pictures."
        )
    elif observers == 1:
        yield (
            f"There is one observer, {ballots.observers[0]}: errors hold for other pictures, not "
            "for other people."
        )
    elif pictures == 1:
        yield "There is one picture: errors hold for other observers, not for other pictures."
    elif covariance.clusters == 1:
        yield (
            "A typical pair was shown with one picture: whether an entrant is better, or suits "
            "that picture, cannot be told, so there are no tests."
        )
    elif covariance.clusters < FEW:
        few = "observers" if covariance.clusters == observers else "pictures a pair"
        yield (
            f"There are only {covariance.clusters} {few}: clustered errors are a rough guess then. "
            f"Tests allow for it (Student's t, {degrees_of_freedom(covariance.clusters - 1)})."
        )
    if covariance.alternatives:
        yield (
            "The two-way covariance has a negative variance in some direction, as happens in small "
            "studies: the larger of those by pictures and by observers is used."
        )

    if covariance.vanishing():
        yield (
            "Clusters agree to the vote somewhere, so that a clustered error would be next to "
            "nothing: there, that of independent votes is used."
        )


def _rows(analysis: Analysis) -> Iterator[str]:
    lost = [flaw for flaw in analysis.read.flaws if not flaw.counted]
    partly = len(analysis.read.flaws) - len(lost)
    if lost:
        named = "; ".join(f"{f.file}, line {f.line}: {f.text}" for f in lost[:MOST_NAMED])
        more = f"; and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
        rows = "1 row is no vote" if len(lost) == 1 else f"{len(lost)} rows are no votes"
        yield f"{rows} and not counted ({named}{more}). The files are as they were."
    if partly:
        rows = "1 row counts" if partly == 1 else f"{partly} rows count"
        yield f"{rows} without a part that cannot be read: see the table of rows."


def _excluded(analysis: Analysis) -> Iterator[str]:
    if analysis.excluded:
        named = ", ".join(f"{name} ({votes} votes)" for name, votes in analysis.excluded.items())
        yield f"Left out on request: {named}."


def _names(analysis: Analysis) -> Iterator[str]:
    counts = analysis.ballots.counts()
    votes = counts.sum(axis=0) + counts.sum(axis=1)
    usual = sorted(votes)[len(votes) // 2]
    for name, number in zip(analysis.ballots.entrants, votes, strict=True):
        if number < RARE * usual:
            yield f"{name!r} has {number:.0f} of the votes, others {usual:.0f}: a slip of the pen?"


def _fit(analysis: Analysis) -> Iterator[str]:
    goodness = analysis.goodness_clustered
    if goodness.p < analysis.settings.level:
        yield (
            "One scale does not hold the votes well (deviance "
            f"{goodness.deviance:.1f} on {degrees_of_freedom(goodness.degrees_of_freedom)} after "
            f"allowing for clusters, p {goodness.p:.2g}): look at the matrix of pairs, too."
        )


def _observers(analysis: Analysis) -> Iterator[str]:
    odd = [observer for observer in analysis.observers if observer.look_into]
    if odd:
        named = "; ".join(f"{o.name}: {', '.join(o.look_into)}" for o in odd[:MOST_NAMED])
        yield (
            f"Look into {len(odd)} of {len(analysis.observers)} observers ({named}). "
            "Their votes are counted; the option exclude leaves an observer out, and says so here."
        )
