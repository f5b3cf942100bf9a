"""EDICT: two coupled latents make a diffusion model an exact bijection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from .bijection import LatentPair, caller

if TYPE_CHECKING:
    from torch import Tensor

    from ..protocols import Denoiser
    from ..schedule import Schedule, Step
    from ..tape import Tape

Order = Literal["fixed", "alternate"]
LEAST_MIXING = 0.5  # what p must be above
FEW_STEPS_MIXING = 0.93  # EDICT's own at its 50 steps; it holds the pair together in few, too


@dataclass(frozen=True)
class EdictOptions:
    """What the user chooses about EDICT.

    Attributes:
        mixing: p in (0.5, 1]; None for `default_mixing`.
        order: "fixed" (the paper) or "alternate" (EDICT's code).
    """

    mixing: float | None = field(
        default=None,
        metadata={
            "help": "p in (0.5, 1] of edict; default: the preset's if there is one, else the "
            "paper's 0.93 ** (50 / T), or 0.93 for T below 6"
        },
    )
    order: Order = field(
        default="fixed", metadata={"help": "of edict: which of the pair is updated first"}
    )

    def p(self, steps: int) -> float:
        """The mixing in force with T = `steps`."""
        return default_mixing(steps) if self.mixing is None else self.mixing

    def check(self, steps: int, kept: int) -> None:  # noqa: ARG002
        """Raise ValueError if no map of T = `steps` can work."""
        check_mixing(self.p(steps))

    def couple(self, denoiser: Denoiser, schedule: Schedule, steps: int) -> Edict:
        """The map of a schedule, which is of T = `steps` or the last part of it."""
        return Edict(denoiser, schedule, self.p(steps), self.order)


@dataclass(frozen=True)
class Edict:
    """Everything that fixes EDICT's map: the network, its schedule and how the pair is coupled.

    Attributes:
        denoiser: the frozen network.
        schedule: its steps, noisiest first.
        mixing: p in (0.5, 1]; the inverse divides by it at every step.
        order: "fixed" updates x first, as Eqs. (8)-(15); "alternate" swaps at every other step,
            as EDICT's own code does.
    """

    denoiser: Denoiser
    schedule: Schedule
    mixing: float
    order: Order = "fixed"
    members: ClassVar[int] = 2
    start_calls: ClassVar[int] = 0

    def __post_init__(self):
        check_mixing(self.mixing)
        if self.order not in get_args(Order):
            raise ValueError(f"unknown order {self.order!r}: choose fixed or alternate")

    @property
    def calls(self) -> int:
        """Network calls of one inversion or reconstruction."""
        return sum(2 for step in self.schedule.steps if step.b != 0)

    def start(self, latent: Tensor) -> LatentPair:
        """The picture's latent twice."""
        return LatentPair(latent, latent)

    def reconstruct(self, pair: LatentPair, tape: Tape | None = None) -> LatentPair:
        """Map noise to a picture's latents: the paper's h, Eqs. (8)-(11).

        Args:
            pair: noise latents (x_T, y_T), each (B, C, h, w), float64 for an exact inverse.
            tape: records the network calls for `pull_back`.
        Returns: (x_0, y_0), same shape and dtype.
        Source: Zhang et al., arXiv 2403.06406, Eqs. (8)-(11); Wallace et al., arXiv 2211.12446.
        """
        p, call = self.mixing, caller(self.denoiser, tape)
        for index, step, swapped in self._ordered():
            first, second = (pair.y, pair.x) if swapped else pair
            first = step.a * first + call(2 * index, step, second)
            second = step.a * second + call(2 * index + 1, step, first)
            x, y = (second, first) if swapped else (first, second)
            x = p * x + (1 - p) * y
            pair = LatentPair(x, p * y + (1 - p) * x)
        return pair

    def invert(self, pair: LatentPair, tape: Tape | None = None) -> LatentPair:
        """Map a picture's latents to noise: the paper's d, inverse of `reconstruct`.

        Args:
            pair: latents (x_0, y_0), each (B, C, h, w), float64 for an exact inverse. For a picture
                both are its latent.
            tape: records the network calls; they are those of the reconstruction of the result,
                which therefore need not be computed again.
        Returns: (x_T, y_T), same shape and dtype.
        Source: Zhang et al., arXiv 2403.06406, Eqs. (12)-(15).
        """
        p, call = self.mixing, caller(self.denoiser, tape)
        for index, step, swapped in reversed(list(self._ordered())):
            y = (pair.y - (1 - p) * pair.x) / p
            x = (pair.x - (1 - p) * y) / p
            first, second = (y, x) if swapped else (x, y)
            second = (second - call(2 * index + 1, step, first)) / step.a
            first = (first - call(2 * index, step, second)) / step.a
            pair = LatentPair(second, first) if swapped else LatentPair(first, second)
        return pair

    def pull_back(self, tape: Tape, gradient: LatentPair) -> LatentPair:
        """Vector-Jacobian product of `reconstruct` at the recorded point.

        Args:
            tape: the recorded calls of this map; it is empty afterwards.
            gradient: (dL/dx_0, dL/dy_0), each (B, C, h, w).
        Returns: (dL/dx_T, dL/dy_T).
        Source: the adjoint of Eqs. (8)-(11), step by step.
        """
        p = self.mixing
        for index, step, swapped in reversed(list(self._ordered())):
            gx = gradient.x + (1 - p) * gradient.y
            gy = p * gradient.y + (1 - p) * gx
            gx = p * gx
            first, second = (gy, gx) if swapped else (gx, gy)
            if step.b != 0:
                first = first + tape.pull_back(2 * index + 1, self.denoiser, step, second)
            second_in = step.a * second
            if step.b != 0:
                second_in = second_in + tape.pull_back(2 * index, self.denoiser, step, first)
            first = step.a * first
            gradient = LatentPair(second_in, first) if swapped else LatentPair(first, second_in)
        return gradient

    def _ordered(self) -> Iterator[tuple[int, Step, bool]]:
        """(index, step, swapped) in the order of reconstruction; swapped: y is updated first."""
        for index, step in enumerate(self.schedule.steps):
            yield index, step, self.order == "alternate" and index % 2 == 1


def check_mixing(mixing: float) -> None:
    """Raise ValueError unless the mixing p lies in (0.5, 1]."""
    if not LEAST_MIXING < mixing <= 1:
        raise ValueError(
            f"mixing p = {mixing} must lie in (0.5, 1]: un-mixing divides by p at every step and "
            f"smaller values drown the latents in rounding; {FEW_STEPS_MIXING} works for any "
            "number of steps, and without one the steps choose it"
        )


def default_mixing(steps: int) -> float:
    """The paper's p where an inversion survives that, from T = 6 on; for fewer steps 0.93."""
    p = paper_mixing(steps)
    return p if p > LEAST_MIXING else FEW_STEPS_MIXING


def paper_mixing(steps: int) -> float:
    """p = 0.93 ** (50 / T), Section IV-A of the paper; it is above 0.5 from T = 6 on."""
    return 0.93 ** (50 / steps)
