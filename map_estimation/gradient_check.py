"""One finite difference against autograd, at the start of a run: is the gradient to be trusted?

A network wrapped by other software can give a plausible gradient that is wrong, without an error.
"""

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..files.devices import exact

log = logging.getLogger(__name__)
LIMIT = 0.03  # relative; right gradients are 0.2 to 1.9 % apart, also of a network in bfloat16
# The step should change the energy by this share of its terms, well above rounding, yet move the
# variables by no more than this share of themselves, where curvature begins.
CHANGE, MOVE = 0.01, 0.02
CURVED = 0.02  # above it the second, central difference is worth its price
# Less than this share, of the terms or of the variables, drowns in float32 or is chaos, not slope.
ROUNDING = 1e-5


# Pixels nearer to black or white than this are left alone: beyond them there is no slope to see.
MARGIN = 0.02
WORDS = {
    "map": "on the way from noise to picture (network, codec)",
    "judges": "in what judges the picture (prior, fidelity)",
}


class GradientCheck(NamedTuple):
    """Slopes of a function along its gradient.

    Attributes:
        autograd: as the gradient says.
        difference: as a finite difference says.
        doubt: by how much differences ahead and behind disagree: rounding, curves and kinks.
    """

    autograd: float
    difference: float
    doubt: float = 0.0

    @property
    def error(self) -> float:
        """Relative to the larger of the two, so that a vanishing gradient is an error of 1."""
        size = max(abs(self.autograd), abs(self.difference))
        return abs(self.autograd - self.difference) / size if size else 0.0

    @property
    def wrong(self) -> bool:
        """Whether they differ by more than can be explained."""
        size = max(abs(self.autograd), abs(self.difference))
        return not abs(self.autograd - self.difference) <= LIMIT * size + self.doubt


def check_chain(
    picture_of: Callable[[list[Tensor]], Tensor],
    energy_of: Callable[[Tensor], Tensor],
    smooth_energy_of: Callable[[Tensor], Tensor] | None,
    free: Tensor,
    variables: list[Tensor],
    pulled: list[Tensor],
    scale: float,
) -> list[GradientCheck]:
    """Check the two halves of a gradient, each where a difference can be measured.

    The map from noise to picture is paired with the picture's own gradient, so that neither
    clamping to [0, 1] nor a kink of a judge has a part in it; judges are asked about pixels alone
    that are neither black nor white.

    Args:
        picture_of: pictures of variables, not clamped.
        energy_of: the energy of pictures, clamped.
        smooth_energy_of: the same without terms that have a kink here; None where none is left.
        free: the very pictures, not clamped, that the gradient was taken of: rounding decides
            whether a pixel at exactly 0 or 1 has one.
        variables, pulled: where the run starts, and the energy's gradient through the picture.
        scale: size of the energy's terms, positive.
    Returns: what was measured.
    """
    slope = exact(_slope(energy_of, free))
    with torch.no_grad():
        start = picture_of(variables)

    def paired(moved: list[Tensor]) -> float:
        with torch.no_grad():
            return float((slope * exact(picture_of(moved) - start)).sum())

    found = [check_gradient(paired, variables, pulled, 0.0, scale, WORDS["map"])]
    if smooth_energy_of is not None:
        inside = (free > MARGIN) & (free < 1 - MARGIN)
        judged = _slope(smooth_energy_of, free) * inside

        def energy(moved: list[Tensor]) -> float:
            with torch.no_grad():
                return float(smooth_energy_of(moved[0]))

        at, part = energy([free]), WORDS["judges"]
        found.append(check_gradient(energy, [free], [judged], at, scale, part, MARGIN / 2))
    return [check for check in found if check is not None]


def _slope(energy_of: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = pictures.detach().clone().requires_grad_(True)
        energy = energy_of(leaf)
        if not energy.requires_grad:  # a judge that is cut off altogether
            return torch.zeros_like(leaf)
        (slope,) = torch.autograd.grad(energy, leaf, allow_unused=True)
    return torch.zeros_like(leaf) if slope is None else slope


def check_gradient(
    energy: Callable[[list[Tensor]], float],
    variables: list[Tensor],
    gradients: list[Tensor],
    start: float,
    scale: float,
    part: str = "",
    reach: float = math.inf,
) -> GradientCheck | None:
    """Compare autograd's slope along the gradient with a finite difference; warn above 3 %.

    Args:
        energy: the energy of variables, without gradient.
        variables, gradients: where the run starts.
        start: the energy there.
        scale: size of the energy's terms, positive, to which rounding is relative.
        part: of what this is the gradient, for the warning.
        reach: by how much a number may be moved at most.
    Returns: both slopes, or None where nothing can be measured (next to no slope, or one so
        steep that the step would be lost in the network's rounding).
    """
    norm = _norm(gradients)
    if not math.isfinite(norm) or norm == 0 or scale <= 0:
        return None
    length = _norm(variables)
    steepest = max(float(gradient.detach().abs().max()) for gradient in gradients)
    size = min(CHANGE * scale / norm, MOVE * length, reach * norm / steepest)
    if size * norm < ROUNDING * scale or size < ROUNDING * length:
        log.debug("gradient check: a slope of %.3g is too flat or too steep to measure", norm)
        return None

    def moved(by: float) -> float:
        return energy(
            [v.detach() + by / norm * g.to(v) for v, g in zip(variables, gradients, strict=True)]
        )

    ahead = moved(size)
    found = GradientCheck(norm, (ahead - start) / size)
    if not found.error <= CURVED:
        # Curves vanish with the step and rounding grows: only a fault is there at every size.
        for step in (size / shrink for shrink in (1, 4, 16)):
            ahead, behind = ahead if step == size else moved(step), moved(-step)
            doubt = abs(ahead - 2 * start + behind) / (2 * step)
            found = GradientCheck(norm, (ahead - behind) / (2 * step), doubt)
            if not found.wrong:
                break
    if not found.wrong:
        log.debug("gradient check: %.1f %% apart %s", 100 * found.error, part)
    else:
        log.warning(
            "gradient check: along its gradient the energy changes at a rate of %.3g, the gradient "
            "says %.3g (%.0f %% apart) %s. Some patch of the model, or the prior, cuts or bends "
            "the gradient: take patches and wrappers out, use PyTorch's attention, or another "
            "prior. The result is still never worse than the input. check_gradient switches this "
            "off",
            found.difference,
            found.autograd,
            100 * found.error,
            part,
        )
    return found


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(t.detach().square().sum()) for t in tensors))
