"""Exact bijections of one network call a step, by remembering the step before: BDIA and O-BELM.

D_i(x) = A_i x + B_i f(x, t_i) is the deterministic sampler's step from level i to i - 1, R_i(x) its
step from level i back to i + 1, with the same f: both follow the line of the (picture, noise) that
the network sees at x. Then

    x_{i-1} = D_i(x_i) + g_i (x_{i+1} - R_i(x_i)),    i = T - 1 ... 1

corrects every step by what the step before it missed, and is undone exactly for any g_i != 0,
whatever the network.

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

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ..schedule import Schedule, Step
from .bijection import LatentPair, caller

if TYPE_CHECKING:
    from torch import Tensor

    from ..protocols import Denoiser
    from ..tape import Tape

# How much an inversion may amplify what x_1 is off, product of the 1 / g_i. Measured on the pocket
# model (BDIA, T = 5 to 20): at 25 r is a fifth to a third of x_T, at 70 three quarters, from 100 on
# it is larger than x_T, and at 500 x_T has left the unit variance that the network knows.
GROWTH_LIMIT = 50.0


class Row(NamedTuple):
    """x_{i-1} = memory x_{i+1} + a x_i + b f(x_i, label), the step's terms collected."""

    memory: float
    step: Step


class Line(NamedTuple):
    """The step from level i + 1 as a map (x, f) -> ((A, B), (., own)) along the sampler's line.

    `determinant` is that of the map: A for eps and flow; for v the line is a circle, and it is 1.
    """

    own: float
    determinant: float


@dataclass(frozen=True)
class TwoStep:
    """Everything that fixes such a map but its g_i, which subclasses choose by `memory`.

    Attributes:
        denoiser: the frozen network.
        schedule: its steps, noisiest first.
    """

    denoiser: Denoiser
    schedule: Schedule
    members: ClassVar[int] = 1
    start_calls: ClassVar[int] = 2

    def memory(self, above: Step, step: Step) -> float:
        """g_i of a step, of which `above` is the one before."""
        raise NotImplementedError

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

    def line(self, step: Step) -> Line:
        """A step along the line that the sampler follows."""
        return Line(step.a, 1.0) if self.schedule.prediction == "v" else Line(1.0, step.a)

    @cached_property
    def rows(self) -> list[Row]:
        """One per network call, noisiest first."""
        rows = [Row(1.0, step) for step in self._steps[:1]]
        for above, step in pairwise(self._steps):
            memory, (own, determinant) = self.memory(above, step), self.line(above)
            # R_i is the first row of the inverse of the step above.
            a = step.a - memory * own / determinant
            b = step.b + memory * above.b / determinant
            rows.append(Row(memory, Step(a, b, step.label)))
        return rows

    def start(self, latent: Tensor) -> LatentPair:
        """(x_0, x_1) of a picture's latent x_0, (B, C, h, w); two network calls."""
        from torch import no_grad

        if not self._steps:
            return LatentPair(latent, latent.new_zeros(latent.shape))
        a, b, label = self._steps[-1]
        noisier = latent
        with no_grad():
            for _ in range(self.start_calls):
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
