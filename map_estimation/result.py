"""What a MAP estimation reports: steps while it runs, a result at its end."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from torch import Tensor


class Status(Enum):
    """Why a run ended."""

    ITERATIONS_DONE = "all iterations done"
    NO_IMPROVEMENT = "stopped: no lower energy for the set number of iterations"
    CONVERGED = "stopped: no lower energy along the steepest descent"
    TARGET_REACHED = "stopped: target quality reached"
    CANCELLED = "cancelled"
    FAILED = "failed: the energy broke down or memory ran out; the best before that is kept"
    NOTHING_TO_DO = "nothing to do: lambda, the number of iterations or the whole mask is 0"


@dataclass(frozen=True)
class TraceRow:
    """One evaluated iterate.

    Attributes:
        iteration: 0 is where the ascent starts.
        energy: mean over the pair.
        terms: the energy's terms by name, without their weights, means over the pair.
    """

    iteration: int
    energy: float
    terms: dict[str, float]

    @property
    def quality(self) -> float:
        """The prior's, in [0, 1]; every energy has it."""
        return self.terms["quality"]

    def flat(self) -> dict[str, float]:
        """All of it as one table row."""
        return {"iteration": self.iteration, "energy": self.energy, **self.terms}


@dataclass(frozen=True)
class MapStep:
    """What a callback sees after each evaluation.

    Attributes:
        row: iteration and terms.
        iterations: how many are planned.
        is_best: whether this iterate is the best so far.
        preview: makes the current picture, (1, 3, H, W) in [0, 1], on demand.
        item, items: which picture of the batch this is, and how many there are.
    """

    row: TraceRow
    iterations: int
    is_best: bool
    preview: Callable[[], Tensor]
    item: int = 0
    items: int = 1


@dataclass(frozen=True)
class MapResult:
    """The best iterate of a run and how it was found.

    Attributes:
        status: why the run ended.
        x, y: the best pair of pictures, each (1, 3, H, W), RGB in [0, 1], on the CPU. Their
            content is nearly the same. In pixel space both are the same picture.
        best_iteration: which iterate it is; 0 is the start.
        trace: all evaluated iterates.
        variables: the best noise pair (x_T, y_T), or pixels.
        member: which of x and y (0 or 1) has the lower energy.
        improved: whether something better than the input was found; else the input is returned.
        before: the input's own energy and terms, as iteration -1; None where it was not measured.
    """

    status: Status
    x: Tensor
    y: Tensor
    best_iteration: int
    trace: tuple[TraceRow, ...]
    variables: tuple[Tensor, ...] = ()
    member: int = 0
    improved: bool = False
    before: TraceRow | None = None

    @property
    def picture(self) -> Tensor:
        """The member with the lower energy: never worse than the input, since their mean is not."""
        return (self.x, self.y)[self.member]


class Cancel(Exception):  # noqa: N818 - a request, not an error
    """Raised in a callback to end the run with the best iterate so far."""


class NonFiniteError(RuntimeError):
    """The energy became NaN or infinite; `result` holds the best iterate before that."""

    def __init__(self, message: str, result: MapResult | None):
        super().__init__(message)
        self.result = result
