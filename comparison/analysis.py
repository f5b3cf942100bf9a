"""From votes to everything that is reported of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..files.natural_order import natural
from .ballots import Ballots, cast_ballots
from .bootstrap import SEED, Bootstrap, bootstrap
from .covariance import Covariance, clustered, independent_votes
from .judging import Judged, Score, judged
from .observers import Observer, describe_observers
from .per_picture import PerPicture, picture_counts, score_pictures
from .rank_agreement import Correlation, RankAgreement, agree
from .shares import Share, mean_design_effect, shares
from .significance import (
    Comparison,
    Starks,
    compare_all,
    group,
    ranking,
    starks_david,
    told_apart,
)
from .strata import Strata, Stratum, score_strata
from .thurstone import Fit, GoodnessOfFit, fit_scores, goodness_of_fit
from .votes import Vote, VotesRead


@dataclass(frozen=True)
class AnalysisSettings:
    """What can be chosen.

    Attributes:
        level: of tests and intervals, between 0 and 1/2.
        draws: resampled studies; 0: no bootstrap.
        seed: of the bootstrap.
        exclude: observers to leave out; the report says so.
        against: the entrant whose shares of votes are shown; empty: the one of highest score.
    """

    level: float = 0.05
    draws: int = 1000
    seed: int = SEED
    exclude: tuple[str, ...] = ()
    against: str = ""

    def check(self) -> None:
        """Raise ValueError for what is no level or number of draws."""
        if not 0 < self.level < 0.5:
            raise ValueError(f"level {self.level} is not between 0 and 0.5: 0.05 is usual")
        if not 0 <= self.draws <= 100_000:
            raise ValueError(f"draws {self.draws}: give 0 to 100000, 1000 are usual")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is negative: give 0 or more")


@dataclass(frozen=True)
class Analysis:
    """All that follows from votes.

    Attributes:
        read: the votes, and what is wrong with rows.
        excluded: observers left out on request, and how many study votes each had.
        ballots: what is analysed.
        order: entrants by rank.
        fit, covariance, independent: scores; their uncertainty, clustered and naive.
        comparisons: tests of all pairs.
        groups: entrants that are not told apart.
        goodness: whether one scale holds the votes, were they independent.
        goodness_clustered: the same with the deviance divided by the pairs' mean design effect.
        drawn: the bootstrap, if asked for.
        observers: each one's screening.
        shares: of every pair of entrants.
        starks: David's check, if the design is balanced.
        per_picture: scores of each picture, if every picture has them.
        agreement: Table I, if correlations are given.
        strata: scores of each stratum of pictures, if there are several.
        against: the entrant whose shares are shown.
        judged: every judge's mean score of every entrant, if results were scored.
        remarks: what else a reader should know first.
    """

    settings: AnalysisSettings
    read: VotesRead
    excluded: Mapping[str, int]
    ballots: Ballots
    order: tuple[int, ...]
    fit: Fit
    covariance: Covariance
    independent: Covariance
    comparisons: tuple[Comparison, ...]
    groups: tuple[tuple[int, ...], ...]
    goodness: GoodnessOfFit
    goodness_clustered: GoodnessOfFit
    drawn: Bootstrap | None
    observers: tuple[Observer, ...]
    shares: tuple[Share, ...]
    starks: Starks | None
    per_picture: PerPicture | None
    agreement: RankAgreement | None
    strata: tuple[Stratum, ...]
    against: int
    judged: Judged | None = None
    remarks: tuple[str, ...] = ()

    @property
    def scores(self) -> dict[str, float]:
        """Scores by entrant, the highest first."""
        return {self.ballots.entrants[i]: float(self.fit.scores[i]) for i in self.order}


def analyse(
    read: VotesRead,
    settings: AnalysisSettings | None = None,
    entrants: Sequence[str] = (),
    correlations: Mapping[str, Correlation] | None = None,
    strata: Strata | None = None,
    scores: Sequence[Score] = (),
    remarks: Sequence[str] = (),
) -> Analysis:
    """Analyse votes.

    Args:
        read: as `read_votes` gives them.
        settings: default `AnalysisSettings()`.
        entrants: their order where scores say nothing of it.
        correlations: each entrant's SRCC with mean opinion scores, for Table I.
        strata: of the pictures, as `read_strata` gives them.
        scores: of the results by judges, as `read_scores` gives them.
        remarks: what else a reader should know first.
    Raises: ValueError if there are no votes to analyse, or the settings name nobody.
    """
    settings = settings or AnalysisSettings()
    settings.check()
    excluded = _excluded(read, settings.exclude)
    votes = [vote for vote in read.votes if vote.observer not in excluded]
    ballots = _cast(votes, read, entrants)
    counts = ballots.counts()
    fit = fit_scores(counts)
    found, goodness = tuple(shares(ballots, settings.level)), goodness_of_fit(counts, fit)
    covariance, independent = clustered(ballots, fit), independent_votes(fit)
    comparisons = compare_all(fit, covariance, independent)
    order = ranking(fit)
    found_scores = {ballots.entrants[i]: float(fit.scores[i]) for i in order}
    return Analysis(
        settings,
        read,
        excluded,
        ballots,
        tuple(int(entrant) for entrant in order),
        fit,
        covariance,
        independent,
        tuple(comparisons),
        tuple(group(order, told_apart(comparisons, fit, settings.level))),
        goodness,
        goodness.divided(mean_design_effect(found)),
        bootstrap(ballots, settings.draws, settings.seed) if settings.draws else None,
        tuple(describe_observers(votes, ballots)),
        found,
        starks_david(counts, settings.level),
        score_pictures(picture_counts(ballots)),
        agree(correlations, found_scores) if correlations else None,
        tuple(score_strata(ballots, strata or {})),
        _place(settings.against, ballots, int(order[0])),
        judged(scores),
        tuple(remarks),
    )


def _excluded(read: VotesRead, names: Sequence[str]) -> dict[str, int]:
    votes = Counter(vote.observer for vote in read.votes if vote.kind == "study")
    observers = {vote.observer for vote in read.votes}
    if unknown := [name for name in names if name not in observers]:
        known = ", ".join(sorted(observers, key=natural))
        raise ValueError(f"no vote is by {unknown[0]!r}: choose among those who voted, {known}")
    return {name: votes[name] for name in names}


def _cast(votes: Sequence[Vote], read: VotesRead, entrants: Sequence[str]) -> Ballots:
    try:
        return cast_ballots(votes, entrants)
    except ValueError as error:
        lost = [flaw for flaw in read.flaws if not flaw.counted]
        if not lost:
            raise
        first = f"{lost[0].file}, line {lost[0].line}: {lost[0].text}"
        raise ValueError(f"{error}; {len(lost)} rows could not be used: {first}") from error


def _place(name: str, ballots: Ballots, best: int) -> int:
    if not name:
        return best
    if name not in ballots.entrants:
        raise ValueError(f"nobody voted on {name!r}: choose one of {', '.join(ballots.entrants)}")
    return ballots.entrants.index(name)
