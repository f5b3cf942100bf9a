"""L-BFGS with a strong Wolfe line search, one evaluation at a time.

PyTorch's own takes all evaluations of a search inside one call, where a run could be neither saved
nor interrupted. Here the caller evaluates: each `step` takes the energy and gradient of the current
variables and moves them to the next point worth an evaluation, so every trial of a line search is
an iterate like any other.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

HISTORY = 5  # pairs of changes kept, each as large as the variables twice
DECREASE = 1e-4  # c1 of the Wolfe conditions
CURVATURE = 0.9  # c2: usual for quasi-Newton directions, nearly every first trial passes
TRIALS = 12  # of one search
LONGER = (2.0, 5.0)  # how much further to look while the energy still falls
MARGIN = 0.1  # of a bracket, at both its ends, where no trial is made
# A change whose curvature is lost in rounding would spoil the direction.
FLAT = 1e-12
VECTORS = ("base", "gradient", "direction", "low_gradient")


class Trial(NamedTuple):
    """A point on the search line: step length, energy, slope along the direction."""

    t: float
    energy: float
    slope: float


class WolfeSearch:
    """A line search that is told its trials' outcomes.

    Args:
        start: the point t = 0; its slope is negative.
        t: the first trial.
        curvature: c2 in (0, 1); the search ends where the slope is at most this share of the
            starting one, and the energy is low enough. Small values search exactly.
        longest: the largest step length; where the energy still falls there, it will do.

    Attributes:
        t: the step length to try now.
        low: the best trial so far.
    Source: Nocedal & Wright, Numerical Optimization, 2nd ed., Algorithms 3.5 and 3.6.
    """

    def __init__(
        self, start: Trial, t: float, curvature: float = CURVATURE, longest: float = math.inf
    ):
        self.start, self.curvature, self.longest = start, curvature, longest
        self.t = min(t, longest)
        self.low, self.high = start, None
        self.trials = 0

    def tell(self, energy: float, slope: float) -> bool:
        """Whether the search is over, at `low`; otherwise `t` is the next trial."""
        trial = Trial(self.t, energy, slope)
        self.trials += 1
        bound = self.start.energy + DECREASE * trial.t * self.start.slope
        if energy > bound or energy >= self.low.energy:
            self.high = trial
        else:
            previous, self.low = self.low, trial
            if abs(slope) <= -self.curvature * self.start.slope:
                return True
            turned = slope >= 0 if self.high is None else slope * (self.high.t - trial.t) >= 0
            if turned:
                self.high = previous
            elif self.high is None:
                self.t = min(_further(previous, trial), self.longest)
                return self.trials >= TRIALS or trial.t >= self.longest
        self.t = _between(self.low, self.high)
        # Once the bracket is lost in rounding there is nothing to find in it.
        return self.trials >= TRIALS or self.t in (self.low.t, self.high.t)

    def state(self) -> list[float]:
        """All of it as numbers."""
        high = self.high or Trial(math.nan, math.nan, math.nan)
        plain = [self.t, self.curvature, self.longest, self.trials]
        return [*plain, *self.start, *self.low, *high]

    @classmethod
    def from_state(cls, numbers: list[float]) -> "WolfeSearch":
        """The search that gave these numbers."""
        t, curvature, longest, trials, *points = numbers
        start, low, high = (Trial(*points[i : i + 3]) for i in (0, 3, 6))
        search = cls(start, t, curvature, longest)
        search.low, search.trials = low, int(trials)
        search.high = None if math.isnan(high.t) else high
        return search


def _further(previous: Trial, trial: Trial) -> float:
    step = trial.t - previous.t
    nearest, furthest = (trial.t + factor * step for factor in LONGER)
    guess = _cubic_minimum(previous, trial)
    return min(max(guess, nearest), furthest) if math.isfinite(guess) else furthest


def _between(low: Trial, high: Trial) -> float:
    left, right = sorted((low.t, high.t))
    margin = MARGIN * (right - left)
    guess = _cubic_minimum(low, high)
    if not math.isfinite(guess):
        return (left + right) / 2
    return min(max(guess, left + margin), right - margin)


def _cubic_minimum(a: Trial, b: Trial) -> float:
    """Where the cubic through two energies and slopes is lowest; NaN if it has no minimum.

    Source: Nocedal & Wright, Eq. (3.59).
    """
    span = b.t - a.t
    if span == 0:
        return math.nan
    d1 = a.slope + b.slope - 3 * (b.energy - a.energy) / span
    inside = d1 * d1 - a.slope * b.slope
    if not inside >= 0:
        return math.nan
    d2 = math.copysign(math.sqrt(inside), span)
    below = b.slope - a.slope + 2 * d2
    return b.t - span * (b.slope + d2 - d1) / below if below else math.nan


class Lbfgs:
    """Limited-memory BFGS on a list of variables.

    The directions do not depend on the scale of the energy, and of all lengths only the very first
    trial's is set from outside.

    Args:
        variables: what to move, with the gradient in their `.grad`.
        first_move: root mean square change of the variables in the first trial, and after the
            history had to be dropped, positive.
        curvature: of the line search, see `WolfeSearch`.
        longest: root mean square change of the variables in any one trial, at most.

    Attributes:
        finished: no lower energy can be found along the steepest descent itself.
    Source: Nocedal & Wright, Numerical Optimization, 2nd ed., Algorithm 7.5.
    """

    def __init__(
        self,
        variables: list[Tensor],
        first_move: float,
        curvature: float = CURVATURE,
        longest: float = math.inf,
    ):
        self.variables, self.first_move = variables, first_move
        self.curvature, self.longest = curvature, longest
        self.finished = False
        self._history: list[_Change] = []
        self._search: WolfeSearch | None = None
        # Where the search began, and its line; the gradient at the best trial.
        self._base = self._gradient = self._direction = self._low_gradient = torch.empty(0)

    @torch.no_grad()
    def step(self, energy: float) -> None:
        """Take the energy and gradient of the variables as they are, and move them on."""
        try:
            self._advance(energy)
        except BaseException:
            # Out of memory, or interrupted half-way: the next step begins anew where they are.
            self._search, self._history = None, []
            raise

    def _advance(self, energy: float) -> None:
        gradient = torch.cat([v.grad.flatten() for v in self.variables if v.grad is not None])
        if self._search is None:
            self._base = torch.cat([v.detach().flatten() for v in self.variables])
            self._begin_search(energy, gradient)
        else:
            tried = self._search.t
            over = self._search.tell(energy, float(gradient @ self._direction))
            if self._search.low.t == tried:
                self._low_gradient = gradient
            if over:
                self._end_search(self._search)
        self._place()

    def _begin_search(self, energy: float, gradient: Tensor) -> None:
        direction, first = _two_loops(gradient, self._history), 1.0
        if not self._history or float(gradient @ direction) >= 0:
            self._history, direction = [], -gradient
        move = float(direction.norm()) / math.sqrt(len(direction))
        self.finished = move == 0
        if self.finished:
            move = 1.0
        if not self._history:
            first = self.first_move / move
        self._gradient = self._low_gradient = gradient
        self._direction = direction
        start = Trial(0.0, energy, float(gradient @ direction))
        self._search = WolfeSearch(start, first, self.curvature, self.longest / move)

    def _end_search(self, search: WolfeSearch) -> None:
        found = search.low
        if found.t == 0 and not self._history:
            self.finished = True
            return
        if found.t == 0:
            self._history = []  # the steepest descent has yet to be tried
        else:
            change = _Change(found.t * self._direction, self._low_gradient - self._gradient)
            self._base = self._base + change.move
            if change.bend > FLAT * float(change.move.norm() * change.gradient.norm()):
                self._history = [*self._history, change][-HISTORY:]
        self._begin_search(found.energy, self._low_gradient)

    def _place(self) -> None:
        """The variables to the trial that comes next; to the base when there is none."""
        assert self._search is not None
        t = 0.0 if self.finished else self._search.t
        point = self._base + t * self._direction
        pieces = point.split([v.numel() for v in self.variables])
        for variable, piece in zip(self.variables, pieces, strict=True):
            variable.copy_(piece.view_as(variable))

    def state_dict(self) -> dict[str, Any]:
        """Tensors for going on bit for bit, laid out as PyTorch's optimisers do."""
        if self._search is None:
            return {"state": {}}
        slots = {name: getattr(self, f"_{name}") for name in VECTORS}
        numbers = [float(self.finished), *self._search.state()]
        slots["search"] = torch.tensor(numbers, dtype=torch.float64)
        for i, change in enumerate(self._history):
            slots |= {f"move.{i}": change.move, f"gradient_change.{i}": change.gradient}
        return {"state": {0: slots}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`, on any device. Raises KeyError if a part is missing."""
        slots = state["state"].get(0)
        if slots is None:
            return
        like = self.variables[0]
        count = sum(v.numel() for v in self.variables)
        for name, slot in slots.items():
            length = slot.numel() if name == "search" else count
            if slot.shape != (length,) or not slot.is_floating_point():
                raise ValueError(f"the optimiser's {name}")
        for name in VECTORS:
            setattr(self, f"_{name}", slots[name].to(like))
        finished, *numbers = slots["search"].tolist()
        self.finished, self._search = bool(finished), WolfeSearch.from_state(numbers)
        count = sum(name.startswith("move.") for name in slots)
        self._history = [
            _Change(slots[f"move.{i}"].to(like), slots[f"gradient_change.{i}"].to(like))
            for i in range(count)
        ]


class _Change(NamedTuple):
    move: Tensor
    gradient: Tensor

    @property
    def bend(self) -> float:
        return float(self.move @ self.gradient)


def _two_loops(gradient: Tensor, history: list[_Change]) -> Tensor:
    """Minus the approximate inverse Hessian times the gradient."""
    direction, shares = -gradient, []
    for change in reversed(history):
        shares.append(float(change.move @ direction) / change.bend)
        direction = direction - shares[-1] * change.gradient
    if history:
        last = history[-1]
        direction = direction * (last.bend / float(last.gradient @ last.gradient))
    for change in history:
        back = float(change.gradient @ direction) / change.bend
        direction = direction + (shares.pop() - back) * change.move
    return direction
