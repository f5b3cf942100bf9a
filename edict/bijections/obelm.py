"""O-BELM: the two-step map whose errors of second order cancel.

With h the length of a step in the variable in which the sampler's line is straight, and det the
determinant of the step as a map of (x, f) along the line, g_i = (h_i / h_{i+1})^2 there, which is
(B_i / B_{i+1})^2 det_{i+1} / det_i here. For eps (det = A) that variable is
sigma = sqrt((1 - alpha) / alpha) and the map is the paper's; for flow (det = A = 1) it is time; for
v (det = 1, the line a circle) the angle, its steps measured by their sines: as accurate, and finite
at zero terminal SNR, where the paper's g is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .two_step import GROWTH_LIMIT, TwoStep

if TYPE_CHECKING:
    from ..protocols import Denoiser
    from ..schedule import Schedule, Step


@dataclass(frozen=True)
class OBelmOptions:
    """O-BELM leaves nothing to choose."""

    def check(self, steps: int, kept: int) -> None:
        """Nothing to check before the schedule is known."""

    def couple(self, denoiser: Denoiser, schedule: Schedule, steps: int) -> OBelm:  # noqa: ARG002
        """The map of a schedule. Raises ValueError where its inversion is unstable."""
        return OBelm(denoiser, schedule)


@dataclass(frozen=True)
class OBelm(TwoStep):
    """Everything that fixes O-BELM's map.

    Raises: ValueError for a schedule whose inversion is unstable.
    Source: Wang et al., arXiv 2410.07273.
    """

    def __post_init__(self):
        if self.growth > GROWTH_LIMIT:
            raise ValueError(
                f"O-BELM's inversion amplifies errors {self.growth:.3g} times on this schedule, "
                f"and {GROWTH_LIMIT:.0f} is the limit: its first step is too long for its last; "
                "choose another number of steps or spacing, or the bijection edict or bdia"
            )

    def memory(self, above: Step, step: Step) -> float:
        """(B_i / B_{i+1})^2 det_{i+1} / det_i."""
        ratio = self.line(above).determinant / self.line(step).determinant
        return (step.b / above.b) ** 2 * ratio
