"""BDIA and O-BELM: exact bijections of one network call a step, by remembering the step before.

D_i(x) = A_i x + B_i f(x, t_i) is the deterministic sampler's step from level i to i - 1, R_i(x) its
step from level i back to i + 1, with the same f: both follow the line of the (picture, noise) that
the network sees at x. Then

    x_{i-1} = D_i(x_i) + g_i (x_{i+1} - R_i(x_i)),    i = T - 1 ... 1

corrects every step by what the step before it missed, and is undone exactly for any g_i != 0,
whatever the network. BDIA takes g_i = gamma. O-BELM chooses g_i so that the errors of second order
cancel: with h the length of a step in the variable in which the sampler's line is straight, and det
the determinant of the step as a map of (x, f) along the line, g_i = (h_i / h_{i+1})^2 there, which
is (B_i / B_{i+1})^2 det_{i+1} / det_i here. For eps (det = A) that variable is
sigma = sqrt((1 - alpha) / alpha) and the map is the paper's; for flow (det = A = 1) it is time; for
v (det = 1, the line a circle) the angle, its steps measured by their sines: as accurate, and finite
at zero terminal SNR, where the paper's g is 0.

Both ends need more than one latent.

- Noise is (x_T, r): r = x_{T-1} - D_T(x_T), what a plain first step misses. r stays with the
  picture while x_T is optimised: x_{T-1} = D_T(x_T) + r follows x_T and cannot be pulled away from
  it. With x_{T+1} - R_T(x_T) = r, g_T = 1 it is a step as all others.
- A picture is (x_0, x_1). x_1 is chosen so that a plain last step leads to x_0:
  x_0 = A_1 x_1 + B_1 f(x_1, t_1), by two fixed-point iterations from x_0. Any choice is exact; this
  one asks the network nothing at a level it was not trained for. On the pocket model (T = 4 to 10,
  gamma = 1) it leaves a third to six tenths of the r that a step by f(x_0, 1) leaves; one iteration
  leaves more, and six little less.

Steps that move nothing (the last one of "leading" spacing) are left out: with them g_i = 0.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ..protocols import Denoiser
from ..schedule import Schedule, Step
from ..tape import Tape
from .edict import LatentPair, caller

Rule = Literal["bdia", "obelm"]
START_CALLS = 2
# How much an inversion may amplify what x_1 is off, product of the 1 / g_i. Measured on the pocket
# model (BDIA, T = 5 to 20): at 25 r is a fifth to a third of x_T, at 70 three quarters, from 100 on
# it is larger than x_T, and at 500 x_T has left the unit variance that the network knows.
GROWTH_LIMIT = 50.0


class Row(NamedTuple):
    """x_{i-1} = memory x_{i+1} + a x_i + b f(x_i, label), the step's terms collected."""

    memory: float
    step: Step


@dataclass(frozen=True)
class TwoStep:
    """BDIA or O-BELM: everything that fixes the map; a `PairMap`.

    Attributes:
        denoiser: the frozen network.
        schedule: its steps, noisiest first.
        rule: "bdia" or "obelm".
        gamma: BDIA's, in (0, 1]; the inverse divides by it at every step. 1 amplifies nothing.
    Raises: ValueError for settings whose inversion is unstable.
    Source: Zhang et al., arXiv 2307.10829 (BDIA); Wang et al., arXiv 2410.07273 (O-BELM).
    """

    denoiser: Denoiser
    schedule: Schedule
    rule: Rule
    gamma: float = 1.0
    members: ClassVar[int] = 1

    def __post_init__(self):
        if self.rule not in ("bdia", "obelm"):
            raise ValueError(f"unknown rule {self.rule!r}: choose bdia or obelm")
        if self.rule == "bdia":
            check_gamma(self.gamma, len(self._steps))
        elif self.growth > GROWTH_LIMIT:
            raise ValueError(
                f"O-BELM's inversion amplifies errors {self.growth:.3g} times on this schedule, "
                f"and {GROWTH_LIMIT:.0f} is the limit: its first step is too long for its last; "
                "choose another number of steps or spacing, or the bijection edict or bdia"
            )

    @property
    def calls(self) -> int:
        """Network calls of one reconstruction; an inversion makes two more, for its start."""
        return len(self.rows)

    @property
    def growth(self) -> float:
        """The most by which an inversion amplifies what its start x_1 is off, at least 1."""
        growth = largest = 1.0
        for row in reversed(self.rows):
            growth /= row.memory
            largest = max(largest, growth)
        return largest

    @property
    def _steps(self) -> list[Step]:
        return [step for step in self.schedule.steps if step.b != 0]

    @cached_property
    def rows(self) -> list[Row]:
        """One per network call, noisiest first."""
        rows = [Row(1.0, step) for step in self._steps[:1]]
        turning = self.schedule.prediction == "v"
        for above, step in pairwise(self._steps):
            own, determinant = (above.a, 1.0) if turning else (1.0, above.a)
            memory = self.gamma
            if self.rule == "obelm":
                ratio = determinant / (1.0 if turning else step.a)
                memory = (step.b / above.b) ** 2 * ratio
            # R_i is the first row of the inverse of ((A, B), (., own)), the step above as a map of
            # (x, f) along the line.
            a = step.a - memory * own / determinant
            b = step.b + memory * above.b / determinant
            rows.append(Row(memory, Step(a, b, step.label)))
        return rows

    @torch.no_grad()
    def start(self, latent: Tensor) -> LatentPair:
        """(x_0, x_1) of a picture's latent x_0, (B, C, h, w); two network calls."""
        if not self._steps:
            return LatentPair(latent, torch.zeros_like(latent))
        a, b, label = self._steps[-1]
        noisier = latent
        for _ in range(START_CALLS):
            noisier = (latent - b * self.denoiser(noisier, label).to(latent.dtype)) / a
        return LatentPair(latent, noisier)

    def reconstruct(self, pair: LatentPair, tape: Tape | None = None) -> LatentPair:
        """Map noise to a picture's latents.

        Args:
            pair: (x_T, r), each (B, C, h, w), float64 for an exact inverse.
            tape: records the network calls for `pull_back`.
        Returns: (x_0, x_1), same shape and dtype; x_0 is the picture.
        """
        call = caller(self.denoiser, tape)
        now, before = pair
        for index, (memory, step) in enumerate(self.rows):
            now, before = memory * before + step.a * now + call(index, step, now), now
        return LatentPair(now, before)

    def invert(self, pair: LatentPair, tape: Tape | None = None) -> LatentPair:
        """Map a picture's latents to noise: the inverse of `reconstruct`.

        Args:
            pair: (x_0, x_1), each (B, C, h, w), float64 for an exact inverse; see `start`.
            tape: records the network calls; they are those of the reconstruction of the result.
        Returns: (x_T, r), same shape and dtype.
        """
        call = caller(self.denoiser, tape)
        now, before = pair
        for index, (memory, step) in reversed(list(enumerate(self.rows))):
            older = (now - step.a * before - call(index, step, before)) / memory
            now, before = before, older
        return LatentPair(now, before)

    def pull_back(self, tape: Tape, gradient: LatentPair) -> LatentPair:
        """Vector-Jacobian product of `reconstruct` at the recorded point; empties the tape.

        Args:
            gradient: (dL/dx_0, dL/dx_1), each (B, C, h, w).
        Returns: (dL/dx_T, dL/dr). The first is the gradient by x_T with x_{T-1} following it.
        """
        now, before = gradient
        for index, (memory, step) in reversed(list(enumerate(self.rows))):
            through = before + step.a * now
            if step.b != 0:
                through = through + tape.pull_back(index, self.denoiser, step, now)
            now, before = through, memory * now
        return LatentPair(now, before)


def check_gamma(gamma: float, steps: int) -> None:
    """Raise ValueError unless BDIA's inversion with this gamma in so many steps is stable."""
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma {gamma} must lie in (0, 1]: BDIA's inverse divides by it")
    divisions = max(0, steps - 1)
    if -divisions * math.log(gamma) <= math.log(GROWTH_LIMIT):
        return
    least = math.ceil(1000 * GROWTH_LIMIT ** (-1 / divisions)) / 1000
    raise ValueError(
        f"gamma {gamma} in {steps} steps makes BDIA's inversion amplify errors "
        f"{gamma**-divisions:.3g} times, as it divides by gamma at each step, and "
        f"{GROWTH_LIMIT:.0f} is the limit: choose gamma {least} or more (1 amplifies nothing), "
        "fewer steps, or the bijection obelm"
    )
