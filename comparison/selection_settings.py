"""What a study file's [selection] table may say."""

from dataclasses import dataclass
from typing import Literal, get_args

Features = Literal["vgg16", "colours_and_edges"]
Diversity = Literal["mean", "min"]


@dataclass(frozen=True)
class SelectionSettings:
    """Which of the results are shown, Eq. (18).

    Attributes:
        measure: D1 between two results, a full-reference measure of docs/fidelity.md; its mean in
            both directions where it has one.
        features: of inputs, for D2 between them: "vgg16" needs a file, "colours_and_edges" none.
        gamma: weight of D2, at least 0; the paper's.
        per_pair: K, pictures for each pair of entrants.
        diversity: D2 from a set is the mean of those to its pictures, or the smallest.
        random: further pictures for each pair, drawn from those not chosen.
        seed: of that draw.
    """

    measure: str = "dists"
    features: Features = "vgg16"
    gamma: float = 0.1
    per_pair: int = 20
    diversity: Diversity = "mean"
    random: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be."""
        from ..fidelity.catalog import FIDELITIES, REFUSED
        from ..files.catalog import choose_row

        choose_row("fidelity", FIDELITIES, REFUSED, self.measure)
        _require(self.features in get_args(Features), f"unknown features {self.features!r}")
        _require(self.diversity in get_args(Diversity), f"unknown diversity {self.diversity!r}")
        _require(0 <= self.gamma <= 1e6, f"gamma is {self.gamma}: give 0 or more, 0.1 is usual")
        _require(1 <= self.per_pair <= 10_000, f"per_pair is {self.per_pair}: give 1 or more")
        _require(0 <= self.random <= 10_000, f"random is {self.random}: give 0 or more")
        _require(self.seed >= 0, f"seed is {self.seed}: give 0 or more")


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(complaint)
