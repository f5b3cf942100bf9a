"""BDIA: every step corrected by gamma times what the step before it missed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .two_step import GROWTH_LIMIT, TwoStep

if TYPE_CHECKING:
    from ..protocols import Denoiser
    from ..schedule import Schedule, Step


@dataclass(frozen=True)
class BdiaOptions:
    """What the user chooses about BDIA.

    Attributes:
        gamma: in (0, 1]; below 1 only few steps are stable.
    """

    gamma: float = field(default=1.0, metadata={"help": "of bdia, in (0, 1]; default 1"})

    def check(self, steps: int, kept: int) -> None:  # noqa: ARG002
        """Raise ValueError unless an inversion of `kept` steps is stable."""
        check_gamma(self.gamma, kept)

    def couple(self, denoiser: Denoiser, schedule: Schedule, steps: int) -> Bdia:  # noqa: ARG002
        """The map of a schedule."""
        return Bdia(denoiser, schedule, self.gamma)


@dataclass(frozen=True)
class Bdia(TwoStep):
    """Everything that fixes BDIA's map, g_i = gamma.

    Attributes:
        gamma: in (0, 1]; the inverse divides by it at every step. 1 amplifies nothing.
    Raises: ValueError for a gamma whose inversion is unstable.
    Source: Zhang et al., arXiv 2307.10829.
    """

    gamma: float = 1.0

    def __post_init__(self):
        check_gamma(self.gamma, len(self._steps))

    def memory(self, above: Step, step: Step) -> float:  # noqa: ARG002
        """Gamma, at every step."""
        return self.gamma


def check_gamma(gamma: float, steps: int) -> None:
    """Raise ValueError unless BDIA's inversion with this gamma in so many steps is stable."""
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma {gamma} must lie in (0, 1]: BDIA's inverse divides by it")
    divisions = max(0, steps - 1)
    if -divisions * math.log(gamma) <= math.log(GROWTH_LIMIT):
        return
    least = math.ceil(1000 * GROWTH_LIMIT ** (-1 / divisions)) / 1000
    power = -divisions * math.log10(gamma)
    growth = f"{gamma**-divisions:.3g}" if power < 300 else f"10^{power:.0f}"
    raise ValueError(
        f"gamma {gamma} in {steps} steps makes BDIA's inversion amplify errors "
        f"{growth} times, as it divides by gamma at each step, and "
        f"{GROWTH_LIMIT:.0f} is the limit: choose gamma {least} or more (1 amplifies nothing), "
        "fewer steps, or the bijection obelm"
    )
