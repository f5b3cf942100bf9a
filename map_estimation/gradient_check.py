"""One finite difference against autograd, at the start of a run: is the gradient to be trusted?

A network wrapped by other software can give a plausible gradient that is wrong, without an error.
"""

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

log = logging.getLogger(__name__)
LIMIT = 0.05  # relative
# The step should change the energy by this share of its terms, well above rounding, yet move the
# variables by no more than this share of themselves, where curvature begins.
CHANGE, MOVE = 0.01, 0.02
CURVED = 0.02  # above it the second, central difference is worth its price
# Less than this share, of the terms or of the variables, drowns in float32 or is chaos, not slope.
ROUNDING = 1e-5


class GradientCheck(NamedTuple):
    """Slopes of the energy along its gradient."""

    autograd: float
    difference: float

    @property
    def error(self) -> float:
        """Relative to the larger of the two, so that a vanishing gradient is an error of 1."""
        size = max(abs(self.autograd), abs(self.difference))
        return abs(self.autograd - self.difference) / size if size else 0.0


def check_gradient(
    energy: Callable[[list[Tensor]], float],
    variables: list[Tensor],
    gradients: list[Tensor],
    start: float,
    scale: float,
) -> GradientCheck | None:
    """Compare autograd's slope along the gradient with a finite difference; warn above 5 %.

    Args:
        energy: the energy of variables, without gradient.
        variables, gradients: where the run starts.
        start: the energy there.
        scale: size of the energy's terms, positive, to which rounding is relative.
    Returns: both slopes, or None where nothing can be measured (next to no slope, or one so
        steep that the step would be lost in the network's rounding).
    """
    norm = _norm(gradients)
    if not math.isfinite(norm) or norm == 0 or scale <= 0:
        return None
    length = _norm(variables)
    size = min(CHANGE * scale / norm, MOVE * length)
    if size * norm < ROUNDING * scale or size < ROUNDING * length:
        log.debug("gradient check: a slope of %.3g is too flat or too steep to measure", norm)
        return None

    def moved(sign: float) -> float:
        return energy(
            [
                v.detach() + sign * size / norm * g.to(v)
                for v, g in zip(variables, gradients, strict=True)
            ]
        )

    ahead = moved(1.0)
    found = GradientCheck(norm, (ahead - start) / size)
    if not found.error <= CURVED:
        found = GradientCheck(norm, (ahead - moved(-1.0)) / (2 * size))
    if found.error <= LIMIT:
        log.debug("gradient check: %.1f %% apart", 100 * found.error)
    else:
        log.warning(
            "gradient check: along its gradient the energy changes at a rate of %.3g, the gradient "
            "says %.3g (%.0f %% apart). Some patch of the model, or the prior, cuts or bends the "
            "gradient: take patches and wrappers out, use PyTorch's attention, or another prior (a "
            "half-precision network rounds, too). "
            "The result is still never worse than the input. check_gradient switches this off",
            found.difference,
            found.autograd,
            100 * found.error,
        )
    return found


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(t.detach().square().sum()) for t in tensors))
