"""How often a study's tests and intervals are wrong, by simulation.

    python -m benchmarks.study_coverage --write benchmarks/results/study_coverage.md

Four entrants, two of them equal. Every pair has pictures of its own, as when they are selected for
discrepancy, and all observers see all of them. A picture moves the difference of its two entrants
(standard deviation tau), an observer likes each entrant a little more or less (omega). A preference
is then Phi(d / sqrt(S^2 + tau^2 + 2 omega^2)) over all pictures and observers: scores on the same
scale, drawn together; these are what intervals must cover.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from latent_map.comparison.ballots import Ballots
from latent_map.comparison.bootstrap import bootstrap
from latent_map.comparison.covariance import Covariance, clustered, clustered_by, independent_votes
from latent_map.comparison.significance import compare_all, quantile
from latent_map.comparison.thurstone import SCALE, Fit, fit_scores

TRUE = np.array([0.5, 0.0, 0.0, -0.5])
EQUAL = (1, 2)
PAIRS = [(i, j) for i in range(len(TRUE)) for j in range(i + 1, len(TRUE))]
STUDIES, DRAWS, SEED, LEVEL = 300, 200, 1, 0.05


class Design(NamedTuple):
    """Pictures a pair, observers, and how much either differ, in units of score."""

    pictures: int
    observers: int
    tau: float
    omega: float


DESIGNS = (
    Design(20, 25, 0, 0),
    Design(20, 25, 0.5, 0),
    Design(20, 25, 1, 0),
    Design(20, 25, 1, 0.3),
    Design(20, 25, 0, 0.5),
    Design(10, 8, 0, 0),
    Design(10, 8, 0.5, 0.3),
)


class Verdict(NamedTuple):
    """Of one study, or the mean over many.

    Attributes:
        false: whether the equal entrants are called different.
        false_holm: the same, corrected for all pairs; None if not tried.
        covered: share of the pairs whose interval holds the true difference.
    """

    false: float
    false_holm: float | None
    covered: float


def simulate(design: Design, generator: np.random.Generator) -> Ballots:
    """The votes of one study."""
    shape = len(PAIRS), design.pictures, design.observers
    first, second = np.array(PAIRS).T
    moved = design.tau * generator.standard_normal(shape[:2])
    taste = design.omega * generator.standard_normal((design.observers, len(TRUE)))
    difference = (TRUE[first] - TRUE[second])[:, None, None] + moved[:, :, None]
    difference = difference + (taste[:, first] - taste[:, second]).T[:, None]
    won = SCALE * generator.standard_normal(shape) < difference
    pair, picture, observer = (index.ravel() for index in np.indices(shape))
    winner, loser = np.where(won.ravel(), (first[pair], second[pair]), (second[pair], first[pair]))
    names = tuple(f"p{place}" for place in range(shape[0] * shape[1]))
    observers = tuple(f"o{place}" for place in range(design.observers))
    cast = winner, loser, pair * design.pictures + picture, observer
    return Ballots(tuple("abcd"), names, observers, *cast)


def target(design: Design) -> np.ndarray:
    """The scores of preferences over all pictures and observers."""
    return TRUE * SCALE / np.sqrt(SCALE**2 + design.tau**2 + 2 * design.omega**2)


def by_picture(ballots: Ballots, fit: Fit) -> Covariance:
    """Clusters of pictures alone."""
    matrix = clustered_by(ballots, fit, ballots.picture)
    return Covariance(
        "pictures", matrix, (), int(np.median(ballots.pictures_per_pair())), fit.covariance
    )


def by_observer(ballots: Ballots, fit: Fit) -> Covariance:
    """Clusters of observers alone."""
    matrix = clustered_by(ballots, fit, ballots.observer)
    return Covariance("observers", matrix, (), len(ballots.observers), fit.covariance)


ERRORS: dict[str, Callable[[Ballots, Fit], Covariance]] = {
    "independent votes": lambda _, fit: independent_votes(fit),
    "by picture": by_picture,
    "by observer": by_observer,
    "two-way (default)": clustered,
}


def judge(design: Design, studies: int) -> dict[str, Verdict]:
    """For each kind of error the mean verdict over simulated studies."""
    generator, truth = np.random.default_rng(SEED), target(design)
    found: dict[str, list[Verdict]] = {name: [] for name in (*ERRORS, "bootstrap")}
    for _ in range(studies):
        ballots = simulate(design, generator)
        fit = fit_scores(ballots.counts())
        for name, errors in ERRORS.items():
            found[name].append(_by_wald(fit, errors(ballots, fit), truth))
        found["bootstrap"].append(_by_drawing(ballots, truth))
    return {name: _mean(verdicts) for name, verdicts in found.items()}


def _mean(verdicts: list[Verdict]) -> Verdict:
    corrected = [v.false_holm for v in verdicts if v.false_holm is not None]
    return Verdict(
        float(np.mean([v.false for v in verdicts])),
        float(np.mean(corrected)) if corrected else None,
        float(np.mean([v.covered for v in verdicts])),
    )


def _by_wald(fit: Fit, errors: Covariance, truth: np.ndarray) -> Verdict:
    rows = compare_all(fit, errors, errors)
    (equal,) = [row for row in rows if {row.first, row.second} == set(EQUAL)]
    wide = quantile(errors, LEVEL)
    covered = [
        abs(row.difference - truth[row.first] + truth[row.second]) <= wide * row.standard_error
        for row in rows
    ]
    return Verdict(equal.p < LEVEL, equal.holm_p < LEVEL, float(np.mean(covered)))


def _by_drawing(ballots: Ballots, truth: np.ndarray) -> Verdict:
    scores, (first, second) = bootstrap(ballots, DRAWS).scores, np.array(PAIRS).T
    ends = [LEVEL / 2, 1 - LEVEL / 2]
    low, high = np.quantile(scores[:, first] - scores[:, second], ends, axis=0)
    aim, equal = truth[first] - truth[second], PAIRS.index(EQUAL)
    covered = float(((low <= aim) & (aim <= high)).mean())
    return Verdict(not low[equal] <= 0 <= high[equal], None, covered)


def report(studies: int) -> str:
    """The tables as Markdown."""
    start = time.perf_counter()
    judged = {design: judge(design, studies) for design in DESIGNS}
    seconds = time.perf_counter() - start
    names = [*ERRORS, "bootstrap"]
    error = np.sqrt(LEVEL * (1 - LEVEL) / studies)
    head = "| pictures a pair, observers | tau / omega | " + " | ".join(names)
    texts = [
        "# What a study's errors are worth",
        f"{studies} simulated studies a row by `benchmarks/study_coverage.py`, seed {SEED}, "
        f"{seconds:.0f} s. Four entrants, two of them equal; tau: how much pictures differ, omega: "
        "how much observers do, in units of score. Student's t for clustered errors; the bootstrap "
        f"has {DRAWS} draws of pictures and observers.",
        f"## Equal entrants called different at 5 %\n\n(Monte Carlo error {error:.3f})",
        _table(f"{head} | two-way, Holm |", judged, lambda row: _false(row, names)),
        "## Differences that 95 % intervals cover\n\n(mean over the six pairs)",
        _table(f"{head} |", judged, lambda row: [row[name].covered for name in names]),
    ]
    return "\n\n".join(texts) + "\n"


def _false(row: dict[str, Verdict], names: list[str]) -> list[float]:
    return [*(row[name].false for name in names), row["two-way (default)"].false_holm or 0.0]


def _table(
    head: str,
    judged: dict[Design, dict[str, Verdict]],
    numbers: Callable[[dict[str, Verdict]], list[float]],
) -> str:
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for design, row in judged.items():
        shares = " | ".join(f"{share:.3f}" for share in numbers(row))
        size = f"{design.pictures}, {design.observers} | {design.tau:g} / {design.omega:g}"
        lines.append(f"| {size} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    text = report(options.studies)
    if options.write:
        options.write.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
