"""What a study's [session] table may say of its sessions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SessionSettings:
    """How an observer's trials are drawn.

    Attributes:
        seed: of all trial lists of the study.
        training: trials before the first that counts, 0 to 10.
        traps: pairs with an obvious answer, spread over the session, 0 to 50.
        repeats: share of the pairs that is asked again, sides exchanged, 0 to 0.5.
        break_every: trials between two offered breaks, at least 5.
        both_orders: ask every pair twice, once with each picture on the left.
        trials: at most so many of the study's pairs for one observer, at least 1; None: all. Which
            ones goes round, so that all pairs are asked alike often.
    """

    seed: int = 0
    training: int = 6
    traps: int = 10
    repeats: float = 0.05
    break_every: int = 50
    both_orders: bool = False
    trials: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a value out of range."""
        _check("training", self.training, 0, 10)
        _check("traps", self.traps, 0, 50)
        _check("repeats", self.repeats, 0, 0.5)
        _check("break_every", self.break_every, 5, 10_000)
        if self.trials is not None:
            _check("trials", self.trials, 1, 100_000)


def _check(name: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise ValueError(f"{name} is {value}: give a value from {lowest} to {highest}")
