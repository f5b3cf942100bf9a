"""Is the gradient to be trusted? The parts of its way, each checked where a step can be measured.

A network wrapped by other software can give a gradient that is plausible and wrong, without an
error. Steps along the whole way from noise to energy cannot tell: a network has a small share in
it, black and white are clamped, rounding piles up. So network, decoder and prior are checked one by
one, by the very calls of the run; what lies between them is the pack's own arithmetic.
"""

import logging
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..edict.gradients import vector_jacobian, with_graph

log = logging.getLogger(__name__)
# How far apart the two may be, relative: a map's, an average over many numbers, and the slope of a
# prior, which has kinks (NIQE's is 6 % off as a rule).
LIMIT, SLOPE_LIMIT = 0.03, 0.08
NETWORK_CALLS = 8  # of a check: three, and one with its gradient, at either end of the way

# Steps by which a part's input is changed, in standard deviations of a latent: well above the
# rounding of half precision, and where a network bends too much for that, well below.
STEPS = (0.03, 0.1, 0.003)
COARSE = 8  # places: networks look at fine noise in their outer layers, at coarse noise further in

# A judge's value should change by this share, and no pixel by more than half of what it is away
# from black and white, beyond which there is no slope to see.
CHANGE, MARGIN = 0.2, 0.02
# Times: of what a longer step says otherwise, a curve, the step itself has that much squared less;
# of what a shorter one says otherwise, rounding, that much less.
LONGER = 4
CLOSE = 0.02  # above it these two steps are worth their price
ROUNDING = 1e-5  # a change by less than this share drowns in float32

REMEDIES = {
    "network": "take patches and wrappers off the model, and use PyTorch's attention",
    "decoder": "use the autoencoder without patches, or another one",
    "prior": "use another prior",
}


class Part(NamedTuple):
    """A map that gradients come back through, and where on the way.

    Attributes:
        name: one of REMEDIES.
        function: differentiable, deterministic.
        at: its input there, (1, C, h, w), in units of a latent's standard deviation.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    at: Tensor


class GradientCheck(NamedTuple):
    """What a step changes.

    Attributes:
        autograd: as the gradient says.
        difference: as measured.
        doubt: by how much the measurement may be off: by rounding, curves and kinks.
        limit: how far apart they may be besides, relative.
    """

    autograd: float
    difference: float
    doubt: float = 0.0
    limit: float = LIMIT

    @property
    def size(self) -> float:
        """The larger of the two, so that a vanishing gradient is an error of 1."""
        return max(abs(self.autograd), abs(self.difference))

    @property
    def error(self) -> float:
        """How far they are apart, relative."""
        return abs(self.autograd - self.difference) / self.size if self.size else 0.0

    @property
    def sharp(self) -> bool:
        """Whether the measurement is clearly better than the limit."""
        return self.size > 0 and self.doubt <= self.limit * self.size / 2

    @property
    def wrong(self) -> bool:
        """Whether they differ by more than can be explained."""
        return not abs(self.autograd - self.difference) <= self.limit * self.size + self.doubt


def check_parts(parts: Iterable[Part]) -> None:
    """Warn of the maps whose gradient is wrong, of each kind once."""
    told = set()
    for part in parts:
        if part.name not in told and warn_if_wrong(part.name, check_map(part.function, part.at)):
            told.add(part.name)


def check_map(function: Callable[[Tensor], Tensor], at: Tensor) -> GradientCheck | None:
    """Whether vector-Jacobian products of a map are those of its Jacobian J.

    <J^T u, v> must equal <J v, u>. v is noise, and u is what J v is by a difference of its own: so
    all that v changes speaks with one sign, a lost part is missing in proportion, and rounding,
    which the two differences do not share, averages out over the numbers of u.

    Args:
        function, at: see `Part`.
    Returns: both sides, or None where nothing is changed.
    """
    return settle(_answers(function, at, _noise(at, step)) for step in STEPS)


def settle(measured: Iterable[GradientCheck]) -> GradientCheck | None:
    """The first that is sharp and right, else the sharpest; None if nothing changes at all.

    Curves vanish with the step, and rounding grows: only a fault is there at every size.
    """
    found = None
    for check in measured:
        if check.sharp and not check.wrong:
            return check
        if check.size == 0 or not math.isfinite(check.difference):
            continue
        if found is None or check.doubt * found.size < found.doubt * check.size:
            found = check
    return found


def _answers(function: Callable[[Tensor], Tensor], at: Tensor, step: Tensor) -> GradientCheck:
    with torch.no_grad():
        ahead, behind, far = (function(at + by * step).to(at) for by in (1, -1, 2))
    leaf, output = with_graph(function, at)
    here = output.detach().to(at)
    answer, measured = (far - here) / 2, (ahead - behind) / 2
    pulled = vector_jacobian(leaf, output, answer)
    # What a curve adds to the central difference is a sixth of the third one, and so is what that
    # shares of the answer's rounding, of which the two differences' disagreement tells. Twice both.
    third = far - 3 * ahead + 3 * here - behind
    curve, rounding = (answer * third).sum().abs(), (answer - measured).square().sum()
    doubt = (curve + rounding * answer.norm() / measured.norm()) / 3
    numbers = ((pulled * step).sum(), (answer * measured).sum(), doubt)
    return GradientCheck(*torch.stack(numbers).tolist())


def _noise(like: Tensor, size: float) -> Tensor:
    """Fine and coarse noise of a standard deviation, the same for all latents of a shape."""
    generator = torch.Generator().manual_seed(0)
    *batch, height, width = like.shape
    fine = torch.randn(*batch, height, width, generator=generator)
    few = torch.randn(*batch, -(-height // COARSE), -(-width // COARSE), generator=generator)
    coarse = F.interpolate(few, size=(height, width), mode="bilinear")
    noise = fine / fine.norm() + coarse / coarse.norm()
    return (size * math.sqrt(noise.numel()) * noise / noise.norm()).to(like)


def check_judge(judge: Callable[[Tensor], Tensor], pictures: Tensor) -> GradientCheck | None:
    """Whether what a prior says changes along its gradient as that says.

    Args:
        judge: pictures in [0, 1] to (B,), differentiable.
        pictures: where, (B, 3, H, W), RGB about [0, 1]; only pixels that are neither black nor
            white are moved.
    Returns: both slopes, or None where nothing can be measured.
    """
    # As they are, rounding may hide all pixels' steps alike.
    pictures = (pictures + _noise(pictures, MARGIN / 4)).clamp(0, 1)
    inside = (pictures > MARGIN) & (pictures < 1 - MARGIN)
    leaf, value = with_graph(lambda x: judge(x).sum(), pictures)
    at, slope = float(value.detach()), torch.zeros_like(leaf)
    if value.requires_grad:
        (slope,) = torch.autograd.grad(value, leaf, allow_unused=True, materialize_grads=True)

    @torch.no_grad()
    def moved(by: Tensor) -> float:
        return float(judge(pictures + by).sum())

    if slope.any():
        return _slope(moved, inside * slope, abs(at))
    # Cut off altogether, or as flat as it says.
    change = moved(inside * _noise(pictures, MARGIN / 4)) - at
    return GradientCheck(0.0, change) if abs(change) > ROUNDING * abs(at) else None


def _slope(
    moved: Callable[[Tensor], float], gradient: Tensor, scale: float
) -> GradientCheck | None:
    """The slope along a gradient by differences; None where it is too flat to measure."""
    norm, steepest = float(gradient.norm()), float(gradient.abs().max())
    if not math.isfinite(norm) or norm == 0:
        return None
    longest = MARGIN / 2 * norm / steepest
    step = min(CHANGE * scale / norm, longest / LONGER)
    if step * norm < ROUNDING * scale or step == 0:
        log.debug("gradient check: a slope of %.3g is too flat to measure", norm)
        return None

    def measured(step: float) -> float:
        ahead, behind = (moved(by * step / norm * gradient) for by in (1, -1))
        return (ahead - behind) / (2 * step)

    difference = measured(step)
    found = GradientCheck(norm, difference, limit=SLOPE_LIMIT)
    if found.error <= CLOSE:
        return found
    longer, shorter = measured(LONGER * step), measured(step / LONGER)
    curve, rounding = abs(longer - difference), abs(shorter - difference)
    doubt = 3 * (curve / LONGER**2 + rounding / LONGER)
    others = (difference, doubt), (shorter, rounding), (longer, 2 * curve)
    return settle(GradientCheck(norm, *other, SLOPE_LIMIT) for other in others)


def warn_if_wrong(name: str, found: GradientCheck | None) -> bool:
    """Warn of one of REMEDIES if its gradient is wrong; whether it is."""
    if found is None:
        return False
    if not found.wrong:
        log.debug("gradient check: %s, %.1f %% apart", name, 100 * found.error)
        return False
    log.warning(
        "gradient check: the gradient of the %s is %.0f %% away from what small steps change: "
        "something cuts or bends it; %s. The result is still never worse than the input. "
        "check_gradient switches this off",
        name,
        100 * found.error,
        REMEDIES[name],
    )
    return True
